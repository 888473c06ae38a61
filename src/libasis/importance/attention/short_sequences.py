"""Sums over pairs of heads where sequences are short: all pairs in a few products, from the derivative itself."""

from __future__ import annotations

import torch
from torch import Tensor

from ...numerics import Blocks
from .head_pairs import HeadPairSums
from .heads import HeadStates, ReadoutHeads

MOST = 64
"""ReadoutHeads times positions, at most: their products with one another are formed for each position read."""


class ShortPairSums(HeadPairSums):
    r"""`HeadPairSums` from what each head would write if it looked at s alone, :math:`D_{ts} = A_{ts}(v_s - o_t)`.

    The products :math:`\Phi^{hg}_{t,su} = D_{ts}^{hT} P^{hg} D_{tu}^g` of one position t are all that the blocks of
    keys and queries need: :math:`\kappa^{hg}_t = \sum_s\sigma_s^{-2}\Phi^{hg}_{t,ss}`,
    :math:`KK = \sum_t\kappa_t\,q_tq_t^T`,
    :math:`KQ = \sum_t\sigma_t^{-2} q_t \big(\sum_u\Phi_{t,tu}k_u\big)^T`,
    :math:`QQ = \sum_t\sigma_t^{-2}\sum_s k_s \big(\sum_u\Phi_{t,su}k_u\big)^T`. Their number grows with the
    square of the number of positions, that of the calls made for them not with the number of pairs of heads.
    """

    def __init__(self, heads: ReadoutHeads, blocks: Blocks) -> None:
        super().__init__(heads, blocks)
        self.G = heads.G.unflatten(-1, (heads.H, heads.v)).transpose(0, 1).contiguous()  # [h, k, v]

    @staticmethod
    def suits(heads: ReadoutHeads, positions: int, read: int, most: int = MOST) -> bool:
        """Whether it takes less than `HeadPairSums`, whose work does not grow with the width of the readout."""
        wide = len(heads.G) > 2 * heads.H * heads.v
        return heads.H * positions <= most and positions * read <= 2 * (positions + read) and not wide

    def add(self, x: HeadStates, w: Tensor, g: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `HeadPairSums.add`."""
        tau, gamma = torch.zeros_like(x.A), torch.zeros_like(x.v)
        H, size, t, s = x.A.shape
        step = max(1, self.at_once.numbers // (H * t * s * (H * self.heads.e + len(self.G[0]))))
        for b in (slice(first, first + step) for first in range(0, size, step)):
            self._add(x.samples(b), w[b])
            if g is not None:
                tau[:, b], gamma[:, b] = self._normed(x.samples(b), g[:, b])
        self._collect()
        return tau, gamma

    def _add(self, x: HeadStates, w: Tensor) -> None:
        D = x.A[..., None] * _beyond(x)  # [h, b, t, s, v]
        weighted = x.A * w[:, None]
        self.VV[:, :, 0, 0].add_(weighted.flatten(1) @ x.A.flatten(1).T)
        seen = _mixed(weighted.permute(1, 2, 0, 3), D.movedim(3, 0)[..., None, :])  # [g, b, t, h, v]
        self.VK += _onto(x.q, seen).permute(2, 0, 3, 1)
        Phi, q, at_t = self._products(D), x.q.permute(1, 2, 0, 3), w[:, x.rows]
        kappa = (Phi.diagonal(dim1=3, dim2=5) * w[:, None, None]).sum(-1)  # [h, b, t, g]
        self.KK += 0.5 * _onto(x.q, kappa[..., None] * q).transpose(1, 2)
        self._queries(x, D, Phi, at_t)

    def _products(self, D: Tensor) -> Tensor:
        r""":math:`\Phi` ``[h, b, t, s, g, u]``."""
        H, size, t, s, _ = D.shape
        R = (D.flatten(1, 3) @ self.G.mT).unflatten(1, (size * t, s))  # [h, (b, t), s, k]
        R = R.transpose(0, 1).flatten(1, 2)  # [(b, t), (h, s), k]
        return (R @ R.mT).view(size, t, H, s, H, s).permute(2, 0, 1, 3, 4, 5).contiguous()

    def _queries(self, x: HeadStates, D: Tensor, Phi: Tensor, at_t: Tensor) -> None:
        t, s = x.A.shape[2:]
        own = (x.own * at_t).permute(1, 0, 2)[:, None]  # [b, 1, h, t]
        self.VQ += _onto(x.k, _mixed(own, D.movedim(2, 0)[..., None, :])).permute(2, 0, 3, 1)
        k = x.k.permute(2, 1, 0, 3).contiguous()[:, :, None]  # [u, b, 1, g, e]
        positions = torch.arange(s, device=k.device)[x.rows]
        moved = _mixed(Phi[:, :, torch.arange(t, device=k.device), positions], k)  # [h, b, t, g, e]
        self.KQ += _onto(x.q_own * at_t[..., None], moved).transpose(1, 2)
        among = (Phi * at_t[..., None, None, None]).sum(2)
        self.QQ += 0.5 * _onto(x.k, _mixed(among, k)).transpose(1, 2)

    def _normed(self, x: HeadStates, g: Tensor) -> tuple[Tensor, Tensor]:
        r""":math:`\tau` and the value part of :math:`\gamma`."""
        beyond = _beyond(x)
        moved = x.A[..., None] * x.v[:, :, None] + g[..., None] * beyond  # [h, b, t, s, v]
        back = torch.einsum("btsk,hkv->hbtsv", torch.einsum("hbtsv,hkv->btsk", moved, self.G), self.G)
        return (beyond * back).sum(-1), torch.einsum("hbts,hbtsv->hbsv", x.A, back)


def _beyond(x: HeadStates) -> Tensor:
    """What a value differs by from what is written, ``[h, b, t, s, v]``."""
    return x.v[:, :, None] - x.o[..., None, :]


def _mixed(weights: Tensor, values: Tensor) -> Tensor:
    """Weights ``[..., u]`` times values ``[u, ..., e]``, summed over u, which are few: faster than as matrices."""
    total = weights[..., 0, None] * values[0]
    for weight, value in zip(weights.unbind(-1)[1:], values[1:], strict=True):
        total.addcmul_(weight[..., None], value)
    return total


def _onto(x: Tensor, y: Tensor) -> Tensor:
    """Sums over samples and positions of ``[h, b, t, e]`` and ``[h, b, t, g, f]``: ``[h, e, g, f]``."""
    return (x.flatten(1, 2).mT @ y.flatten(3).flatten(1, 2)).unflatten(-1, y.shape[-2:])
