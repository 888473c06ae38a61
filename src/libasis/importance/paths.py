"""Sums over pairs of heads: how values, keys and queries of one head and another move the output together."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..types import Matrix
from .heads import Heads, Looks

CACHE = 2**18
"""About how many attention weights are worked on at once, so that products stay in the cache."""


class Paths:
    r"""The blocks of :math:`\Gamma` for an attention, :math:`\Gamma = \sum_{ts} \sigma_s^{-2} N_{ts}^T Q N_{ts}`.

    Rows are stacked as in `Heads.W`: values, keys, queries, each head by head. With :math:`P^{hg} = W_O^{hT} Q W_O^g`,
    :math:`U_{ts} = o_t^{hT} P^{hg} v_s^g` and :math:`X_{us} = v_u^{hT} P^{hg} v_s^g` every block is a few products of
    ``[t, s]`` matrices for each pair of heads; no derivative of a pattern is ever formed.

    Args:
        heads: the heads.
    """

    def __init__(self, heads: Heads) -> None:
        self.heads = heads
        H, e, v = heads.H, heads.e, heads.v
        shapes = {"VV": (1, 1), "VK": (v, e), "VQ": (v, e), "KK": (e, e), "KQ": (e, e), "QQ": (e, e)}
        # sums of a few samples in their own dtype, and of all in float64
        self.VV, self.VK, self.VQ, self.KK, self.KQ, self.QQ = (heads.W.new_zeros(H, H, *s) for s in shapes.values())
        self.few = {name: getattr(self, name) for name in shapes}
        self.all = {name: part.to(torch.float64, copy=True) for name, part in self.few.items()}

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
        for b, heads in in_cache(x):
            part = x.samples(b)
            own = Weighted(part, w[b])
            normed = None if g is None else Normed(part, g[:, b], tau[:, b])
            for h in range(self.heads.H):
                for gs in heads:
                    pair = Pair(part, self.heads.P[h, gs], h, gs)
                    self._values_and_keys(part, own, pair)
                    self._queries(part, own, pair)
                    if normed is not None:
                        gamma[h, b] -= normed.add(pair, self.heads.P[h, gs])
        self._collect()
        return tau, gamma

    def _collect(self) -> None:
        for name, part in self.few.items():
            self.all[name] += part
            part.zero_()

    def _values_and_keys(self, x: Looks, own: Weighted, pair: Pair) -> None:
        h, gs = pair.h, pair.gs
        columns = own.columns[gs]
        columns[..., -1] = own.w * pair.X_own
        seen = pair.both @ columns  # [g, b, t, v + 2]: sums over s of B v, B, B X_ss
        r, b, bX = seen[..., :-2], seen[..., -2], seen[..., -1]
        self.VV[h, gs, 0, 0] += b.sum((1, 2))
        kappa = 0.5 * (bX + b * pair.eta) - (r * pair.oP).sum(-1)
        self.VK[h, gs] += gram(r.addcmul_(b[..., None], pair.o, value=-1), pair.q)
        self.KK[h, gs] += gram(x.q[h].expand_as(pair.q), kappa[..., None] * pair.q)

    def _queries(self, x: Looks, own: Weighted, pair: Pair) -> None:
        h, gs = pair.h, pair.gs
        weighted = pair.A * pair.U
        moved = torch.mul(pair.A, pair.X_rows).sub_(weighted) @ pair.k
        moved.addcmul_(pair.vo[..., None], pair.kbar, value=-1)
        self.KQ[h, gs] += gram(own.q_own[h].expand_as(moved), moved)
        alpha = (own.own[h, :, None, :] @ pair.A)[:, :, 0]  # [g, b, s]
        self.VQ[h, gs] += gram(alpha[..., None] * pair.v, pair.k) - gram(own.own[h, ..., None] * pair.o, pair.kbar)
        toward = (weighted @ pair.k).addcmul_(pair.eta[..., None], pair.kbar, value=-0.5)
        self.QQ[h, gs] -= gram(own.kbar[h].expand_as(toward), toward)
        if gs.stop > h:
            later = slice(max(h - gs.start, 0), None)
            omega = (own.A[h].mT @ pair.A[later]).mul_(pair.X[later]) @ pair.k[later]
            half = gram(x.k[h].expand_as(omega), omega)
            if gs.start <= h:
                half[0] *= 0.5
            self.QQ[h, max(h, gs.start) : gs.stop] += half

    def blocks(self, P: Tensor) -> Matrix:
        r""":math:`\Gamma` ``[rows, rows]``, P in float64."""
        VV, VK, VQ = P * self.all["VV"], P @ self.all["VK"], P @ self.all["VQ"]
        KK, QQ = (x + x.permute(1, 0, 3, 2) for x in (self.all["KK"], self.all["QQ"]))
        blocks = (VV, VK, VQ, KK, self.all["KQ"], QQ)
        VV, VK, VQ, KK, KQ, QQ = (x.transpose(1, 2).flatten(2).flatten(0, 1) for x in blocks)
        top, middle, bottom = (VV, VK, VQ), (VK.T, KK, KQ), (VQ.T, KQ.T, QQ)
        return torch.cat([torch.cat(row, 1) for row in (top, middle, bottom)])


def in_cache(x: Looks) -> Iterator[tuple[slice, list[slice]]]:
    """Slices of samples, and of heads, whose attention weights stay in the cache."""
    H, size, t, s = x.A.shape
    heads = max(1, min(H, CACHE // (t * s)))
    samples = max(1, CACHE // (heads * t * s))
    split = [slice(g, min(g + heads, H)) for g in range(0, H, heads)]
    for first in range(0, size, samples):
        yield slice(first, min(first + samples, size)), split


class Weighted:
    r"""What is weighted by :math:`\sigma^{-2}` once for all pairs of heads."""

    def __init__(self, x: Looks, w: Tensor) -> None:
        self.w, self.at_t = w, w[:, x.rows]
        self.own = x.own * self.at_t  # [H, b, t]
        self.A = x.A * self.at_t[..., None]
        self.kbar = x.kbar * self.at_t[..., None]
        self.q_own = x.q_own * self.own[..., None]
        ones = torch.ones_like(x.v[..., :1])
        self.columns = torch.cat([x.v, ones, ones], -1) * w[..., None]


class Pair:
    """Head h with each of the heads g."""

    def __init__(self, x: Looks, P: Tensor, h: int, gs: slice) -> None:
        self.h, self.gs = h, gs
        self.A, self.q, self.k, self.kbar, self.v, self.o = (y[gs] for y in (x.A, x.q, x.k, x.kbar, x.v, x.o))
        self.oP, self.vP = _through(x.o[h], P), _through(x.v[h], P)  # [g, b, ., v]
        self.U, self.X = self.oP @ self.v.mT, self.vP @ self.v.mT
        self.X_own = (self.vP * self.v).sum(-1)
        self.X_rows = self.X[:, :, x.rows]
        self.eta = (self.oP * self.o).sum(-1)
        self.vo = (self.vP[:, :, x.rows] * self.o).sum(-1) - self.eta
        self.mine = x.A[h]
        self.both = self.mine * self.A


def _through(x: Tensor, P: Tensor) -> Tensor:
    """``[b, s, v]`` times ``[g, v, v']``: ``[g, b, s, v']``."""
    return torch.bmm(x.flatten(0, 1).expand(len(P), -1, -1), P).view(len(P), *x.shape[:2], -1)


def gram(x: Tensor, y: Tensor) -> Tensor:
    """Sums over samples and positions: ``[g, b, t, i]`` and ``[g, b, t, j]`` to ``[g, i, j]``."""
    return x.flatten(1, 2).mT @ y.flatten(1, 2)


class Normed:
    r"""What a norm adds.

    Args:
        x: what the heads look at.
        g: see `Paths.add`.
        tau: :math:`\tau`, to be added to.
    """

    def __init__(self, x: Looks, g: Tensor, tau: Tensor) -> None:
        self.g, self.tau, self.seen = g, tau, x.A + g

    def add(self, pair: Pair, P: Tensor) -> Tensor:
        r"""Adds to :math:`\tau`; what heads g take from the value part of :math:`\gamma` of head h, ``[b, s, v]``."""
        theirs, seen = self.g[pair.gs], self.seen[pair.gs]
        tau = (pair.X_own[:, :, None] - pair.U).mul_(seen).addcmul_(theirs, pair.eta[..., None])
        self.tau[pair.h] += tau.sum(0)
        self.tau[pair.gs].addcmul_(self.g[pair.h], pair.U, value=-1)
        seen = torch.mul(pair.mine, seen, out=tau).sum(2)
        moved = torch.mul(pair.mine, theirs, out=tau)
        values = (moved.mT @ pair.o).addcmul_(seen[..., None], pair.v, value=-1)  # [g, b, s, v]
        return values.permute(1, 2, 0, 3).flatten(2) @ P.mT.flatten(0, 1)
