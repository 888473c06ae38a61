"""Sums over pairs of heads: how values, keys and queries of one head and another move the output together."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from ...numerics import Blocks, Sums, clamp, even, slices
from ...types import Matrix
from .heads import HeadStates, ReadoutHeads

BANDS = 8
"""About so many bands, at most."""


class HeadPairSums(Sums):
    r"""The blocks of :math:`\Gamma` for an attention, :math:`\Gamma = \sum_{ts} \sigma_s^{-2} N_{ts}^T Q N_{ts}`.

    Rows are stacked as in `ReadoutHeads.W`: values, keys, queries, each head by head. With
    :math:`P^{hg} = W_O^{hT} Q W_O^g`, :math:`U_{ts} = o_t^{hT} P^{hg} v_s^g` and :math:`X_{us} = v_u^{hT} P^{hg} v_s^g`
    every block is a few products of ``[t, s]`` matrices for each pair of heads; no derivative of a pattern is ever
    formed. Where no query looks ahead, they are formed in bands of queries, without the keys that are ahead of a whole
    band. Some heads h are taken together with some heads g: how many, and of how many samples, says `Blocks`.

    Args:
        heads: the heads.
        blocks: how much is worked on at once.
    """

    sums = ("all",)

    def __init__(self, heads: ReadoutHeads, blocks: Blocks = Blocks()) -> None:  # noqa: B008 - it is frozen
        self.heads, self.at_once = heads, blocks
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
        bands = bands_of(x, self.at_once.rows)
        for b, firsts, seconds in pieces(x, self.at_once):
            part = x.samples(b)
            own = SharedByPairs(part, w[b], bands, firsts)
            normed = None if g is None else NormedPairs(own, g[:, b], gamma[:, b], together=self.at_once.together)
            for hs in firsts:
                for gs in seconds:
                    pair = HeadPairs(part, own, self.heads.P, hs, gs)
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

    def _values_and_keys(self, x: HeadStates, own: SharedByPairs, pair: HeadPairs) -> None:
        hs, gs = pair.hs, pair.gs
        r, b, bX = self._over_keys(own, pair)
        self.VV[hs, gs, 0, 0].add_(b.sum((2, 3)))
        own.kappa[hs, gs] = 0.5 * (bX + b * pair.eta) - (r * pair.oP).sum(-1)
        add_to(self.VK[hs, gs], r.addcmul_(b[..., None], pair.o, value=-1), pair.q)

    def _over_keys(self, own: SharedByPairs, pair: HeadPairs) -> tuple[Tensor, Tensor, Tensor]:
        """Sums over s of B v ``[h, g, b, t, v]``, B and B X_ss ``[h, g, b, t]``, weighted."""
        if self.at_once.together:
            both = torch.stack([own.w.expand_as(pair.X_own), own.w * pair.X_own], -1)
            r = own.bands.over_keys(pair.both, own.columns[pair.gs, ..., :-2].contiguous())
            b, bX = own.bands.over_keys(pair.both, both).unbind(-1)
            return r, b, bX
        columns = own.columns[pair.gs]  # one product, in the place of three
        columns[..., -1] = own.w * pair.X_own[0]
        seen = own.bands.over_keys(pair.both, columns)
        return seen[..., :-2], seen[..., -2], seen[..., -1]

    def _keys(self, x: HeadStates, own: SharedByPairs) -> None:
        """What needs both orders of a pair of heads."""
        for hs in own.firsts:
            gs = slice(hs.start, None)
            kappa = own.kappa[hs, gs] + own.kappa[gs, hs].transpose(0, 1)
            kappa[:, : len(kappa)].mul_(0.5)
            add_to(self.KK[hs, gs], x.q[hs, None], kappa[..., None] * x.q[gs])

    def _queries(self, x: HeadStates, own: SharedByPairs, pair: HeadPairs) -> None:
        hs, gs, bands, apart, toward = pair.hs, pair.gs, own.bands, [], []
        for (t, _), A, X, U in zip(bands.parts, pair.A, bands.views(pair.X_rows), pair.U, strict=True):
            apart.append((X - U).sub_(pair.vo[..., t, None]).mul_(A))
            toward.append(torch.sub(0.5 * pair.eta[..., t, None], U).mul_(A))
        add_to(self.KQ[hs, gs], bands.over_queries(apart, own.q_own[hs, None]), pair.k)
        del apart
        alpha = own.alpha[gs, :, hs].permute(2, 0, 1, 3)  # [h, g, b, s]
        add_to(self.VQ[hs, gs], alpha[..., None] * pair.v, pair.k)
        add_to(self.VQ[hs, gs], own.own[hs, None, ..., None] * pair.o, pair.kbar, sign=-1)
        moved = bands.over_queries(toward, own.kbar[hs, None])
        if gs.stop > hs.start:
            moved[:, pair.later].add_(self._common(x, own, pair))
        add_to(self.QQ[hs, gs], moved, pair.k)

    def _common(self, x: HeadStates, own: SharedByPairs, pair: HeadPairs) -> Tensor:
        r""":math:`\sum_u k_u^h X_{us} \sum_t \sigma_t^{-2} A_{tu} A_{ts}` ``[h, g, b, s, e]``, once a pair."""
        common = own.common(pair).mul_(pair.X[:, pair.later].permute(2, 0, 3, 1, 4))  # [b, h, u, g, s]
        k = x.k[pair.hs].transpose(0, 1)  # [b, h, u, e]
        moved = (common.flatten(3).mT @ k).unflatten(2, common.shape[3:])  # [b, h, g, s, e]
        if pair.gs.start <= pair.hs.start:
            moved[:, :, : len(pair.X)].mul_(0.5)
        return moved.permute(1, 2, 0, 3, 4)

    def blocks(self, P: Tensor) -> Matrix:
        r""":math:`\Gamma` ``[rows, rows]``, P in float64."""
        VV, VK, VQ = P * self.all["VV"], P @ self.all["VK"], P @ self.all["VQ"]
        KK, QQ = (x + x.permute(1, 0, 3, 2) for x in (self.all["KK"], self.all["QQ"]))
        blocks = (VV, VK, VQ, KK, self.all["KQ"], QQ)
        VV, VK, VQ, KK, KQ, QQ = (x.transpose(1, 2).flatten(2).flatten(0, 1) for x in blocks)
        top, middle, bottom = (VV, VK, VQ), (VK.T, KK, KQ), (VQ.T, KQ.T, QQ)
        return torch.cat([torch.cat(row, 1) for row in (top, middle, bottom)])


ENOUGH = 2**26
"""Entries of pairs of heads of one sample that fill a GPU; beyond, fewer heads h at once spare one order of a pair."""


def pieces(x: HeadStates, blocks: Blocks) -> Iterator[tuple[slice, list[slice], list[slice]]]:
    """Slices of samples, of heads h and of heads g, whose products with one another fit into a block."""
    H, size, t, s = x.A.shape
    seconds = H if blocks.together else clamp(blocks.numbers // (t * s), H)
    firsts = even(min(blocks.numbers, ENOUGH) // (H * t * s), H) if blocks.together else 1
    for samples in slices(size, even(blocks.numbers // (firsts * seconds * t * s), size)):
        yield samples, list(slices(H, firsts)), list(slices(H, seconds))


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
        """Sums over s of weights and ``[..., s, e]``: ``[..., t, e]``."""
        parts = [weight @ y[..., :s, :] for weight, (_, s) in zip(weights, self.parts, strict=True)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -2)

    def over_queries(self, weights: list[Tensor], y: Tensor) -> Tensor:
        """Sums over t of weights and ``[..., t, e]``: ``[h, g, b, s, e]``."""
        return summed([weight.mT @ y[..., t, :] for weight, (t, _) in zip(weights, self.parts, strict=True)])


def summed(parts: list[Tensor]) -> Tensor:
    """The sum over bands of ``[h, g, b, s, ...]``, into the last, which has every s."""
    *earlier, total = parts
    for part in earlier:
        total[:, :, :, : part.shape[3]].add_(part)
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

    def __init__(self, x: HeadStates, w: Tensor, bands: Bands, firsts: list[slice]) -> None:
        self.w, self.at_t, self.bands, self.firsts = w, w[:, x.rows], bands, firsts
        self.own = x.own * self.at_t  # [H, b, t]
        self.A, self.weighted = bands.cut(x.A), bands.views(x.A * self.at_t[..., None])
        self.kbar = x.kbar * self.at_t[..., None]
        self.q_own = x.q_own * self.own[..., None]
        self.alpha = self.own.transpose(0, 1) @ x.A  # [g, b, h, s]
        ones = torch.ones_like(x.v[..., :1])
        self.columns = torch.cat([x.v, ones, ones], -1) * w[..., None]
        self.kappa = x.A.new_empty(len(x.A), *x.A.shape[:3])  # [h, g, b, t]

    @cached_property
    def beside(self) -> list[Tensor]:
        """A with the heads side by side, ``[b, t, g, s]``."""
        return [A.permute(1, 2, 0, 3).contiguous() for A in self.A]

    def common(self, pair: HeadPairs) -> Tensor:
        r""":math:`\sum_t \sigma_t^{-2} A_{tu} A_{ts}` ``[b, h, u, g, s]``, of heads g that are not before h."""
        later, parts = slice(pair.gs.start + pair.later.start, pair.gs.stop), []
        for A, beside in zip(self.weighted, self.beside, strict=True):
            mine, theirs = A[pair.hs].permute(1, 0, 3, 2).flatten(1, 2), beside[:, :, later]
            parts.append((mine @ theirs.flatten(2)).unflatten(1, (-1, A.shape[-1])).unflatten(3, theirs.shape[2:]))
        *earlier, total = parts
        for part in earlier:
            s = part.shape[-1]
            total[:, :, :s, :, :s].add_(part)
        return total


class HeadPairs:
    """Heads h with each of the heads g: ``[h, g, b, ...]``; what has an entry for each t and s stands in bands."""

    def __init__(self, x: HeadStates, own: SharedByPairs, P: Tensor, hs: slice, gs: slice) -> None:
        self.hs, self.gs = hs, gs
        self.q, self.k, self.kbar, self.v, self.o = (y[gs] for y in (x.q, x.k, x.kbar, x.v, x.o))
        self.oP, self.vP = (_through(y[hs], P[hs, gs]) for y in (x.o, x.v))  # [h, g, b, ., v]
        self.X = self.vP @ self.v.mT
        self.X_own = self.X.diagonal(dim1=-2, dim2=-1).contiguous()
        self.X_rows = self.X[:, :, :, x.rows]
        self.eta = (self.oP * self.o).sum(-1)
        self.vo = (self.vP[:, :, :, x.rows] * self.o).sum(-1) - self.eta
        self.U = [self.oP[..., t, :] @ self.v[..., :s, :].mT for t, s in own.bands.parts]
        self.A = [A[gs] for A in own.A]
        self.both = [A[hs, None] * A[gs] for A in own.A]

    @property
    def later(self) -> slice:
        """Which of the heads g are not before the first h: one order of each pair."""
        return slice(max(self.hs.start - self.gs.start, 0), None)


def _through(x: Tensor, P: Tensor) -> Tensor:
    """``[h, b, s, v]`` times ``[h, g, v, v']``: ``[h, g, b, s, v']``."""
    return (x.flatten(1, 2)[:, None] @ P).unflatten(2, x.shape[1:3])


def gram(x: Tensor, y: Tensor) -> Tensor:
    """Sums over samples and positions: ``[g, b, t, i]`` and ``[g, b, t, j]`` to ``[g, i, j]``."""
    return x.flatten(1, 2).mT @ y.flatten(1, 2)


def add_to(total: Tensor, x: Tensor, y: Tensor, sign: int = 1) -> None:
    """Add sums over samples and positions of ``[(h,) g, b, t, i]`` and ``[(h,) g, b, t, j]`` to ``[h, g, i, j]``."""
    x, y = (z.flatten(-3, -2).expand(*total.shape[:2], -1, -1) for z in (x, y))
    if len(total) == 1 or total.stride(0) == total.shape[1] * total.stride(1):  # one axis of pairs without a copy
        total.flatten(0, 1).baddbmm_(x.flatten(0, 1).mT, y.flatten(0, 1), alpha=sign)
    else:
        total.add_(x.mT @ y, alpha=sign)


def over_heads(x: Tensor) -> Tensor:
    """The sum over h of ``[h, ...]``."""
    return x[0] if len(x) == 1 else x.sum(0)


class NormedPairs:
    r"""What a norm adds.

    Args:
        own: of the samples.
        g: see `HeadPairSums.add`.
        gamma: the value part of :math:`\gamma`, to be added to.
        together: see `Blocks`.

    Attributes:
        tau: :math:`\tau`, in bands.
    """

    def __init__(self, own: SharedByPairs, g: Tensor, gamma: Tensor, *, together: bool) -> None:
        self.bands, self.gamma, self.together = own.bands, gamma, together
        self.g = own.bands.cut(g)
        self.seen = [A + g for A, g in zip(own.A, self.g, strict=True)]
        self.tau = [torch.zeros_like(g) for g in self.g]
        if together:  # by position, so that sums over heads are products: [b, s, h, t], [b, s, h, t] and [b, t, h, s]
            self.A_s, self.seen_s = ([y.permute(1, 3, 0, 2).contiguous() for y in z] for z in (own.A, self.seen))
            self.g_t = [g.permute(1, 2, 0, 3).contiguous() for g in self.g]

    def add(self, pair: HeadPairs) -> None:
        r"""Adds to :math:`\tau` of all these heads, and to the value part of :math:`\gamma` of heads g."""
        add = self._of_several if self.together else self._of_one
        totals, moved = zip(*(add(pair, band) for band in range(len(self.tau))), strict=True)
        written = self.bands.over_queries(list(moved), pair.oP)
        written.addcmul_(summed(list(totals))[..., None], pair.vP, value=-1)
        self.gamma[pair.gs].sub_(over_heads(written))

    def _of_one(self, pair: HeadPairs, band: int) -> tuple[Tensor, Tensor]:
        """One head h: what is summed over t of A and what is seen ``[h, g, b, s]``, and A g ``[h, g, b, t, s]``."""
        hs, gs, (t, s) = pair.hs, pair.gs, self.bands.parts[band]
        A, g, seen, tau, U = pair.A[band], self.g[band], self.seen[band], self.tau[band], pair.U[band]
        mine = (pair.X_own[..., None, :s] - U).mul_(seen[gs]).addcmul_(g[gs], pair.eta[..., t, None])
        tau[hs].add_(mine.sum(1))
        tau[gs].addcmul_(g[hs], U[0], value=-1)
        return torch.mul(A, seen[hs, None], out=mine).sum(3), A * g[hs, None]

    def _of_several(self, pair: HeadPairs, band: int) -> tuple[Tensor, Tensor]:
        """The same of several heads h and all heads g: products in the place of passes over all pairs."""
        hs, (t, s) = pair.hs, self.bands.parts[band]
        g, tau, U, seen_s = self.g[band], self.tau[band], pair.U[band], self.seen_s[band]
        tau[hs].add_((pair.X_own[..., :s].permute(2, 3, 0, 1) @ seen_s).permute(2, 0, 3, 1))
        tau[hs].add_((pair.eta[..., t].permute(2, 3, 0, 1) @ self.g_t[band]).permute(2, 0, 1, 3))
        mine = U * self.seen[band]
        tau[hs].sub_(mine.sum(1))
        tau.sub_(torch.mul(U, g[hs, None], out=mine).sum(0))
        totals = self.A_s[band] @ seen_s[:, :, hs].mT  # [b, s, g, h]
        return totals.permute(3, 2, 0, 1).contiguous(), torch.mul(pair.A[band], g[hs, None], out=mine)
