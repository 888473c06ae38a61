"""One section run on part of its input features, read at part of its output features: what edge ablation repeats.

A row is the set of input features that an output feature may see. Where the section's anatomy is known, a row costs
only the features kept: they are pushed through the affine maps beforehand, and one output feature is read beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..anatomy import Anatomy, Attention, Norm, Pointwise, read
from ..basis import SiteBasis
from ..cut import Record
from ..types import Matrix


class Rows(Protocol):
    """Runs a section on rows."""

    at_once: int
    """How many rows to give together."""

    def run(self, kept: Matrix, columns: Sequence[Tensor]) -> list[Tensor]:
        """For each row of ``kept`` bool ``[r, k_in]`` its output features ``columns[r]``: ``[batch, t, columns]``."""
        ...


def rows_of(record: Record, l: int, source: SiteBasis, target: SiteBasis, memory: int) -> Rows:
    """The cheapest way to run rows of section l on one batch."""
    anatomy = read(record.contexts[l])
    if isinstance(anatomy, str):
        return WholeRows(record, l, source, target, memory)
    return ReadRows(record, l, source, target, anatomy)


class WholeRows:
    """Any section: the activation is put together from the kept features and the section is run on it."""

    def __init__(self, record: Record, l: int, source: SiteBasis, target: SiteBasis, memory: int) -> None:
        x = record.activations[l]
        self.context = record.contexts[l]
        self.features = source.encode(x)
        self.mean, self.C_pinv = source.mean.to(x), source.C_pinv.to(x)
        self.target_mean, self.C = target.mean.to(x), target.C.to(x)
        self.at_once = max(1, memory // max(8 * record.workspace(l, l + 1) * x.element_size(), 1))

    def run(self, kept: Matrix, columns: Sequence[Tensor]) -> list[Tensor]:
        """See `Rows`."""
        x = self.mean + (self.features * kept.to(self.features)[:, None, None, :]).flatten(0, 1) @ self.C_pinv
        y = (self.context.tile(len(kept))(x) - self.target_mean).unflatten(0, (len(kept), -1))
        return [part @ self.C[:, which] for part, which in zip(y, columns, strict=True)]


class ReadRows:
    """A section whose anatomy is known, on one batch."""

    at_once = 1

    def __init__(self, record: Record, l: int, source: SiteBasis, target: SiteBasis, anatomy: Anatomy) -> None:
        x = record.activations[l]
        self.features = source.encode(x)
        self.read = anatomy.read
        C, C_pinv = target.C.to(x), source.C_pinv.to(x)
        seen = _Seen(source, anatomy.norm, x, self.features)
        parts: list[_Part] = [_PointwisePart(branch, seen, C) for branch in anatomy.pointwise]
        if anatomy.attention is not None:
            parts.append(_AttentionPart(anatomy.attention, seen, C, record.contexts[l].values, self.read))
        self.parts = parts
        skip = x.new_zeros(anatomy.d_out, anatomy.d) if anatomy.skip is None else anatomy.skip.to(x)
        self.skip = C_pinv @ skip.T @ C  # [k_in, k_out]
        # what is left is the same whatever is kept: the biases, and the mean through the skip path
        every = torch.arange(target.k, device=x.device)
        u = x if anatomy.norm is None else anatomy.norm(x)[0]
        explained = (x - source.mean.to(x)) @ skip.T @ C + sum(part.whole(u, every) for part in parts)
        self.constant = target.encode(record.activations[l + 1]) - self._at(explained)

    def _at(self, y: Tensor) -> Tensor:
        return y if self.read is None else y[:, list(self.read)]

    def run(self, kept: Matrix, columns: Sequence[Tensor]) -> list[Tensor]:
        """See `Rows`."""
        out = []
        for row, which in zip(kept, columns, strict=True):
            some = _Some(self.features, row)
            y = some.through(self.skip[:, which]) + sum(part.run(some, which) for part in self.parts)
            out.append(self._at(y) + self.constant[..., which])
        return out


class _Some:
    """The features that a row keeps, on one batch; where it keeps most of them, those it lacks are taken away."""

    def __init__(self, features: Tensor, row: Tensor, positions: list[int] | None = None) -> None:
        self.features, self.row = features, row
        self.few = 2 * int(row.sum()) <= len(row)
        self.there = (row if self.few else ~row).nonzero().squeeze(1)
        self.amounts = (features if positions is None else features[:, positions])[..., self.there]

    def at(self, positions: list[int] | None) -> _Some:
        """The same at some positions."""
        return self if positions is None else _Some(self.features, self.row, positions)

    def through(self, matrix: Matrix, every: Tensor | None = None) -> Tensor:
        """Their sum through a matrix ``[k_in, rows]``; ``every`` is that of all features, if it is known."""
        if self.few:
            return self.amounts @ matrix[self.there]
        every = self.features @ matrix if every is None else every
        flat = torch.addmm(every.flatten(0, 1), self.amounts.flatten(0, 1), matrix[self.there], alpha=-1)
        return flat.view_as(every)


class _Seen:
    """Affine maps of u in terms of the features kept; with a norm the scale depends on them too."""

    def __init__(self, source: SiteBasis, norm: Norm | None, x: Tensor, features: Tensor) -> None:
        self.norm = norm
        self.features = features
        self.mean, self.C_pinv = source.mean.to(x), source.C_pinv.to(x)
        if norm is not None:
            rows = norm.fold(torch.cat([self.mean[None], self.C_pinv]))
            self.gram = rows @ rows.T / rows.shape[1]

    def map(self, W: Matrix, b: Tensor, positions: list[int] | None = None, *, often: bool = True) -> _Mapped:
        """W u + b, at some positions; ``often`` for maps that many rows use."""
        W = W.to(self.mean)
        W = W if self.norm is None else self.norm.fold(W)
        of_feature = self.C_pinv @ W.T
        features = self.features if positions is None else self.features[:, positions]
        return _Mapped(W @ self.mean, of_feature, b.to(self.mean), positions, features @ of_feature if often else None)

    def scale(self, some: _Some) -> Tensor | None:
        """``1 / sigma`` of the input made of some features, ``[batch, t, 1]``."""
        if self.norm is None:
            return None
        kept = some.row.nonzero().squeeze(1)
        amounts = self.features[..., kept]
        square = (amounts @ self.gram[1:, 1:][kept][:, kept] * amounts).sum(-1, keepdim=True) + self.gram[0, 0]
        square = square + 2 * amounts @ self.gram[1:, :1][kept]
        return (square.clamp_min(0.0) + self.norm.eps).rsqrt()

    def value(self, mapped: _Mapped, some: _Some, scale: Tensor | None) -> Tensor:
        """W u + b of the input made of some features, ``[batch, t, rows]``; ``scale`` is that of `scale`."""
        value = some.at(mapped.positions).through(mapped.of_feature, mapped.every)
        if scale is None:
            return value.add_(mapped.at_mean + mapped.b)
        scale = scale if mapped.positions is None else scale[:, mapped.positions]
        return value.add_(mapped.at_mean).mul_(scale).add_(mapped.b)


@dataclass(frozen=True, eq=False)
class _Mapped:
    """An affine map of u in terms of features.

    Attributes:
        at_mean: W (folded) on the mean, ``[rows]``.
        of_feature: W on each feature's direction, ``[k_in, rows]``.
        b: ``[rows]``.
        positions: where it is wanted; None for everywhere.
        every: the sum over all features, ``[batch, t, rows]``, or None where it is not worth keeping.
    """

    at_mean: Tensor
    of_feature: Matrix
    b: Tensor
    positions: list[int] | None
    every: Tensor | None


class _Part(Protocol):
    def whole(self, u: Tensor, columns: Tensor) -> Tensor:
        """The part's output features at the actual u, ``[batch, t, columns]``."""
        ...

    def run(self, some: _Some, columns: Tensor) -> Tensor:
        """The same when only some features are present."""
        ...


class _PointwisePart:
    def __init__(self, branch: Pointwise, seen: _Seen, C: Matrix) -> None:
        self.seen = seen
        self.activate = branch.activate
        self.weights = [(A.to(C), b.to(C)) for A, b in zip(branch.A, branch.b, strict=True)]
        self.maps = [seen.map(A, b) for A, b in self.weights]
        self.G = branch.B.to(C).T @ C  # [h, k_out]

    def whole(self, u: Tensor, columns: Tensor) -> Tensor:
        return self.activate(*(u @ A.T + b for A, b in self.weights)) @ self.G[:, columns]

    def run(self, some: _Some, columns: Tensor) -> Tensor:
        scale = self.seen.scale(some)
        a = [self.seen.value(mapped, some, scale) for mapped in self.maps]
        return self.activate(*a) @ self.G[:, columns]


class _AttentionPart:
    def __init__(
        self, attention: Attention, seen: _Seen, C: Matrix, values: tuple[Tensor, ...], read: tuple[int, ...] | None
    ) -> None:
        self.seen = seen
        self.attention = attention
        self.values = values
        n = attention
        self.H = len(n.W_Q)
        self.raw = [(W.flatten(0, 1).to(C), b.flatten().to(C)) for W, b in ((n.W_Q, n.b_Q), (n.W_K, n.b_K))]
        # queries are wanted only where the output is read, if they can be told apart from the others
        asked = None if read is None or attention.rotate_query is not None else list(read)
        self.asked = asked
        self.maps = [seen.map(W, b, where) for (W, b), where in zip(self.raw, (asked, None), strict=True)]
        G = torch.einsum("ohv,ok->khv", n.W_O.to(C), C)  # what an output feature reads of each head's values
        self.W_V = torch.einsum("khv,hvd->khd", G, n.W_V.to(C))
        self.b_V = torch.einsum("khv,hv->kh", G, n.b_V.to(C))

    def _weights(self, q: Tensor, k: Tensor) -> Tensor:
        n = self.attention
        q = q if n.rotate_query is None else n.rotate_query(q, self.values)
        k = k if n.rotate_key is None else n.rotate_key(k, self.values)
        return n.pattern(q, k, self.values)

    def _attend(self, weights: Tensor, v: Tensor, columns: int) -> Tensor:
        v = v.unflatten(-1, (columns, self.H)).permute(0, 3, 1, 2)  # [batch, head, s, column]
        return (weights @ v).sum(1)

    def whole(self, u: Tensor, columns: Tensor) -> Tensor:
        weights = self._weights(*(u @ W.T + b for W, b in self.raw))
        v = u @ self.W_V[columns].flatten(0, 1).T + self.b_V[columns].flatten()
        return self._attend(weights, v, len(columns))

    def run(self, some: _Some, columns: Tensor) -> Tensor:
        scale = self.seen.scale(some)
        q, k = (self.seen.value(mapped, some, scale) for mapped in self.maps)
        if self.asked is not None:
            q = torch.zeros_like(k).index_copy_(1, torch.tensor(self.asked, device=q.device), q)
        mapped = self.seen.map(self.W_V[columns].flatten(0, 1), self.b_V[columns].flatten(), often=False)
        return self._attend(self._weights(q, k), self.seen.value(mapped, some, scale), len(columns))
