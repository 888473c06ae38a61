"""The closed form for sections that are affine, pointwise, affine: (gated) MLPs, norms, 1x1 convolutions, any skip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..anatomy import Anatomy
from ..cut import Record
from ..measure import Accumulator
from ..numerics import Blocks, Sums, add_gram, eigh_descending, mirrored
from ..types import Activations, Matrix
from .moment import Cost, Moment, Span
from .norm import NormSums
from .totals import ShapeTotals, in_full
from .units import PointwiseUnits, counted_pairs


@dataclass(frozen=True)
class PointwiseForm:
    r"""Exact :math:`M'` of :math:`y = Dx + B\,\phi(A_1 u, \dots, A_r u)` at the price of a few products per vector.

    With :math:`s_m = \partial\phi/\partial a_m`, :math:`G = C'^T B`, :math:`K = G^T G`, all r maps stacked:
    :math:`\Gamma = K \circ \sum\sigma^{-2} s s^T`, :math:`\gamma = s \circ G^T G y` with
    :math:`y = \sum_m s_m \circ A_m \hat x`, put together by `NormSums`. No Jacobian is ever formed, and the cost does
    not depend on the number of output features.
    """

    name = "closed form, pointwise"

    def matches(self, span: Span) -> str | None:
        """None for sections without attention."""
        if isinstance(span.anatomy, str):
            return span.anatomy
        return None if span.anatomy.attention is None else "has attention"

    def cost(self, span: Span, columns: int) -> Cost:
        """No more than forward passes."""
        return Cost()

    def start(self, span: Span, readout: Matrix, memory: int, weigh: Matrix | None) -> Accumulator[Moment]:
        """See `Rule`."""
        return _PointwiseTotals(self.name, span, readout, memory)


class _PointwiseTotals(ShapeTotals["PointwiseSums"]):
    def __init__(self, name: str, span: Span, readout: Matrix, memory: int) -> None:
        super().__init__(name, span)
        self.readout, self.memory = readout, memory

    def sums_for(self, anatomy: Anatomy, like: Activations) -> PointwiseSums:
        return PointwiseSums(anatomy, self.readout, like)

    def add(self, record: Record) -> None:
        source = self.span.source
        record = in_full(record, source)
        sums = self.of(record)
        x = counted_pairs(record, source, sums.anatomy.read)
        for part in x.split(sums.rows_within(self.memory)):
            sums.add(part)
        self.n += record.count(source)

    def finish(self) -> Moment:
        found = super().finish()
        if self.before is not None:
            return found  # what was put together has no roots
        root = joined([sums.root() for sums in self.shapes.values()], len(found.value))
        return replace(found, root=None if root is None else root / max(self.n, 1) ** 0.5)


def joined(roots: Sequence[Matrix | None], d: int) -> Matrix | None:
    """One root of a sum, of those of its parts; None where one is missing or they are not narrow together."""
    known = [root for root in roots if root is not None]
    narrow = len(known) == len(roots) and sum(root.shape[1] for root in known) < d
    return torch.cat(known, 1) if narrow else None


class PointwiseSums(Sums):
    """Sums over vectors of one anatomy, float64.

    Args:
        anatomy: of the section.
        readout: C' ``[d_out, k]``, float64.
        like: gives the dtype and device of the vectors.
    """

    sums = ("n", "ss", "s", "normed")

    def __init__(self, anatomy: Anatomy, readout: Matrix, like: Tensor) -> None:
        self.anatomy, self.readout = anatomy, readout.to(like.device)
        self.units = units = PointwiseUnits(anatomy, readout.to(like))
        self.n = 0
        self.ss = self.readout.new_zeros(units.rows, units.rows)
        self.s = self.readout.new_zeros(units.rows)
        self.normed = NormSums(units.rows, anatomy, readout.shape[1], like)

    def rows_within(self, memory: int) -> int:
        """How many vectors at once."""
        numbers = 8 * (self.units.rows + self.units.hidden + self.anatomy.d)
        most = Blocks.on(self.units.A.device).vectors
        return max(1, min(most, memory // (numbers * self.units.A.element_size())))

    def add(self, x: Tensor) -> None:
        """Add vectors ``[n, d]``."""
        self.n += len(x)
        units, norm = self.units, self.anatomy.norm
        if not units.rows:
            return
        if norm is None:
            self.add_slopes(units.slopes(x))
            return
        normed, inverse = norm(x)
        projected = units.project(normed)
        s = units.slopes_at(projected)
        reads = units.gather(projected.mul_(s)) @ units.G.T  # [n, k]
        del projected  # two such at a time are enough: what is given back to the system comes back page by page
        gamma = units.spread(reads @ units.G).mul_(s)
        self.normed.add(normed, inverse, gamma, reads.square().sum(-1, keepdim=True), reads)
        del gamma
        self.add_slopes(s * inverse)

    def add_slopes(self, s: Tensor) -> None:
        r"""Add slopes over :math:`\sigma`, ``[n, rows]``."""
        add_gram(self.ss, _counted(s))
        self.s += s.sum(0, dtype=torch.float64)

    def blocks(self) -> tuple[Matrix, Matrix]:
        r""":math:`\Gamma` ``[rows, rows]`` and T ``[k, rows]``."""
        units = PointwiseUnits(self.anatomy, self.readout)
        K = units.spread(units.spread(units.G.T @ units.G).T)
        return K * mirrored(self.ss), units.spread(units.G) * self.s

    def moment(self) -> Matrix:
        """:math:`n M'` ``[d, d]``."""
        return self.normed.moment(PointwiseUnits(self.anatomy, self.readout).A, *self.blocks(), self._skip(), self.n)

    def root(self) -> Matrix | None:
        r"""``[d, r]``, of which :math:`n M'` is the product with its transpose; None if there is no small one."""
        rows, plain = self.units.rows, self.anatomy.skip is None
        if self.anatomy.norm is not None or (rows and not plain) or rows >= self.anatomy.d:
            return None
        if (skip := self._skip()) is not None:
            return skip.T * self.n**0.5
        values, vectors = eigh_descending(self.blocks()[0])
        return PointwiseUnits(self.anatomy, self.readout).A.T @ (vectors * values.clamp_min(0).sqrt())

    def _skip(self) -> Matrix | None:
        return None if self.anatomy.skip is None else self.readout.T @ self.anatomy.skip.double()  # [k, d]


def _counted(s: Tensor) -> Tensor:
    """Slopes that are all 0 or 1, as a ReLU's, in float32: it counts them exactly, in half the time of a CPU."""
    if s.dtype == torch.float32 or s.device.type != "cpu":
        return s
    counts = len(s) < 2**24 and _are_0_or_1(s[:1]) and _are_0_or_1(s)
    return s.float() if counts else s


def _are_0_or_1(s: Tensor) -> bool:
    return torch.equal(s * s, s)
