"""The closed form for sections that are affine, pointwise, affine: (gated) MLPs, norms, 1x1 convolutions, any skip."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..anatomy import Anatomy
from ..cut import Records
from ..numerics.eigen import symmetric
from ..types import Matrix
from .moment import Moment, Span
from .parts import Units, counted_pairs


class PointwiseForm:
    r"""Exact :math:`M'` of :math:`y = Dx + B\,\phi(A_1 u, \dots, A_r u)` at the price of a few products per vector.

    With :math:`s_m = \partial\phi/\partial a_m`, :math:`G = C'^T B`, :math:`K = G^T G`, all r maps stacked, and
    u the input itself,

    .. math:: M' = A^T (K \circ E[s s^T]) A + X + X^T + D^T Q D, \quad X = D^T C' G\,\mathrm{diag}(E[s]) A.

    With a norm in front (:math:`u = \hat x = \Pi x/\sigma`, A folded with :math:`\Pi`) every Jacobian carries
    :math:`\sigma^{-1}(I - \hat x \hat x^T / d)`, which adds terms in
    :math:`\gamma = s \circ G^T G y`, :math:`y = \sum_m s_m \circ A_m \hat x`. No Jacobian is ever formed, and the cost
    does not depend on the number of output features.
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
        total, n = _Sums(), 0
        for record in records.stream(progress=progress, label=f"importance at {span.name}"):
            anatomy = span.anatomy_of(record)
            units = Units(anatomy, readout.to(record.activations[span.source]))
            x = counted_pairs(record, span.source, anatomy.read)
            rows = max(1, memory // max(8 * x.element_size() * (units.rows + units.hidden + 4 * anatomy.d), 1))
            with torch.no_grad():
                for part in x.split(min(rows, 4096)):
                    total.add(part, anatomy, units)
            n += record.count(span.source)
        return Moment(total.moment(span.anatomy, readout, max(n, 1)), None, self.name, n)


@dataclass
class _Sums:
    """Sums over vectors, float64."""

    n: int = 0
    ss: Tensor | float = 0.0
    s: Tensor | float = 0.0
    Y: Tensor | float = 0.0
    Z: Tensor | float = 0.0
    L: Tensor | float = 0.0

    def add(self, x: Tensor, anatomy: Anatomy, units: Units) -> None:
        """Add vectors ``[n, d]``."""
        self.n += len(x)
        if not anatomy.pointwise:
            return
        if anatomy.norm is None:
            s = units.slopes(x)
            self.ss = self.ss + (s.T @ s).to(torch.float64)
            self.s = self.s + s.sum(0, dtype=torch.float64)
            return
        normed, inverse = anatomy.norm(x)
        s = units.slopes(normed)
        projected = normed @ units.A.T
        y = units.gather(s * projected)
        read = y @ units.G.T  # [n, k]
        weighted = s * inverse
        self.ss = self.ss + (weighted.T @ weighted).to(torch.float64)
        self.s = self.s + weighted.sum(0, dtype=torch.float64)
        gamma = weighted * units.spread(read @ units.G)
        self.Y = self.Y + (gamma.T @ (normed * inverse)).to(torch.float64)
        energy = (read.square().sum(-1, keepdim=True)) * inverse.square()
        self.Z = self.Z + (normed.T @ (normed * energy)).to(torch.float64)
        self.L = self.L + ((read * inverse).T @ normed).to(torch.float64)

    def moment(self, anatomy: Anatomy, readout: Matrix, n: int) -> Matrix:
        """:math:`M'` ``[d, d]``."""
        C = readout.to(torch.float64)
        skip = None if anatomy.skip is None else C.T.to(anatomy.skip) @ anatomy.skip  # [k, d]
        M = C.new_zeros(anatomy.d, anatomy.d) if skip is None else skip.T @ skip * self.n
        if not anatomy.pointwise or not self.n:
            return M / n
        units = Units(anatomy, C)
        K = units.spread(units.spread(units.G.T @ units.G).T)
        M = M + units.A.T @ ((K * self.ss) @ units.A)
        through = units.spread(units.G) * self.s @ units.A  # [k, d]
        if anatomy.norm is not None:
            d = anatomy.d
            T = units.A.T @ self.Y / d
            M = M - T - T.T + self.Z / d**2
            through = through - self.L / d
        if skip is not None:
            X = skip.T @ through
            M = M + X + X.T
        return symmetric(M) / n
