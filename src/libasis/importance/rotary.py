"""Sums over pairs of heads where queries and keys are rotated by their position."""

from __future__ import annotations

import torch
from torch import Tensor

from .heads import Looks, Turn
from .paths import Pair, Paths, Weighted, gram


class RotaryPaths(Paths):
    r"""`Paths` with :math:`\tilde q_t = R_t q_t`, :math:`\tilde k_s = R_s k_s`.

    Two blocks lose their factorisation: KK needs :math:`R_s^T\tilde q_t` for every t and s, QQ needs
    :math:`S_t R_t`, :math:`S_t = \sum_u A_{tu}(v_u - o_t)\tilde k_u^T`, for every t.
    """

    def _values_and_keys(self, h: int, x: Looks, own: Weighted, pair: Pair) -> None:
        assert x.turn_k is not None  # noqa: S101 - a rule matched
        w = own.w[..., None]
        b = (pair.both @ w)[..., 0]
        self.VV[h] += b.sum((1, 2), dtype=torch.float64)
        seen = x.turn_k.back(w * (pair.both.mT @ x.q))  # [g, b, s, e]
        turned = x.turn_k.mixed(x.q, pair.both @ (w * x.turn_k.both()))  # [g, b, t, e]
        self.VK[h] += gram(x.v, seen) - gram(x.o, turned)
        U = x.o[h:] @ pair.vP[h:].mT  # of g and h the other way round
        beta = pair.X_own[h:, :, None] - pair.U[h:] - U + pair.eta[h:, ..., None]
        beta *= pair.both[h:] * own.w[:, None]
        half = self._key_key(h, x, x.turn_k, beta).double()
        half[0] *= 0.5
        self.KK[h, h:] += half

    def _key_key(self, h: int, x: Looks, turn: Turn, weights: Tensor) -> Tensor:
        """Sums of weights ``[g, b, t, s]`` times (Rᵀ q of h) (Rᵀ q of g)ᵀ: ``[g, e, e]``."""
        total: Tensor | float = 0.0
        step = max(1, BLOCK // (weights[:, :, 0].numel() * x.q.shape[-1]))
        for first in range(0, x.q.shape[2], step):
            t = slice(first, first + step)
            q = x.q[h:, :, t, None]  # [g, b, t, 1, e]
            turned = q * turn.cos[:, None] + q[..., turn.p] * turn.sin[:, None, :, turn.p]
            total = total + gram((turned[0] * weights[:, :, t, :, None]).flatten(2, 3), turned.flatten(2, 3))
        assert isinstance(total, Tensor)  # noqa: S101 - there is at least one position
        return total

    def _queries(self, h: int, x: Looks, own: Weighted, pair: Pair) -> None:
        assert x.turn_q is not None  # noqa: S101 - a rule matched
        moved = (x.A * (pair.X_rows - pair.U)) @ x.k - pair.vo[..., None] * x.kbar
        self.KQ[h] += gram(own.q_own_of(h), x.turn_q.back(moved))
        weight = own.own[h, ..., None]
        self.VQ[h] += summed_looks(x, weight * x.A, weight * x.o)

    def add(self, x: Looks, w: Tensor, g: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `Paths.add`."""
        assert x.turn_q is not None  # noqa: S101 - a rule matched
        at_t = w[:, x.rows]
        H, size, T, e = x.q.shape
        step = max(1, BLOCK // (H * x.v.shape[-1] * e))
        for b in range(size):
            for first in range(0, T, step):
                t = slice(first, first + step)
                self._query_query(query_looks(x, b, t), at_t[b, t])
        return super().add(x, w, g)

    def _query_query(self, SR: Tensor, w: Tensor) -> None:
        """Adds from S R ``[H, v, t, e]`` of one sample."""
        H, v, t, e = SR.shape
        for h in range(H):
            read = torch.bmm(self.heads.P[h, h:], SR[h:].flatten(2)).view(H - h, v * t, e)
            own = (SR[h] * w[:, None]).view(v * t, e)
            half = (own.mT @ read).double()
            half[0] *= 0.5
            self.QQ[h, h:] += half


BLOCK = 2**20
"""How many numbers of a block stay in the cache."""


def query_looks(x: Looks, b: int, t: slice) -> Tensor:
    """S R of some positions of one sample, ``[H, v, t, e]``."""
    A, v, o = x.A[:, b, t], x.v[:, b], x.o[:, b, t]
    moved = A[..., None] * (v[:, None] - o[:, :, None])  # [H, t, s, v]
    S = moved.mT @ x.k[:, None, b]  # [H, t, v, e]
    if x.turn_q is not None:
        turn = x.turn_q
        b = b if len(turn.cos) > 1 else 0
        S = S * turn.cos[b, t, None] + S[..., turn.p] * turn.sin[b, t, None][..., turn.p]
    return S.transpose(1, 2).contiguous()


def summed_looks(x: Looks, A: Tensor, o: Tensor) -> Tensor:
    r"""Sums over t of weights times S R, ``[H, v, e]``, from the weighted A ``[H, b, t, s]`` and o ``[H, b, t, v]``."""
    if x.turn_q is None:
        return gram(A.sum(2)[..., None] * x.v, x.k) - gram(o, x.kbar)
    turned = x.turn_q.mixed(x.k, A.mT @ x.turn_q.both())
    return gram(x.v, turned) - gram(o, x.turn_q.back(x.kbar))
