"""Sums over pairs of heads where queries and keys are rotated by their position."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ...anatomy import Turn
from ...numerics import Blocks, clamp, slices
from .head_pairs import HeadPairs, HeadPairSums, SharedByPairs, add_to, bands_of, gram, pieces
from .heads import HeadStates


class RotaryPairSums(HeadPairSums):
    r"""`HeadPairSums` with :math:`\tilde q_t = R_t q_t`, :math:`\tilde k_s = R_s k_s`.

    Two blocks lose their factorisation: KK needs :math:`R_s^T\tilde q_t` for every t and s, QQ needs
    :math:`S_t R_t`, :math:`S_t = \sum_u A_{tu}(v_u - o_t)\tilde k_u^T`, for every t.
    """

    def _values_and_keys(self, x: HeadStates, own: SharedByPairs, pair: HeadPairs) -> None:
        assert x.turn_k is not None  # noqa: S101 - a rule matched
        hs, gs, w, bands = pair.hs, pair.gs, own.w[..., None], own.bands
        b = bands.over_keys(pair.both, w)[..., 0]
        self.VV[hs, gs, 0, 0].add_(b.sum((2, 3)))
        seen = x.turn_k.back(w * bands.over_queries(pair.both, pair.q))  # [h, g, b, s, e]
        turned = x.turn_k.mixed(pair.q, bands.over_keys(pair.both, w * x.turn_k.both()))  # [h, g, b, t, e]
        add_to(self.VK[hs, gs], pair.v, seen)
        add_to(self.VK[hs, gs], pair.o, turned, sign=-1)
        if gs.stop > hs.start:
            self._key_keys(x, own, pair, x.turn_k)

    def _key_keys(self, x: HeadStates, own: SharedByPairs, pair: HeadPairs, turn: Turn) -> None:
        hs, later = pair.hs, pair.later
        total = self.KK[hs, pair.gs][:, later]
        for (t, s), U, both in zip(own.bands.parts, pair.U, pair.both, strict=True):
            other = pair.o[later, :, t] @ pair.vP[:, later, :, :s].mT  # U of g and h the other way round
            beta = pair.X_own[:, later, :, None, :s] - U[:, later] - other + pair.eta[:, later, :, t, None]
            beta *= both[:, later] * own.w[:, None, :s]
            if pair.gs.start <= hs.start:
                beta[:, : len(beta)].mul_(0.5)
            seen = turn.at(slice(None), slice(0, s))
            step = max(1, self.at_once.numbers // (beta[:, :, :, 0].numel() * x.q.shape[-1]))
            blocks = (y.split(step, -2) for y in (beta, x.q[hs, None, :, t], pair.q[later, :, t]))
            for weight, mine, theirs in zip(*blocks, strict=True):
                moved = _turned(mine, seen) * weight[..., None]
                add_to(total, moved.flatten(-3, -2), _turned(theirs, seen).flatten(-3, -2))

    def _keys(self, x: HeadStates, own: SharedByPairs) -> None:
        pass  # `_key_keys` had both orders of each pair

    def _queries(self, x: HeadStates, own: SharedByPairs, pair: HeadPairs) -> None:
        assert x.turn_q is not None  # noqa: S101 - a rule matched
        hs, gs, bands = pair.hs, pair.gs, own.bands
        apart = [(X - U).mul_(A) for A, X, U in zip(pair.A, bands.views(pair.X_rows), pair.U, strict=True)]
        moved = bands.over_keys(apart, pair.k) - pair.vo[..., None] * pair.kbar
        add_to(self.KQ[hs, gs], own.q_own[hs, None], x.turn_q.back(moved))
        weight = own.own[hs, None, ..., None]
        turned = x.turn_q.mixed(pair.k, (weight * x.A[gs]).mT @ x.turn_q.both())
        add_to(self.VQ[hs, gs], pair.v, turned)
        add_to(self.VQ[hs, gs], weight * pair.o, x.turn_q.back(pair.kbar), sign=-1)

    def add(self, x: HeadStates, w: Tensor, g: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `HeadPairSums.add`."""
        self._query_queries(x, w[:, x.rows])
        return super().add(x, w, g)

    def _query_queries(self, x: HeadStates, at_t: Tensor) -> None:
        for b, t in looks_at_once(x, self.at_once):
            self._add_looks(query_looks(x, b, t), at_t[b, t].flatten())

    def _add_looks(self, SR: Tensor, w: Tensor) -> None:
        """Adds from S R ``[H, v, n, e]`` of n positions."""
        H, v, n, e = SR.shape
        for h in range(H):
            read = torch.bmm(self.heads.P[h, h:], SR[h:].flatten(2)).view(H - h, v, n, e)
            own = SR[h] * w[:, None]
            apart = self.at_once.together  # enough products for all of a GPU
            half = (own.mT @ read).sum(1) if apart else own.flatten(0, 1).mT @ read.flatten(1, 2)
            half[0] *= 0.5
            self.QQ[h, h:].add_(half)


class ProbedPairSums(RotaryPairSums):
    """`RotaryPairSums` of which the two dear blocks, KK and QQ, are left out until `complete` is asked for them."""

    def _key_keys(self, x: HeadStates, own: SharedByPairs, pair: HeadPairs, turn: Turn) -> None:
        pass

    def _query_queries(self, x: HeadStates, at_t: Tensor) -> None:
        pass

    def complete(self, x: HeadStates, w: Tensor) -> None:
        """Add samples to KK and QQ alone, as `HeadPairSums.add` does to the others."""
        assert x.turn_k is not None  # noqa: S101 - a rule matched
        super()._query_queries(x, w[:, x.rows])
        bands = bands_of(x, self.at_once.rows)
        for b, firsts, seconds in pieces(x, self.at_once):
            part = x.samples(b)
            own = SharedByPairs(part, w[b], bands, firsts)
            for hs in firsts:
                for gs in (gs for gs in seconds if gs.stop > hs.start):
                    pair = HeadPairs(part, own, self.heads.P, hs, gs)
                    super()._key_keys(part, own, pair, x.turn_k.at(b, slice(None)))
        self._collect()


def _turned(q: Tensor, turn: Turn) -> Tensor:
    """Rᵀ of every key position for queries ``[..., b, t, e]``: ``[..., b, t, s, e]``."""
    q = q[..., None, :]
    return q * turn.cos[:, None] + q[..., turn.p] * turn.sin[:, None, :, turn.p]


def looks_at_once(x: HeadStates, blocks: Blocks, rows: int = 0) -> Iterator[tuple[slice, slice]]:
    """Samples and positions whose `query_looks` fit into a block, also with so many rows in the place of the heads'."""
    H, size, T, s = x.A.shape
    v, e = x.v.shape[-1], x.k.shape[-1]
    most = blocks.numbers // max(H * v * (max(e, s) if blocks.together else e), rows * e)
    for b in slices(size, clamp(most // T, size) if blocks.together else 1):
        for t in slices(T, clamp(most, T)):
            yield b, t


def query_looks(x: HeadStates, b: slice, t: slice) -> Tensor:
    """S R of some positions of some samples, ``[H, v, b t, e]``."""
    A, v, o = x.A[:, b, t], x.v[:, b], x.o[:, b, t]
    moved = A[..., None] * (v[:, :, None] - o[:, :, :, None])  # [H, b, t, s, v]
    S = (moved.mT @ x.k[:, b, None]).flatten(1, 2)  # [H, b t, v, e]
    if x.turn_q is not None:
        turn = x.turn_q.at(b, t)
        cos, sin = (y.expand(o.shape[1], -1, -1).flatten(0, 1)[:, None] for y in (turn.cos, turn.sin))
        S = S * cos + S[..., turn.p] * sin[..., turn.p]
    return S.transpose(1, 2).contiguous()


def summed_looks(x: HeadStates, A: Tensor, o: Tensor) -> Tensor:
    r"""Sums over t of weights times S R, ``[H, v, e]``, from the weighted A ``[H, b, t, s]`` and o ``[H, b, t, v]``."""
    if x.turn_q is None:
        return gram(A.sum(2)[..., None] * x.v, x.k) - gram(o, x.kbar)
    turned = x.turn_q.mixed(x.k, A.mT @ x.turn_q.both())
    return gram(x.v, turned) - gram(o, x.turn_q.back(x.kbar))
