"""Effects of features on features in closed form, for sections whose anatomy is known: no derivative is ever taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..anatomy import Anatomy, Values, at_rows
from ..importance import PointwiseUnits
from ..numerics import clamp, even, slices
from ..types import Matrix
from .head_changes import AttendedPoint, HeadChanges, numbers_of

CACHE = 2**21  # numbers in a block that is gone through several times
ROWS, SOURCES = 256, 128  # so many vectors and input features at once make products of matrices fast


@dataclass(frozen=True)
class Sizes:
    """How much is done at once.

    Attributes:
        samples: of a batch.
        sources: input features.
        targets: output features.
        rows: pairs of sample and output position.
    """

    samples: int
    sources: int
    targets: int
    rows: int

    @classmethod
    def within(
        cls, numbers: float, anatomy: Anatomy, shape: tuple[int, int, int], features: tuple[int, int], nodes: int
    ) -> Sizes:
        """The largest blocks that hold about as many numbers as are allowed, or else the smallest.

        Args:
            numbers: how many numbers may be held.
            anatomy: of the section.
            shape: samples of the batch, positions, and how many are read.
            features: k_in and k_out.
            nodes: points of the path.
        """
        (size, s, t), (k_in, k_out) = shape, features
        rows = sum(branch.A.shape[0] * branch.A.shape[1] for branch in anatomy.pointwise)
        state, change = 3 * s * (anatomy.d + k_in) + t * (8 * rows + nodes * (k_in + k_out)), 0
        if anatomy.attention is not None:
            of_heads, change = numbers_of(anatomy.attention, s, t, k_out)
            state += nodes * of_heads
        part, block = numbers / 4, min(numbers / 4, 4 * CACHE)
        samples = clamp(min(part / state, block / max(change * k_in, 1)), size)
        sources = even(min(part / max(rows, 1), block / max(samples * change, 1), SOURCES), k_in)
        effects = min(part, CACHE) / 3  # of a block; one and what is made of it
        targets = even(min(part / max(rows * sources, 1), effects / (sources * min(ROWS, samples * t))), k_out)
        return cls(samples, sources, targets, even(effects / (sources * targets), samples * t))


@dataclass(frozen=True, eq=False)
class SampleTerms:
    r"""What some samples give, before any two features are asked for; m counts pairs of sample and output position.

    Attributes:
        slopes: of the units over :math:`\sigma`, averaged over the path, ``[m, rows]``.
        y: with a norm :math:`Gy/\sigma` times the weight of each point of the path, ``[m, k_out, points]``.
        chi: with a norm ``[m, points, k_in]``.
        amounts: ``[m, k_in]``.
        looks: of the heads at each point: the weight, the look, a and chi ``[b, s, k_in]``.
        keep: which pairs count, bool ``[b, t]``; None for all.
    """

    slopes: Tensor
    y: Tensor | None
    chi: Tensor | None
    amounts: Tensor
    looks: list[tuple[float, AttendedPoint, Tensor, Tensor | None]]
    keep: Tensor | None


class ClosedEffects:
    r"""What each input feature contributes to each output feature: :math:`\sum_s (C'^T J_{ts} c_i)_j \hat f_{si}`.

    :math:`c_i` is row i of :math:`C^+`. With a norm in front, :math:`a_{si} = \hat f_{si}/\sigma_s` and
    :math:`\chi_{si} = \hat x_s \cdot c_i / d`; without one, :math:`a = \hat f` and :math:`\chi = 0`. With
    :math:`G = C'^T B` and slopes s, pointwise branches contribute
    :math:`\big(\sum_h s_h G_{jh} (A c_i)_h - (Gy)_j \chi_i\big) a_i`, :math:`y = \sum_m s_m \circ A_m \hat x`; the skip
    path :math:`(C'^T D c_i)_j \hat f_i`; attention what `HeadChanges` says, read by C'.

    Args:
        anatomy: of the section.
        C: readout of the output features wanted, ``[d_out, k_out]``.
        C_pinv: directions of the input features, ``[k_in, d]``.
    """

    def __init__(self, anatomy: Anatomy, C: Matrix, C_pinv: Matrix) -> None:
        self.anatomy, self.C_pinv, self.k_out = anatomy, C_pinv, C.shape[1]
        self.units = PointwiseUnits(anatomy, C)
        self.G = self.units.spread(self.units.G).T.contiguous()  # [rows, k_out]
        self.through = self.units.A @ C_pinv.T  # [rows, k_in]
        skip = C.new_zeros(anatomy.d_out, anatomy.d) if anatomy.skip is None else anatomy.skip.to(C)
        self.skip = C.T @ skip @ C_pinv.T  # [k_out, k_in]
        self.heads = None if anatomy.attention is None else HeadChanges(anatomy, anatomy.attention, C, C_pinv)
        self.varied = torch.zeros(self.units.rows, dtype=torch.bool, device=C.device)
        self.pairs: dict[tuple[int, int, int, int], Tensor] = {}

    def __call__(
        self,
        points: Sequence[tuple[Tensor, float]],
        amounts: Tensor,
        keep: Tensor | None,
        values: Values,
        sizes: Sizes,
        drawn: Tensor | None = None,
    ) -> Iterator[tuple[slice, slice, slice, Tensor]]:
        """Slices of j, of i and of the pairs of sample and output position, and their effects ``[m, j, i]``.

        Args:
            points: where derivatives are taken, ``[b, s, d]``, each with its weight.
            amounts: of the features, ``[b, s, k_in]``.
            keep: which pairs count, bool ``[b, t]``; None for all.
            values: the context values of these samples.
            sizes: how much to do at once; the number of samples is that of the points.
            drawn: of the output positions those that are asked for, each sample's own, ``[b, t]``; None for all.
        """
        seen = self._see(points, amounts, keep, values, drawn)
        slopes, k_in = self._varying(seen.slopes), self.C_pinv.shape[0]
        several = sizes.sources < k_in or sizes.targets < self.k_out
        for which in slices(k_in, sizes.sources):
            change = self._change(seen, which)
            for columns in slices(self.k_out, sizes.targets):
                same = self._same(seen, columns, which)
                # One of several blocks serves these rows alone, and fewer rows than features do not pay for making it.
                few = several and len(seen.amounts) < which.stop - which.start
                gains = self._gains(same, columns, which, few=few)
                for some in slices(len(seen.amounts), sizes.rows):
                    gain, amount = gains(slopes[some]) if self.units.rows else same, seen.amounts[some, None, which]
                    if seen.y is not None and seen.chi is not None:
                        gain.baddbmm_(seen.y[some, columns], seen.chi[some, :, which], alpha=-1)
                    if change is not None and self.heads is not None:
                        written = self.heads.written(seen.looks[0][1], change[some], columns)
                        yield columns, which, some, written.addcmul_(gain, amount)
                    else:
                        yield columns, which, some, gain * amount if gain is same else gain.mul_(amount)

    def _varying(self, slopes: Tensor) -> Tensor:
        """Ones, and the slopes of the units that vary, ``[m, 1 + units]``.

        Units count as varying once they have, so that what is made of them serves the next samples too.
        """
        varied = self.varied | (slopes != slopes[:1]).any(0)
        if not torch.equal(varied, self.varied):
            self.varied, self.pairs = varied, {}
        columns = torch.nn.functional.pad(self.varied.nonzero()[:, 0], (1, 0))
        slopes = slopes[:, columns] if self.units.rows else slopes.new_empty(len(slopes), 1)
        slopes[:, 0] = 1.0
        return slopes

    def _same(self, seen: SampleTerms, columns: slice, which: slice) -> Matrix:
        """What is alike for all these samples, ``[j, i]``: the skip path, and units whose slope is the same."""
        steady = ~self.varied
        G = self.G[steady][:, columns].T * seen.slopes[:1, steady].sum(0)
        return self.skip[columns, which] + G @ self.through[steady][:, which]

    def _gains(self, same: Matrix, columns: slice, which: slice, *, few: bool) -> Callable[[Tensor], Tensor]:
        """What all units make of slopes ``[m, 1 + units]``: ``[m, j, i]``, by a block of all pairs or row by row."""
        if few:
            G, through = self._factors(columns, which)
            return lambda slopes: (slopes[:, None, 1:] * G.T) @ through + same
        pairs = self._paired(columns, which)
        pairs[0] = same.flatten()
        return lambda slopes: (slopes @ pairs).unflatten(1, same.shape)

    def _factors(self, columns: slice, which: slice) -> tuple[Matrix, Matrix]:
        """Of each varying unit what it gives to output features ``[units, j]`` and takes from input ones."""
        return self.G[self.varied][:, columns], self.through[self.varied][:, which]

    def _paired(self, columns: slice, which: slice) -> Tensor:
        """What each varying unit contributes to each pair of features, ``[1 + units, j i]``; the last block is kept.

        The first row is left free.
        """
        key = (columns.start, columns.stop, which.start, which.stop)
        if key not in self.pairs:
            G, through = self._factors(columns, which)
            pairs = G.new_empty(1 + len(G), G.shape[1] * through.shape[1])
            torch.mul(G[:, :, None], through[:, None], out=pairs[1:].view(len(G), G.shape[1], through.shape[1]))
            self.pairs = {key: pairs}
        return self.pairs[key]

    def _see(  # noqa: PLR0913 - what the samples are, and where they are read
        self,
        points: Sequence[tuple[Tensor, float]],
        amounts: Tensor,
        keep: Tensor | None,
        values: Values,
        drawn: Tensor | None,
    ) -> SampleTerms:
        norm, read = self.anatomy.norm, self.anatomy.read
        t = slice(None) if read is None else list(read)
        if drawn is not None:
            t = drawn if read is None else torch.tensor(read, device=drawn.device)[drawn]
        own = (drawn, t) if drawn is not None and isinstance(t, Tensor) else None
        slopes, y, chis, looks = None, [], [], []
        for x, weight in points:
            u, inverse = (x, None) if norm is None else norm(x)
            chi = None if norm is None or inverse is None else u @ self.C_pinv.T * (norm.along(inverse) / u.shape[-1])
            if self.heads is not None:
                a = amounts if inverse is None else amounts * inverse
                looks.append((weight, self.heads.look(u, values, normed=norm is not None, drawn=own), a, chi))
            if self.units.rows:
                there = _kept(at_rows(u, t), keep)
                scale = weight if inverse is None else weight * _kept(at_rows(inverse, t), keep)
                slope = self.units.slopes(there)
                part = slope if isinstance(scale, float) and scale == 1.0 else slope * scale
                slopes = part if slopes is None else slopes.add_(part)
                if chi is not None:
                    y.append(self.units.gather(slope * (there @ self.units.A.T)) @ self.units.G.T * scale)
                    chis.append(_kept(at_rows(chi, t), keep))
        at = _kept(at_rows(amounts, t), keep)
        return SampleTerms(
            at.new_zeros(len(at), 0) if slopes is None else slopes,
            torch.stack(y, 2) if y else None,
            torch.stack(chis, 1) if chis else None,
            at,
            looks,
            keep,
        )

    def _change(self, seen: SampleTerms, which: slice) -> Tensor | None:
        """What the heads write more, ``[m, h v, i]``."""
        if self.heads is None:
            return None
        total = None
        for weight, look, a, chi in seen.looks:
            change = self.heads.change(look, a, chi, which)
            change = change if len(seen.looks) == 1 else change.mul_(weight)
            total = change if total is None else total.add_(change)
        return None if total is None else _kept(total, seen.keep)


def _kept(x: Tensor, keep: Tensor | None) -> Tensor:
    """``[b, t, ...]`` to ``[m, ...]``."""
    return x.flatten(0, 1) if keep is None else x[keep]
