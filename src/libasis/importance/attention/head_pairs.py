"""Sums over pairs of heads: how values, keys and queries of one head and another move the output together."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ...numerics import Sums, clamp, slices
from ...types import Matrix
from .heads import HeadStates, ReadoutHeads

CACHE = 2**18
"""About how many attention weights are worked on at once, so that products stay in the cache."""

ROWS = 64
"""At least so many query positions in a band: products of fewer rows are slow."""

BANDS = 8
"""About so many bands, at most."""


class HeadPairSums(Sums):
    r"""The blocks of :math:`\Gamma` for an attention, :math:`\Gamma = \sum_{ts} \sigma_s^{-2} N_{ts}^T Q N_{ts}`.

    Rows are stacked as in `ReadoutHeads.W`: values, keys, queries, each head by head. With
    :math:`P^{hg} = W_O^{hT} Q W_O^g`, :math:`U_{ts} = o_t^{hT} P^{hg} v_s^g` and :math:`X_{us} = v_u^{hT} P^{hg} v_s^g`
    every block is a few products of ``[t, s]`` matrices for each pair of heads; no derivative of a pattern is ever
    formed. Where no query looks ahead, they are formed in bands of queries, without the keys that are ahead of a whole
    band.

    Args:
        heads: the heads.
        rows: at least so many queries in a band.
    """

    sums = ("all",)

    def __init__(self, heads: ReadoutHeads, rows: int = ROWS) -> None:
        self.heads, self.rows = heads, rows
        H, e, v = heads.H, heads.e, heads.v
        shapes = {"VV": (1, 1), "VK": (v, e), "VQ": (v, e), "KK": (e, e), "KQ": (e, e), "QQ": (e, e)}
        # sums of a few samples in their own dtype, and of all in float64
        self.VV, self.VK, self.VQ, self.KK, self.KQ, self.QQ = (heads.W.new_zeros(H, H, *s) for s in shapes.values())
        self.few = {name: getattr(self, name) for name in shapes}
        self.all = {name: part.to(torch.float64, copy=True) for name, part in self.few.items()}

    def add(self, x: HeadStates, w: Tensor, g: Tensor | None) -> tuple[Tensor, Tensor]:
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
        bands = bands_of(x, self.rows)
        for b, heads in in_cache(x):
            part = x.samples(b)
            own = SharedByPairs(part, w[b], bands)
            normed = None if g is None else NormedPairs(own, g[:, b], gamma[:, b])
            for h in range(self.heads.H):
                for gs in heads:
                    pair = HeadPair(part, own, self.heads.P[h, gs], h, gs)
                    self._values_and_keys(part, own, pair)
                    self._queries(part, own, pair)
                    if normed is not None:
                        normed.add(pair)
            self._keys(part, own)
            if normed is not None:
                bands.put(normed.tau, tau[:, b])
        self._collect()
        return tau, gamma

    def _collect(self) -> None:
        for name, part in self.few.items():
            self.all[name] += part
            part.zero_()

    def _values_and_keys(self, x: HeadStates, own: SharedByPairs, pair: HeadPair) -> None:
        h, gs = pair.h, pair.gs
        columns = own.columns[gs]
        columns[..., -1] = own.w * pair.X_own
        seen = own.bands.over_keys(pair.both, columns)  # [g, b, t, v + 2]: sums over s of B v, B, B X_ss
        r, b, bX = seen[..., :-2], seen[..., -2], seen[..., -1]
        self.VV[h, gs, 0, 0] += b.sum((1, 2))
        own.kappa[h, gs] = 0.5 * (bX + b * pair.eta) - (r * pair.oP).sum(-1)
        add_to(self.VK[h, gs], r.addcmul_(b[..., None], pair.o, value=-1), pair.q)

    def _keys(self, x: HeadStates, own: SharedByPairs) -> None:
        """What needs both orders of a pair of heads."""
        for h in range(self.heads.H):
            kappa = own.kappa[h, h:] + own.kappa[h:, h]
            kappa[0] *= 0.5
            add_to(self.KK[h, h:], x.q[h].expand_as(x.q[h:]), kappa[..., None] * x.q[h:])

    def _queries(self, x: HeadStates, own: SharedByPairs, pair: HeadPair) -> None:
        h, gs, bands, apart, toward = pair.h, pair.gs, own.bands, [], []
        for (t, _), A, X, U in zip(bands.parts, pair.A, bands.views(pair.X_rows), pair.U, strict=True):
            apart.append((X - U).sub_(pair.vo[:, :, t, None]).mul_(A))
            toward.append(torch.sub(0.5 * pair.eta[:, :, t, None], U).mul_(A))
        add_to(self.KQ[h, gs], bands.over_queries(apart, own.q_own[h]), pair.k)
        add_to(self.VQ[h, gs], own.alpha[gs, :, h, :, None] * pair.v, pair.k)
        add_to(self.VQ[h, gs], own.own[h, ..., None] * pair.o, pair.kbar, sign=-1)
        moved = bands.over_queries(toward, own.kbar[h])
        if gs.stop > h:
            later = pair.later
            common = bands.common([A[h] for A in own.weighted], [A[later] for A in pair.A]).mul_(pair.X[later])
            if gs.start <= h:
                common[0] *= 0.5
            moved[later] += common.mT @ x.k[h]
        add_to(self.QQ[h, gs], moved, pair.k)

    def blocks(self, P: Tensor) -> Matrix:
        r""":math:`\Gamma` ``[rows, rows]``, P in float64."""
        VV, VK, VQ = P * self.all["VV"], P @ self.all["VK"], P @ self.all["VQ"]
        KK, QQ = (x + x.permute(1, 0, 3, 2) for x in (self.all["KK"], self.all["QQ"]))
        blocks = (VV, VK, VQ, KK, self.all["KQ"], QQ)
        VV, VK, VQ, KK, KQ, QQ = (x.transpose(1, 2).flatten(2).flatten(0, 1) for x in blocks)
        top, middle, bottom = (VV, VK, VQ), (VK.T, KK, KQ), (VQ.T, KQ.T, QQ)
        return torch.cat([torch.cat(row, 1) for row in (top, middle, bottom)])


def in_cache(x: HeadStates) -> Iterator[tuple[slice, list[slice]]]:
    """Slices of samples, and of heads, whose attention weights stay in the cache."""
    H, size, t, s = x.A.shape
    heads = clamp(CACHE // (t * s), H)
    split = list(slices(H, heads))
    for samples in slices(size, clamp(CACHE // (heads * t * s), size)):
        yield samples, split


class Bands:
    """Some query positions after others, each with the first key positions, those that it may look at.

    Args:
        parts: query positions, and how many keys.
    """

    def __init__(self, parts: list[tuple[slice, int]]) -> None:
        self.parts = parts

    def views(self, x: Tensor) -> list[Tensor]:
        """The bands of ``[..., t, s]``."""
        return [x[..., t, :s] for t, s in self.parts]

    def cut(self, x: Tensor) -> list[Tensor]:
        """The same, each in a piece of memory of its own."""
        return [view.contiguous() for view in self.views(x)]

    def put(self, bands: list[Tensor], x: Tensor) -> None:
        """Write bands back."""
        for view, band in zip(self.views(x), bands, strict=True):
            view.copy_(band)

    def over_keys(self, weights: list[Tensor], y: Tensor) -> Tensor:
        """Sums over s of weights and ``[g, b, s, e]`` or ``[b, s, e]``: ``[g, b, t, e]``."""
        parts = [weight @ y[..., :s, :] for weight, (_, s) in zip(weights, self.parts, strict=True)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 2)

    def over_queries(self, weights: list[Tensor], y: Tensor) -> Tensor:
        """Sums over t of weights and ``[g, b, t, e]`` or ``[b, t, e]``: ``[g, b, s, e]``."""
        return summed([weight.mT @ y[..., t, :] for weight, (t, _) in zip(weights, self.parts, strict=True)])

    def common(self, mine: list[Tensor], theirs: list[Tensor]) -> Tensor:
        """Sums over t of weights ``[b, t, s]`` and those of heads g: ``[g, b, s, s]``."""
        *earlier, total = (x.mT @ y for x, y in zip(mine, theirs, strict=True))
        for part in earlier:
            s = part.shape[-1]
            total[..., :s, :s] += part
        return total


def summed(parts: list[Tensor]) -> Tensor:
    """The sum over bands of ``[g, b, s, ...]``, into the last, which has every s."""
    *earlier, total = parts
    for part in earlier:
        total[:, :, : part.shape[2]] += part
    return total


def bands_of(x: HeadStates, rows: int) -> Bands:
    """Bands of queries that look at nothing ahead; all in one where some do, or where the sequence is short."""
    T, S = x.A.shape[2:]
    height = max(rows, -(-T // BANDS))
    if not isinstance(x.rows, slice) or height >= T or bool(x.A.triu(1).any()):
        return Bands([(slice(0, T), S)])
    return Bands([(t, t.stop) for t in slices(T, height)])


class SharedByPairs:
    r"""What some samples have once for all pairs of heads, weighted by :math:`\sigma^{-2}` or in bands."""

    def __init__(self, x: HeadStates, w: Tensor, bands: Bands) -> None:
        self.w, self.at_t, self.bands = w, w[:, x.rows], bands
        self.own = x.own * self.at_t  # [H, b, t]
        self.A, self.weighted = bands.cut(x.A), bands.cut(x.A * self.at_t[..., None])
        self.kbar = x.kbar * self.at_t[..., None]
        self.q_own = x.q_own * self.own[..., None]
        self.alpha = self.own.transpose(0, 1) @ x.A  # [g, b, h, s]
        ones = torch.ones_like(x.v[..., :1])
        self.columns = torch.cat([x.v, ones, ones], -1) * w[..., None]
        self.kappa = x.A.new_empty(len(x.A), *x.A.shape[:3])  # [h, g, b, t]


class HeadPair:
    """Head h with each of the heads g; what has an entry for each t and s stands in bands."""

    def __init__(self, x: HeadStates, own: SharedByPairs, P: Tensor, h: int, gs: slice) -> None:
        self.h, self.gs = h, gs
        self.q, self.k, self.kbar, self.v, self.o = (y[gs] for y in (x.q, x.k, x.kbar, x.v, x.o))
        self.oP, self.vP = _through(x.o[h], P), _through(x.v[h], P)  # [g, b, ., v]
        self.X = self.vP @ self.v.mT
        self.X_own = self.X.diagonal(dim1=-2, dim2=-1).contiguous()
        self.X_rows = self.X[:, :, x.rows]
        self.eta = (self.oP * self.o).sum(-1)
        self.vo = (self.vP[:, :, x.rows] * self.o).sum(-1) - self.eta
        self.U = [self.oP[:, :, t] @ self.v[:, :, :s].mT for t, s in own.bands.parts]
        self.A = [A[gs] for A in own.A]
        self.both = [A[h] * B for A, B in zip(own.A, self.A, strict=True)]

    @property
    def later(self) -> slice:
        """Which of the heads g are not before h: one order of each pair."""
        return slice(max(self.h - self.gs.start, 0), None)


def _through(x: Tensor, P: Tensor) -> Tensor:
    """``[b, s, v]`` times ``[g, v, v']``: ``[g, b, s, v']``."""
    return torch.bmm(x.flatten(0, 1).expand(len(P), -1, -1), P).view(len(P), *x.shape[:2], -1)


def gram(x: Tensor, y: Tensor) -> Tensor:
    """Sums over samples and positions: ``[g, b, t, i]`` and ``[g, b, t, j]`` to ``[g, i, j]``."""
    return x.flatten(1, 2).mT @ y.flatten(1, 2)


def add_to(total: Tensor, x: Tensor, y: Tensor, sign: int = 1) -> None:
    """Add `gram` to ``[g, i, j]``, or take it away."""
    total.baddbmm_(x.flatten(1, 2).mT, y.flatten(1, 2), alpha=sign)


class NormedPairs:
    r"""What a norm adds.

    Args:
        own: of the samples.
        g: see `HeadPairSums.add`.
        gamma: the value part of :math:`\gamma`, to be added to.

    Attributes:
        tau: :math:`\tau`, in bands.
    """

    def __init__(self, own: SharedByPairs, g: Tensor, gamma: Tensor) -> None:
        self.bands, self.gamma = own.bands, gamma
        self.g = own.bands.cut(g)
        self.seen = [A + g for A, g in zip(own.A, self.g, strict=True)]
        self.tau = [torch.zeros_like(g) for g in self.g]

    def add(self, pair: HeadPair) -> None:
        r"""Adds to :math:`\tau` of all these heads, and to the value part of :math:`\gamma` of heads g."""
        h, gs, totals, moved = pair.h, pair.gs, [], []
        for (t, s), A, g, seen, tau, U in zip(
            self.bands.parts, pair.A, self.g, self.seen, self.tau, pair.U, strict=True
        ):
            mine = (pair.X_own[:, :, None, :s] - U).mul_(seen[gs]).addcmul_(g[gs], pair.eta[:, :, t, None])
            tau[h] += mine.sum(0)
            tau[gs].addcmul_(g[h], U, value=-1)
            totals.append(torch.mul(A, seen[h], out=mine).sum(2))
            moved.append(A * g[h])
        written = self.bands.over_queries(moved, pair.oP)
        self.gamma[gs] -= written.addcmul_(summed(totals)[..., None], pair.vP, value=-1)
