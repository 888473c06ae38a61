"""The closed form for what works position by position around one attention at most: norms behind, caps, gates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..anatomy import Mixing, Values, read_mixing
from ..cut import Record, differentiable
from ..errors import OptionError
from ..measure import Accumulator
from ..numerics import clamp, slices
from ..types import Matrix
from .moment import Cost, Moment, Span
from .totals import BatchTotal


@dataclass(frozen=True)
class PositionForm:
    r"""Exact :math:`M'` where positions meet in one attention at most, whatever is computed at each of them.

    Each position has its own Jacobians: :math:`V_s, K_s, Q_s` of values, keys and queries by :math:`x_s`, and
    :math:`L_t, G_t` of the output read by C', by :math:`x_t` and by what the heads write. With
    :math:`D_{ts} = B_{ts}(v_s - o_t)`, B being A times the slope of the scores,

    .. math:: C'^T J_{ts} = G_t [A_{ts} V_s + D_{ts} q_t^T K_s] + \delta_{ts} [L_t + G_t S_t Q_t],
        \qquad S_t = \sum_s D_{ts} k_s^T.

    Jacobians of a position cost a backward pass for each of its rows, for all positions and samples at once; what
    attention does with them are products of matrices. Without attention it is :math:`\sum_t L_t^T L_t`.
    """

    name = "closed form, by position"

    def matches(self, span: Span) -> str | None:
        """None where several positions meet in one attention at most."""
        if isinstance(span.mixing, str):
            return span.mixing
        alone = span.longest == span.positions == 1
        return "has one position, where the exact rule takes no more" if alone else None

    def cost(self, span: Span, columns: int) -> Cost:
        """Passes where there is no attention, products of matrices where there is one."""
        n = span.mixing
        if isinstance(n, str) or not n.H:
            return Cost(passes=columns)
        rows, written = n.H * (n.v + n.e), n.H * n.v
        pairs = (span.longest if n.windows is None else n.windows.shape[1]) * (2 * written**2 + n.H * rows * n.e)
        return Cost(products=3 * rows * n.d * n.d + rows**2 * n.d + pairs + written**2 * columns)

    def start(self, span: Span, readout: Matrix, memory: int, weigh: Matrix | None) -> Accumulator[Moment]:
        """See `Rule`."""

        def term(record: Record) -> Matrix:
            found = read_mixing(record.contexts[span.source])
            if isinstance(found, str):
                raise OptionError(
                    f"The section at {span.name!r} {found} in batch {record.index}, though not in the first batch; use "
                    'moments="exact".'
                )
            return _of_batch(found, record, span.source, readout, memory)

        return BatchTotal(self.name, span, term)


def _of_batch(found: Mixing, record: Record, source: int, readout: Matrix, memory: int) -> Matrix:
    x, context = record.activations[source], record.contexts[source]
    rows, item = found.H * (2 * found.e + found.v) + readout.shape[1], x.element_size()
    kept = x.shape[1] * (rows * (found.d + found.H * found.v) + (found.H * (found.v + found.e)) ** 2)
    a_pass = 3 * record.workspace(source, source + 1)
    some = record.size if context.fixed_batch else clamp(memory // (4 * item * max(kept, a_pass)), record.size)
    passes = max(1, memory // (some * item * max(1, a_pass)))
    total = torch.zeros(found.d, found.d, dtype=torch.float64, device=x.device)
    for samples in slices(record.size, some):
        counted = [c if c is None else c[samples] for c in record.counted[source : source + 2]]
        part = _Positions(found, x[samples], context.of(samples), readout.to(x), passes)
        total += part.moment(*counted)
    return total


class _Positions:
    """Jacobians of each position of some samples, with the output's rows at the positions that are read."""

    def __init__(self, found: Mixing, x: Tensor, values: Values, C: Tensor, passes: int) -> None:
        self.found, self.x, self.values, self.C, self.passes = found, x, values, C, passes
        self.rows = slice(None) if found.read is None else list(found.read)

    def moment(self, counted_in: Tensor | None, counted_out: Tensor | None) -> Matrix:
        """Their part of :math:`n M'`."""
        there = self.x.new_ones(self.x.shape[:2]) if counted_in is None else counted_in.to(self.x)
        read = there[:, self.rows]
        out = torch.ones_like(read) if counted_out is None else counted_out.to(self.x)
        if not self.found.H:
            run = lambda x: self.found.after(x, None, self.values) @ self.C  # noqa: E731
            (L,) = self._jacobians(run, self.x)
            L = L[:, self.rows] * (out * read)[..., None, None]
            return _gram(L)
        return self._attended(there, read, out)

    def _attended(self, there: Tensor, read: Tensor, out: Tensor) -> Matrix:
        n, rows, values = self.found, self.rows, self.values
        looked = n.look(self.x, values)
        A, B = n.weights(looked[0], looked[1], values)
        q, k, v = (n.fold(y).transpose(1, 2) for y in looked)  # [b, H, s, .], windows being samples from here on
        o = A @ v
        joined = n.unfold(o.transpose(1, 2).flatten(2))
        L, G = self._jacobians(lambda x, o: n.after(x, o, values) @ self.C, self.x, joined)
        (R,) = self._jacobians(lambda x: torch.cat([y.flatten(2) for y in n.look(x, values)], -1), self.x)
        R, L, G, there, read, out = (n.fold(y) for y in (R * there[..., None, None], L, G, there, read, out))
        Rq, Rk, Rv = (y.unflatten(2, (n.H, -1)) for y in R.split([n.H * n.e, n.H * n.e, n.H * n.v], 2))
        G = (G[:, rows] * out[..., None, None]).unflatten(-1, (n.H, n.v))  # [b, t, k, H, v]
        L = L[:, rows] * (out * read)[..., None, None]  # [b, t, k, d]
        A, B, q, o = (y[:, :, rows] for y in (A, B, q, o))
        S = torch.einsum("bhts,bhsv,bhse->bthve", B, v, k) - torch.einsum("bhtv,bhte->bthve", o, B @ k)
        X = L + torch.einsum("btkhv,bthve,bthed->btkd", G, S, Rq[:, rows])
        at = torch.arange(k.shape[2], device=A.device)[rows]
        own_A, own_B = (y.transpose(2, 3)[:, :, at, torch.arange(len(at))] for y in (A, B))  # [b, H, t]
        Kq = torch.einsum("bhte,bthed->bthd", q, Rk[:, rows])
        apart = (v[:, :, rows] - o) * own_B[..., None]
        Y = torch.einsum("btkhv,bht,bthvd->btkd", G, own_A, Rv[:, rows])
        Y = Y + torch.einsum("btkhv,bhtv,bthd->btkd", G, apart, Kq)
        seen = torch.cat([Rv, Rk], 3).flatten(2, 3)  # [b, s, H (v + e), d]
        among = (self._pairs(A, B, q, v, o, G) @ seen).flatten(0, 2).double()
        return seen.flatten(0, 2).double().T @ among + _gram(X + Y) - _gram(Y)

    def _pairs(self, A: Tensor, B: Tensor, q: Tensor, v: Tensor, o: Tensor, G: Tensor) -> Tensor:
        r"""Of :math:`N_{ts} = G_t [A_{ts}, D_{ts} q_t^T]`, which moves values and keys, :math:`\sum_t N_{ts}^T N_{ts}`.

        Returns:
            ``[b, s, H (v + e), H (v + e)]``.
        """
        b, H, T, S = A.shape
        w, e = v.shape[-1], q.shape[-1]
        total = A.new_zeros(b, S, H, w + e, H, w + e)
        for t in slices(T, max(1, BLOCK // (b * H * H * S * (w + e)))):
            Gt = G[:, t].flatten(3)
            P = (Gt.mT @ Gt).unflatten(-1, (H, w))  # [b, t, (H v), H, v]
            D = B[:, :, t, :, None] * (v[:, :, None] - o[:, :, t, None])  # [b, H, t, s, v]
            PD = (D.transpose(1, 2) @ P.permute(0, 1, 3, 4, 2)).unflatten(-1, (H, w))  # [b, t, g, s, h, v]
            mine = D.permute(0, 2, 3, 1, 4)[:, :, None]  # [b, t, 1, s, h, v]
            Phi = (PD * mine).sum(-1, keepdim=True)
            A_h = A[:, :, t].permute(0, 2, 3, 1)[:, :, None, ..., None]  # [b, t, 1, s, h, 1]
            left = torch.cat([PD * A_h, Phi * q[:, :, t].transpose(1, 2)[:, :, None, None]], -1)
            both = left.permute(0, 2, 3, 4, 5, 1).flatten(2, 4) @ q[:, :, t]  # [b, g, (s h v+e), e]
            total[..., w:] += both.unflatten(2, (S, H, w + e)).permute(0, 2, 3, 4, 1, 5)
            AA = A[:, :, None, t] * A[:, None, :, t]  # [b, h, g, t, s]
            VV = AA.mT @ P.unflatten(2, (H, w)).permute(0, 2, 4, 1, 3, 5).flatten(4)  # [b, h, g, s, (v w)]
            total[..., :w, :, :w] += VV.unflatten(-1, (w, w)).permute(0, 3, 1, 4, 2, 5)
        total[..., w:, :, :w] = total[..., :w, :, w:].permute(0, 1, 4, 5, 2, 3)
        return total.flatten(4).flatten(2, 3)

    def _jacobians(self, run: Callable[..., Tensor], *x: Tensor) -> list[Tensor]:
        """Of a function of each position alone: ``[b, t, out]`` by each of some ``[b, t, in]``: ``[b, t, out, in]``.

        One pass for each feature out, since what is pulled back from all positions does not mix.
        """
        with differentiable():
            y, pull = torch.func.vjp(run, *x)[:2]
        units = torch.eye(y.shape[-1], dtype=y.dtype, device=y.device)[:, None, None].expand(-1, *y.shape[:-1], -1)
        found = []
        for some in units.split(self.passes):
            try:
                found.append(torch.func.vmap(pull)(some))
            except RuntimeError:  # an operation without a rule for many cotangents at once
                found.append([torch.stack(each) for each in zip(*(pull(unit) for unit in some), strict=True)])
        return [torch.cat(each).permute(1, 2, 0, 3) for each in zip(*found, strict=True)]


BLOCK = 2**22
"""About how many numbers are worked on at once."""


def _gram(J: Tensor) -> Matrix:
    J = J.flatten(0, -2).double()
    return J.T @ J
