"""The closed form for sections that are affine, pointwise, affine: (gated) MLPs, norms, 1x1 convolutions, any skip."""

from __future__ import annotations

import torch
from torch import Tensor

from ..anatomy import Anatomy
from ..cut import Records
from ..types import Matrix
from .moment import Moment, Span
from .norm import Terms
from .parts import Units, counted_pairs


class PointwiseForm:
    r"""Exact :math:`M'` of :math:`y = Dx + B\,\phi(A_1 u, \dots, A_r u)` at the price of a few products per vector.

    With :math:`s_m = \partial\phi/\partial a_m`, :math:`G = C'^T B`, :math:`K = G^T G`, all r maps stacked:
    :math:`\Gamma = K \circ \sum\sigma^{-2} s s^T`, :math:`\gamma = s \circ G^T G y` with
    :math:`y = \sum_m s_m \circ A_m \hat x`, put together by `Terms`. No Jacobian is ever formed, and the cost does not
    depend on the number of output features.
    """

    name = "closed form, pointwise"

    def matches(self, span: Span) -> str | None:
        """None for sections without attention."""
        if isinstance(span.anatomy, str):
            return span.anatomy
        return None if span.anatomy.attention is None else "has attention"

    def second_moment(
        self, span: Span, records: Records, readout: Matrix, *, memory: int, progress: bool | None
    ) -> Moment:
        """See `Rule`."""
        assert not isinstance(span.anatomy, str)  # noqa: S101 - `matches` was asked
        sums, n = PointwiseSums(), 0
        for record in records.stream(progress=progress, label=f"importance at {span.name}"):
            anatomy = span.anatomy_of(record)
            units = Units(anatomy, readout.to(record.activations[span.source]))
            x = counted_pairs(record, span.source, anatomy.read)
            rows = max(1, memory // max(8 * x.element_size() * (units.rows + units.hidden + 4 * anatomy.d), 1))
            with torch.no_grad():
                for part in x.split(min(rows, 4096)):
                    sums.add(part, anatomy, units)
            n += record.count(span.source)
        return Moment(sums.moment(span.anatomy, readout) / max(n, 1), None, self.name, n)


class PointwiseSums:
    """Sums over vectors, float64."""

    def __init__(self) -> None:
        self.n = 0
        self.ss: Tensor | float = 0.0
        self.s: Tensor | float = 0.0
        self.terms = Terms()

    def add(self, x: Tensor, anatomy: Anatomy, units: Units) -> None:
        """Add vectors ``[n, d]``."""
        self.n += len(x)
        if not anatomy.pointwise:
            return
        if anatomy.norm is None:
            self.slopes(units.slopes(x))
            return
        normed, inverse = anatomy.norm(x)
        s = units.slopes(normed)
        y = units.gather(s * (normed @ units.A.T))
        reads = y @ units.G.T  # [n, k]
        self.slopes(s * inverse)
        gamma = s * units.spread(reads @ units.G)
        self.terms.add(normed, inverse, gamma, reads.square().sum(-1, keepdim=True), reads)

    def slopes(self, s: Tensor) -> None:
        r"""Add slopes over :math:`\sigma`, ``[n, rows]``."""
        self.ss = self.ss + (s.T @ s).double()
        self.s = self.s + s.sum(0, dtype=torch.float64)

    def blocks(self, units: Units) -> tuple[Matrix, Matrix]:
        r""":math:`\Gamma` ``[rows, rows]`` and T ``[k, rows]``."""
        K = units.spread(units.spread(units.G.T @ units.G).T)
        return K * self.ss, units.spread(units.G) * self.s

    def moment(self, anatomy: Anatomy, readout: Matrix) -> Matrix:
        """:math:`n M'` ``[d, d]``."""
        units = Units(anatomy, readout.double())
        skip = None if anatomy.skip is None else readout.double().T @ anatomy.skip.double()  # [k, d]
        return self.terms.moment(units.A, *self.blocks(units), skip, self.n)
