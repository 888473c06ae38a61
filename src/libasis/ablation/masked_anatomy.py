"""A section whose anatomy is known, run on some of its input features and read at some of its output features.

A row is the set of input features that an output feature may see. Features are pushed through the affine maps
beforehand, and output features read beforehand, so that a row costs only what it keeps. What does not depend on the
batch is made once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..anatomy import Anatomy, Norm, PlacedAttention, Pointwise, Values
from ..basis import SiteBasis
from ..cut import Record
from ..types import Matrix
from .ranking import rows_alike


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """An affine map of u in terms of features.

    Attributes:
        of_feature: of each feature's direction, ``[k_in, rows]``.
        at_mean: of the mean, ``[rows]``.
        b: ``[rows]``.
    """

    of_feature: Matrix
    at_mean: Tensor
    b: Tensor


class FeatureSpace:
    """The features of a site as a section sees them."""

    def __init__(self, source: SiteBasis, norm: Norm | None, like: Tensor) -> None:
        self.norm = norm
        self.mean, self.C_pinv = source.mean.to(like), source.C_pinv.to(like)
        if norm is not None:
            rows = norm.fold(torch.cat([self.mean[None], self.C_pinv]))
            self.gram = rows @ rows.T / rows.shape[1]

    def map(self, W: Matrix, b: Tensor) -> FeatureMap:
        """W u + b, W without the norm's projection."""
        W = W if self.norm is None else self.norm.fold(W)
        return FeatureMap(self.C_pinv @ W.T, W @ self.mean, b)

    def scale(self, amounts: Tensor, kept: Tensor) -> Tensor | None:
        """``1 / sigma`` of the input made of the features ``kept``, by their ``amounts [batch, t, kept]``."""
        if self.norm is None:
            return None
        square = (amounts @ self.gram[1:, 1:][kept][:, kept] * amounts).sum(-1, keepdim=True) + self.gram[0, 0]
        square = square + 2 * amounts @ self.gram[1:, :1][kept]
        return self.norm.inverse(square.clamp_min(0.0))


class FeatureInput:
    """The input of a section in one batch, to be made of some of its features.

    Args:
        space: the features.
        features: their amounts ``[batch, t, k_in]``.
        counted: which positions are made of features, bool ``[batch, t]``, the others stay as they are; None for all.
    """

    def __init__(self, space: FeatureSpace, features: Tensor, counted: Tensor | None) -> None:
        self.space, self.features = space, features
        self.counted = None if counted is None else counted[..., None]
        self.held = [features]

    def ready(self, map: FeatureMap, actual: Tensor) -> Callable[[KeptFeatures], Tensor]:
        """A map that many rows use, from the features kept; ``actual`` is its value at the actual input."""
        every = self.features @ map.of_feature
        self.held += [every] if self.counted is None else [every, actual]
        left = None if self.counted is None else actual
        return lambda kept: kept.value(map, every, left)


class KeptFeatures:
    """The features that a row keeps, bool ``[k_in]``; where it keeps most of them, those it lacks are taken away."""

    def __init__(self, source: FeatureInput, row: Tensor) -> None:
        self.source = source
        kept = row.nonzero().squeeze(1)
        few = 2 * len(kept) <= len(row)
        self.lacking = None if few else (~row).nonzero().squeeze(1)
        self.there = kept if self.lacking is None else self.lacking
        self.amounts = source.features[..., self.there]
        amounts = self.amounts if few or source.space.norm is None else source.features[..., kept]
        self.scale = source.space.scale(amounts, kept)

    def through(self, matrix: Matrix, every: Tensor | None = None) -> Tensor:
        """Their sum through a matrix ``[k_in, rows]``; ``every`` is that of all features, if it is known."""
        if self.lacking is None:
            return self.amounts @ matrix[self.there]
        every = self.source.features @ matrix if every is None else every
        flat = torch.addmm(every.flatten(0, 1), self.amounts.flatten(0, 1), matrix[self.there], alpha=-1)
        return flat.view_as(every)

    def value(self, map: FeatureMap, every: Tensor | None, actual: Tensor | None) -> Tensor:
        """W u + b of the input made of them, ``[batch, t, rows]``, and the actual one at positions that don't count."""
        value = self.through(map.of_feature, every)
        if self.scale is None:
            value.add_(map.at_mean + map.b)
        else:
            value.add_(map.at_mean).mul_(self.scale).add_(map.b)
        return self.left(value, actual)

    def left(self, value: Tensor, actual: Tensor | None) -> Tensor:
        """The value, and the actual one at positions that don't count."""
        counted = self.source.counted
        return value if counted is None or actual is None else torch.where(counted, value, actual)


Part = Callable[[KeptFeatures, KeptFeatures, Tensor], Tensor]
"""From the features kept at the positions read, those kept at all, and columns, to these output features."""


class MaskedBranch:
    """A pointwise branch."""

    def __init__(self, branch: Pointwise, space: FeatureSpace, C: Matrix) -> None:
        self.activate = branch.activate
        self.plain = [(A.to(C), b.to(C)) for A, b in zip(branch.A, branch.b, strict=True)]
        self.maps = [space.map(A, b) for A, b in self.plain]
        self.G = branch.B.to(C).T @ C  # [h, k_out]

    def on(self, here: FeatureInput, u: Tensor) -> tuple[Tensor, Part]:
        """Its output features at the actual u ``[b, t, k_out]``, and from features kept."""
        actual = [u @ A.T + b for A, b in self.plain]
        maps = [here.ready(map, value) for map, value in zip(self.maps, actual, strict=True)]

        def run(kept: KeptFeatures, _: KeptFeatures, columns: Tensor) -> Tensor:
            return self.activate(*(map(kept) for map in maps)) @ self.G[:, columns]

        return self.activate(*actual) @ self.G, run


class MaskedAttention:
    """The attention."""

    def __init__(self, anatomy: Anatomy, space: FeatureSpace, C: Matrix) -> None:
        assert anatomy.attention is not None  # noqa: S101 - whoever asks has looked
        self.anatomy, n = anatomy, anatomy.attention
        self.H = len(n.W_Q)
        pairs = ((n.W_Q, n.b_Q), (n.W_K, n.b_K), (n.W_V, n.b_V))
        self.plain = [(W.flatten(0, 1).to(C), b.flatten().to(C)) for W, b in pairs]
        self.query, self.key, value = (space.map(W, b) for W, b in self.plain)
        self.G = torch.einsum("ohv,ok->hvk", n.W_O.to(C), C)  # what an output feature reads of each head's values
        self.value = [self._read(x) for x in (value.of_feature, value.at_mean, value.b)]

    def _read(self, x: Tensor) -> Tensor:
        """``[..., H v]`` to what output features read of each head, ``[..., H, k_out]``."""
        return (x.unflatten(-1, (self.H, -1))[..., None, :] @ self.G).squeeze(-2)

    def on(self, here: FeatureInput, everywhere: FeatureInput, u: Tensor, values: Values) -> tuple[Tensor, Part]:
        """Its output features at the actual u ``[b, t, k_out]``, and from features kept."""
        place = PlacedAttention(self.anatomy, u.shape[1], values, u)
        q, k, v = (x @ W.T + b for x, (W, b) in zip((u[:, place.rows], u, u), self.plain, strict=True))
        query, key = here.ready(self.query, q), everywhere.ready(self.key, k)
        if everywhere.counted is not None:
            everywhere.held.append(v)
        everywhere.held += [x for turn in (place.turn_q, place.turn_k) if turn for x in (turn.cos, turn.sin)]

        def run(kept: KeptFeatures, all_kept: KeptFeatures, columns: Tensor) -> Tensor:
            of_feature, at_mean, b = (x[..., columns].flatten(-2) for x in self.value)
            left = None
            if everywhere.counted is not None:
                left = (v.unflatten(-1, (self.H, 1, -1)) @ self.G[..., columns]).flatten(2)
            value = all_kept.value(FeatureMap(of_feature, at_mean, b), None, left)  # [b, s, H columns]
            A = place.weights(query(kept), key(all_kept))[0].permute(1, 2, 3, 0)  # [b, t, s, H]
            return A.flatten(2) @ value.unflatten(-1, (self.H, -1)).flatten(1, 2)

        A, v_by_head = place.weights(q, k)[0], v.unflatten(-1, (self.H, -1))
        return torch.einsum("hbts,bshv,hvk->btk", A, v_by_head, self.G), run


class MaskedAnatomy:
    """A section whose anatomy is known.

    Args:
        l: its number.
        source: basis of its input.
        target: basis of its output.
        anatomy: what it is made of.
        like: gives dtype and device.
    """

    def __init__(self, l: int, source: SiteBasis, target: SiteBasis, anatomy: Anatomy, like: Tensor) -> None:
        self.l, self.source, self.target, self.anatomy = l, source, target, anatomy
        C = target.C.to(like)
        self.space = FeatureSpace(source, anatomy.norm, like)
        self.skip = like.new_zeros(anatomy.d, target.k) if anatomy.skip is None else anatomy.skip.to(like).T @ C
        self.of_feature = self.space.C_pinv @ self.skip  # [k_in, k_out]
        self.branches = [MaskedBranch(branch, self.space, C) for branch in anatomy.pointwise]
        self.attention = None if anatomy.attention is None else MaskedAttention(anatomy, self.space, C)


class AnatomyRows:
    """Such a section on one batch, see `masked_section.SectionRows`."""

    def __init__(self, section: MaskedAnatomy, record: Record) -> None:
        self.section = section
        x, counted, read = record.activations[section.l], record.counted[section.l], section.anatomy.read
        rows = slice(None) if read is None else list(read)
        # where all positions are read, the output itself stays as it is at those that don't count
        left = None if read is None or counted is None else counted[:, rows]
        self.here = self.everywhere = FeatureInput(section.space, section.source.encode(x[:, rows]), left)
        u = x if section.anatomy.norm is None else section.anatomy.norm(x)[0]
        parts = [branch.on(self.here, u[:, rows]) for branch in section.branches]
        if section.attention is not None:
            if read is not None or counted is not None:
                self.everywhere = FeatureInput(section.space, section.source.encode(x), counted)
            parts.append(section.attention.on(self.here, self.everywhere, u, record.contexts[section.l].values))
        self.parts = [run for _, run in parts]
        skipped = (x[:, rows] - section.space.mean) @ section.skip
        self.skipped = None if left is None else skipped
        # what is left is the same whatever is kept: the biases, and the mean through the skip path
        explained = sum((whole for whole, _ in parts), skipped)
        self.constant = section.target.encode(record.activations[section.l + 1]) - explained

    @property
    def held(self) -> list[Tensor]:
        """See `masked_section.SectionRows`."""
        own = [self.constant] if self.skipped is None else [self.constant, self.skipped]
        return own + self.here.held + ([] if self.everywhere is self.here else self.everywhere.held)

    def run(self, masks: Matrix, which: Tensor, out: Tensor) -> None:
        """See `masked_section.SectionRows`."""
        if not self.parts:
            matrix = self.section.of_feature[:, which] * masks.T.to(self.section.of_feature)
            y = self._left(self.here.features @ matrix, which)
            out[..., which] = y + self.constant[..., which]
            return
        for row, columns in rows_alike(masks, which):
            kept = KeptFeatures(self.here, row)
            all_kept = kept if self.everywhere is self.here else KeptFeatures(self.everywhere, row)
            y = self._left(kept.through(self.section.of_feature[:, columns]), columns)
            y = y + sum(run(kept, all_kept, columns) for run in self.parts)
            out[..., columns] = y + self.constant[..., columns]

    def _left(self, y: Tensor, columns: Tensor) -> Tensor:
        return y if self.skipped is None else torch.where(self.here.counted, y, self.skipped[..., columns])  # pyright: ignore
