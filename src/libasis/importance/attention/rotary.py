"""Sums over pairs of heads where queries and keys are rotated by their position."""

from __future__ import annotations

import torch
from torch import Tensor

from ...anatomy import Turn
from .head_pairs import HeadPair, HeadPairSums, SharedByPairs, add_to, bands_of, gram, in_cache
from .heads import HeadStates


class RotaryPairSums(HeadPairSums):
    r"""`HeadPairSums` with :math:`\tilde q_t = R_t q_t`, :math:`\tilde k_s = R_s k_s`.

    Two blocks lose their factorisation: KK needs :math:`R_s^T\tilde q_t` for every t and s, QQ needs
    :math:`S_t R_t`, :math:`S_t = \sum_u A_{tu}(v_u - o_t)\tilde k_u^T`, for every t.
    """

    def _values_and_keys(self, x: HeadStates, own: SharedByPairs, pair: HeadPair) -> None:
        assert x.turn_k is not None  # noqa: S101 - a rule matched
        h, gs, w, bands = pair.h, pair.gs, own.w[..., None], own.bands
        b = bands.over_keys(pair.both, w)[..., 0]
        self.VV[h, gs, 0, 0] += b.sum((1, 2))
        seen = x.turn_k.back(w * bands.over_queries(pair.both, pair.q))  # [g, b, s, e]
        turned = x.turn_k.mixed(pair.q, bands.over_keys(pair.both, w * x.turn_k.both()))  # [g, b, t, e]
        add_to(self.VK[h, gs], pair.v, seen)
        add_to(self.VK[h, gs], pair.o, turned, sign=-1)
        if gs.stop > h:
            self._key_keys(x, own, pair, x.turn_k)

    def _key_keys(self, x: HeadStates, own: SharedByPairs, pair: HeadPair, turn: Turn) -> None:
        h, later = pair.h, pair.later
        for (t, s), U, both in zip(own.bands.parts, pair.U, pair.both, strict=True):
            other = pair.o[later, :, t] @ pair.vP[later, :, :s].mT  # U of g and h the other way round
            beta = pair.X_own[later, :, None, :s] - U[later] - other + pair.eta[later, :, t, None]
            beta *= both[later] * own.w[:, None, :s]
            if pair.gs.start <= h:
                beta[0] *= 0.5
            seen = turn.at(slice(None), slice(0, s))
            step = max(1, BLOCK // (beta[:, :, 0].numel() * x.q.shape[-1]))
            blocks = (y.split(step, 2) for y in (beta, x.q[h : h + 1, :, t], pair.q[later, :, t]))
            for weight, mine, theirs in zip(*blocks, strict=True):
                moved = _turned(mine, seen) * weight[..., None]
                add_to(self.KK[h, pair.gs][later], moved.flatten(2, 3), _turned(theirs, seen).flatten(2, 3))

    def _keys(self, x: HeadStates, own: SharedByPairs) -> None:
        pass  # `_key_keys` had both orders of each pair

    def _queries(self, x: HeadStates, own: SharedByPairs, pair: HeadPair) -> None:
        assert x.turn_q is not None  # noqa: S101 - a rule matched
        h, gs, bands = pair.h, pair.gs, own.bands
        apart = [A * (X - U) for A, X, U in zip(pair.A, bands.views(pair.X_rows), pair.U, strict=True)]
        moved = bands.over_keys(apart, pair.k) - pair.vo[..., None] * pair.kbar
        add_to(self.KQ[h, gs], own.q_own[h].expand_as(moved), x.turn_q.back(moved))
        weight = own.own[h, ..., None]
        turned = x.turn_q.mixed(pair.k, (weight * x.A[gs]).mT @ x.turn_q.both())
        add_to(self.VQ[h, gs], pair.v, turned)
        add_to(self.VQ[h, gs], weight * pair.o, x.turn_q.back(pair.kbar), sign=-1)

    def add(self, x: HeadStates, w: Tensor, g: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `HeadPairSums.add`."""
        self._query_queries(x, w[:, x.rows])
        return super().add(x, w, g)

    def _query_queries(self, x: HeadStates, at_t: Tensor) -> None:
        H, size, T, e = x.q.shape
        step = max(1, BLOCK // (H * x.v.shape[-1] * e))
        for b in range(size):
            for first in range(0, T, step):
                t = slice(first, first + step)
                self._add_looks(query_looks(x, b, t), at_t[b, t])

    def _add_looks(self, SR: Tensor, w: Tensor) -> None:
        """Adds from S R ``[H, v, t, e]`` of one sample."""
        H, v, t, e = SR.shape
        for h in range(H):
            read = torch.bmm(self.heads.P[h, h:], SR[h:].flatten(2)).view(H - h, v * t, e)
            own = (SR[h] * w[:, None]).view(v * t, e)
            half = own.mT @ read
            half[0] *= 0.5
            self.QQ[h, h:] += half


class ProbedPairSums(RotaryPairSums):
    """`RotaryPairSums` of which the two dear blocks, KK and QQ, are left out until `complete` is asked for them."""

    def _key_keys(self, x: HeadStates, own: SharedByPairs, pair: HeadPair, turn: Turn) -> None:
        pass

    def _query_queries(self, x: HeadStates, at_t: Tensor) -> None:
        pass

    def complete(self, x: HeadStates, w: Tensor) -> None:
        """Add samples to KK and QQ alone, as `HeadPairSums.add` does to the others."""
        assert x.turn_k is not None  # noqa: S101 - a rule matched
        super()._query_queries(x, w[:, x.rows])
        bands = bands_of(x, self.rows)
        for b, heads in in_cache(x):
            part = x.samples(b)
            own = SharedByPairs(part, w[b], bands)
            for h in range(self.heads.H):
                for gs in (gs for gs in heads if gs.stop > h):
                    pair = HeadPair(part, own, self.heads.P[h, gs], h, gs)
                    super()._key_keys(part, own, pair, x.turn_k.at(b, slice(None)))
        self._collect()


def _turned(q: Tensor, turn: Turn) -> Tensor:
    """Rᵀ of every key position for queries ``[g, b, t, e]``: ``[g, b, t, s, e]``."""
    q = q[:, :, :, None]
    return q * turn.cos[:, None] + q[..., turn.p] * turn.sin[:, None, :, turn.p]


BLOCK = 2**18
"""How many numbers of a block stay in the cache."""


def query_looks(x: HeadStates, b: int, t: slice) -> Tensor:
    """S R of some positions of one sample, ``[H, v, t, e]``."""
    A, v, o = x.A[:, b, t], x.v[:, b], x.o[:, b, t]
    moved = A[..., None] * (v[:, None] - o[:, :, None])  # [H, t, s, v]
    S = moved.mT @ x.k[:, None, b]  # [H, t, v, e]
    if x.turn_q is not None:
        turn = x.turn_q
        b = b if len(turn.cos) > 1 else 0
        S = S * turn.cos[b, t, None] + S[..., turn.p] * turn.sin[b, t, None][..., turn.p]
    return S.transpose(1, 2).contiguous()


def summed_looks(x: HeadStates, A: Tensor, o: Tensor) -> Tensor:
    r"""Sums over t of weights times S R, ``[H, v, e]``, from the weighted A ``[H, b, t, s]`` and o ``[H, b, t, v]``."""
    if x.turn_q is None:
        return gram(A.sum(2)[..., None] * x.v, x.k) - gram(o, x.kbar)
    turned = x.turn_q.mixed(x.k, A.mT @ x.turn_q.both())
    return gram(x.v, turned) - gram(o, x.turn_q.back(x.kbar))
