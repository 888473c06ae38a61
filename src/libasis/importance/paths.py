"""Sums over pairs of heads: how values, keys and queries of one head and another move the output together."""

from __future__ import annotations

import torch
from torch import Tensor

from ..types import Matrix
from .heads import Heads, Looks


class Paths:
    r"""The blocks of :math:`\Gamma` for an attention, :math:`\Gamma = \sum_{ts} \sigma_s^{-2} N_{ts}^T Q N_{ts}`.

    Rows are stacked as in `Heads.W`: values, keys, queries, each head by head. With :math:`P^{hg} = W_O^{hT} Q W_O^g`,
    :math:`U_{ts} = o_t^{hT} P^{hg} v_s^g` and :math:`X_{us} = v_u^{hT} P^{hg} v_s^g` every block is a few products of
    ``[t, s]`` matrices for each pair of heads; no derivative of a pattern is ever formed.

    Args:
        heads: the heads.
    """

    def __init__(self, heads: Heads) -> None:
        H, e, v = heads.H, heads.e, heads.v
        self.heads = heads
        zeros = heads.W.new_zeros
        self.VV = zeros(H, H, dtype=torch.float64)
        self.VK, self.VQ = zeros(H, H, v, e, dtype=torch.float64), zeros(H, H, v, e, dtype=torch.float64)
        self.KK, self.KQ, self.QQ = (zeros(H, H, e, e, dtype=torch.float64) for _ in range(3))

    def add(self, x: Looks, w: Tensor, g: Tensor | None) -> tuple[Tensor, Tensor]:
        r"""Add samples.

        Args:
            x: what the heads look at.
            w: :math:`\sigma_s^{-2}` ``[b, s]``, 0 where the input does not count.
            g: :math:`A_{ts}\, q_t\cdot k^\circ_s` ``[H, b, t, s]`` if there is a norm.

        Returns:
            :math:`\tau` ``[H, b, t, s]`` and the value part of :math:`\gamma` ``[H, b, s, v]``, both without what
            enters at s = t alone (zeros where there is no norm).
        """
        tau, gamma = torch.zeros_like(x.A), torch.zeros_like(x.v)
        own = Weighted(x, w)
        for h in range(self.heads.H):
            pair = Pair(x, self.heads.P[h], h)
            self._values_and_keys(h, x, own, pair)
            self._queries(h, x, own, pair)
            if g is not None:
                gamma[h] = _normed(h, x, g, self.heads.P[h], pair, tau)
        return tau, gamma

    def _values_and_keys(self, h: int, x: Looks, own: Weighted, pair: Pair) -> None:
        own.columns[..., -1] = own.w * pair.X_own
        seen = pair.both @ own.columns  # [g, b, t, v + 2]: sums over s of B v, B, B X_ss
        r, b, bX = seen[..., :-2], seen[..., -2], seen[..., -1]
        self.VV[h] += b.sum((1, 2), dtype=torch.float64)
        self.VK[h] += gram(r - b[..., None] * x.o, x.q)
        kappa = 0.5 * (bX + b * pair.eta) - (r * pair.oP).sum(-1)
        self.KK[h] += gram(own.q_of(h), kappa[..., None] * x.q)

    def _queries(self, h: int, x: Looks, own: Weighted, pair: Pair) -> None:
        moved = (x.A * (pair.X_rows - pair.U)) @ x.k - pair.vo[..., None] * x.kbar
        self.KQ[h] += gram(own.q_own_of(h), moved)
        alpha = (own.own[h, :, None, :] @ x.A)[:, :, 0]  # [g, b, s]
        self.VQ[h] += gram(alpha[..., None] * x.v, x.k) - gram(own.own[h, ..., None] * x.o, x.kbar)
        toward = (x.A * pair.U) @ x.k
        self.QQ[h] += gram(own.kbar_of(h), 0.5 * pair.eta[..., None] * x.kbar - toward)
        omega = (own.A[h].mT @ x.A[h:]) * pair.X[h:]
        half = gram(x.k[h].expand_as(x.k[h:]), omega @ x.k[h:]).double()
        half[0] *= 0.5
        self.QQ[h, h:] += half

    def blocks(self) -> Matrix:
        r""":math:`\Gamma` ``[rows, rows]``."""
        P = self.heads.P.double()
        VV, VK, VQ = P * self.VV[..., None, None], P @ self.VK, P @ self.VQ
        KK, QQ = (x + x.permute(1, 0, 3, 2) for x in (self.KK, self.QQ))
        VV, VK, VQ, KK, KQ, QQ = (x.transpose(1, 2).flatten(2).flatten(0, 1) for x in (VV, VK, VQ, KK, self.KQ, QQ))
        top, middle, bottom = (VV, VK, VQ), (VK.T, KK, KQ), (VQ.T, KQ.T, QQ)
        return torch.cat([torch.cat(row, 1) for row in (top, middle, bottom)])


class Weighted:
    """What is weighted once for all pairs of heads."""

    def __init__(self, x: Looks, w: Tensor) -> None:
        self.w = w
        at_t = w[:, x.rows]
        self.own = x.own * at_t  # [H, b, t]
        self.A = x.A * at_t[..., None]
        ones = torch.ones_like(x.v[..., :1])
        self.columns = torch.cat([x.v, ones, ones], -1) * w[..., None]
        self.x, self.at_t, self.q_own = x, at_t, x.q_own

    def q_of(self, h: int) -> Tensor:
        """Queries of head h, beside those of every head."""
        return self.x.q[h].expand_as(self.x.q)

    def q_own_of(self, h: int) -> Tensor:
        """Those that move the key of the same position, weighted."""
        return (self.own[h, ..., None] * self.q_own[h]).expand_as(self.q_own)

    def kbar_of(self, h: int) -> Tensor:
        """Mean keys of head h, weighted."""
        return (self.at_t[..., None] * self.x.kbar[h]).expand_as(self.x.kbar)


class Pair:
    """One head with all heads g."""

    def __init__(self, x: Looks, P: Tensor, h: int) -> None:
        self.oP, self.vP = _through(x.o[h], P), _through(x.v[h], P)  # [g, b, ., v]
        self.U, self.X = self.oP @ x.v.mT, self.vP @ x.v.mT
        self.X_own = (self.vP * x.v).sum(-1)
        self.X_rows = self.X[:, :, x.rows]
        self.eta = (self.oP * x.o).sum(-1)
        self.vo = (self.vP[:, :, x.rows] * x.o).sum(-1) - self.eta
        self.both = x.A[h] * x.A


def _through(x: Tensor, P: Tensor) -> Tensor:
    """``[b, s, v]`` times ``[g, v, v']``: ``[g, b, s, v']``."""
    return torch.bmm(x.flatten(0, 1).expand(len(P), -1, -1), P).view(len(P), *x.shape[:2], -1)


def gram(x: Tensor, y: Tensor) -> Tensor:
    """Sums over samples and positions: ``[g, b, t, i]`` and ``[g, b, t, j]`` to ``[g, i, j]``."""
    return x.flatten(1, 2).mT @ y.flatten(1, 2)


def _normed(h: int, x: Looks, g: Tensor, P: Tensor, pair: Pair, tau: Tensor) -> Tensor:
    r"""Adds to :math:`\tau`; returns the value part of :math:`\gamma` of head h, ``[b, s, v]``."""
    tau[h] += ((x.A + g) * (pair.X_own[:, :, None] - pair.U) + g * pair.eta[..., None]).sum(0)
    tau -= g[h] * pair.U
    moved = x.A[h] * g
    seen = (pair.both + moved).sum(2)
    values = seen[..., None] * x.v - moved.mT @ x.o  # [g, b, s, v]
    return torch.einsum("gbsj,gij->bsi", values, P)
