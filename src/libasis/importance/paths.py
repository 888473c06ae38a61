"""Sums over pairs of heads: how values, keys and queries of one head and another move the output together."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..types import Matrix
from .heads import Heads, Looks

CACHE = 2**18
"""About how many attention weights are worked on at once, so that products stay in the cache."""

ROWS, BANDS = 64, 8
"""At least so many query positions in a band, and about so many bands: products of fewer rows are slow."""

Bands = list[tuple[slice, int]]
"""Some query positions after others, each with how many key positions they may look at."""


class Paths:
    r"""The blocks of :math:`\Gamma` for an attention, :math:`\Gamma = \sum_{ts} \sigma_s^{-2} N_{ts}^T Q N_{ts}`.

    Rows are stacked as in `Heads.W`: values, keys, queries, each head by head. With :math:`P^{hg} = W_O^{hT} Q W_O^g`,
    :math:`U_{ts} = o_t^{hT} P^{hg} v_s^g` and :math:`X_{us} = v_u^{hT} P^{hg} v_s^g` every block is a few products of
    ``[t, s]`` matrices for each pair of heads; no derivative of a pattern is ever formed. Where no query looks ahead,
    they are formed in bands of queries, without the keys that are ahead of a whole band.

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
        bands = bands_of(x)
        for b, heads in in_cache(x):
            part = x.samples(b)
            own = Weighted(part, w[b])
            normed = None if g is None else Normed(part, g[:, b], tau[:, b])
            for h in range(self.heads.H):
                for gs in heads:
                    pair = Pair(part, self.heads.P[h, gs], h, gs, bands)
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
        seen = pair.over_keys(pair.both, columns)  # [g, b, t, v + 2]: sums over s of B v, B, B X_ss
        r, b, bX = seen[..., :-2], seen[..., -2], seen[..., -1]
        self.VV[h, gs, 0, 0] += b.sum((1, 2))
        kappa = 0.5 * (bX + b * pair.eta) - (r * pair.oP).sum(-1)
        self.VK[h, gs] += gram(r.addcmul_(b[..., None], pair.o, value=-1), pair.q)
        self.KK[h, gs] += gram(x.q[h].expand_as(pair.q), kappa[..., None] * pair.q)

    def _queries(self, x: Looks, own: Weighted, pair: Pair) -> None:
        h, gs = pair.h, pair.gs
        weighted = [A * U for A, U in zip(pair.A_of, pair.U, strict=True)]
        apart = [torch.mul(A, X).sub_(y) for A, X, y in zip(pair.A_of, pair.cut(pair.X_rows), weighted, strict=True)]
        moved = pair.over_keys(apart, pair.k).addcmul_(pair.vo[..., None], pair.kbar, value=-1)
        self.KQ[h, gs] += gram(own.q_own[h].expand_as(moved), moved)
        self.VQ[h, gs] += gram(own.alpha[gs, :, h, :, None] * pair.v, pair.k) - gram(
            own.own[h, ..., None] * pair.o, pair.kbar
        )
        toward = pair.over_keys(weighted, pair.k).addcmul_(pair.eta[..., None], pair.kbar, value=-0.5)
        self.QQ[h, gs] -= gram(own.kbar[h].expand_as(toward), toward)
        if gs.stop > h:
            later = slice(max(h - gs.start, 0), None)
            omega = pair.common(own.A[h], later).mul_(pair.X[later]) @ pair.k[later]
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
        self.alpha = self.own.transpose(0, 1) @ x.A  # [g, b, h, s]
        ones = torch.ones_like(x.v[..., :1])
        self.columns = torch.cat([x.v, ones, ones], -1) * w[..., None]


class Pair:
    """Head h with each of the heads g; what has an entry for each t and s stands in bands."""

    def __init__(self, x: Looks, P: Tensor, h: int, gs: slice, bands: Bands) -> None:
        self.h, self.gs, self.bands = h, gs, bands
        self.A, self.q, self.k, self.kbar, self.v, self.o = (y[gs] for y in (x.A, x.q, x.k, x.kbar, x.v, x.o))
        self.oP, self.vP = _through(x.o[h], P), _through(x.v[h], P)  # [g, b, ., v]
        self.X = self.vP @ self.v.mT
        self.X_own = self.X.diagonal(dim1=-2, dim2=-1).contiguous()
        self.X_rows = self.X[:, :, x.rows]
        self.eta = (self.oP * self.o).sum(-1)
        self.vo = (self.vP[:, :, x.rows] * self.o).sum(-1) - self.eta
        self.mine = x.A[h]
        self.A_of, self.mine_of = self.cut(self.A), self.cut(self.mine)
        self.U = [self.oP[:, :, t] @ self.v[:, :, :s].mT for t, s in bands]
        self.both = [mine * A for mine, A in zip(self.mine_of, self.A_of, strict=True)]

    def cut(self, x: Tensor) -> list[Tensor]:
        """The bands of ``[..., t, s]``."""
        return [x[..., t, :s] for t, s in self.bands]

    def over_keys(self, weights: list[Tensor], y: Tensor) -> Tensor:
        """Sums over s of weights and ``[g, b, s, e]``: ``[g, b, t, e]``."""
        parts = [weight @ y[:, :, :s] for weight, (_, s) in zip(weights, self.bands, strict=True)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 2)

    def over_queries(self, weights: list[Tensor], y: Tensor) -> Tensor:
        """Sums over t of weights and ``[g, b, t, e]``: ``[g, b, s, e]``."""
        *earlier, (rows, _) = self.bands
        total = weights[-1].mT @ y[:, :, rows]  # the last band may look at everything
        for weight, (t, s) in zip(weights, earlier, strict=False):
            total[:, :, :s] += weight.mT @ y[:, :, t]
        return total

    def common(self, mine: Tensor, which: slice) -> Tensor:
        """Sums over t of weights ``[b, t, s]`` and those of heads g: ``[g, b, s, s]``."""
        *earlier, (rows, _) = self.bands
        total = mine[:, rows].mT @ self.A[which, :, rows]
        for t, s in earlier:
            total[..., :s, :s] += mine[:, t, :s].mT @ self.A[which, :, t, :s]
        return total


def bands_of(x: Looks) -> Bands:
    """Bands of queries that look at nothing ahead; all in one where some do, or where the sequence is short."""
    T, S = x.A.shape[2:]
    height = max(ROWS, -(-T // BANDS))
    if not isinstance(x.rows, slice) or height >= T or bool(x.A.triu(1).any()):
        return [(slice(0, T), S)]
    return [(slice(t, min(t + height, T)), min(t + height, T)) for t in range(0, T, height)]


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
        theirs, seen = pair.cut(self.g[pair.gs]), pair.cut(self.seen[pair.gs])
        g, totals = pair.cut(self.g[pair.h]), []
        for i, (t, s) in enumerate(pair.bands):
            tau = (pair.X_own[:, :, None, :s] - pair.U[i]).mul_(seen[i]).addcmul_(theirs[i], pair.eta[:, :, t, None])
            self.tau[pair.h, :, t, :s] += tau.sum(0)
            self.tau[pair.gs, :, t, :s].addcmul_(g[i], pair.U[i], value=-1)
            totals.append(torch.mul(pair.mine_of[i], seen[i], out=tau).sum(2))
        total = totals[-1]
        for part in totals[:-1]:
            total[..., : part.shape[-1]] += part
        moved = [mine * y for mine, y in zip(pair.mine_of, theirs, strict=True)]
        values = pair.over_queries(moved, pair.o).addcmul_(total[..., None], pair.v, value=-1)  # [g, b, s, v]
        return values.permute(1, 2, 0, 3).flatten(2) @ P.mT.flatten(0, 1)
