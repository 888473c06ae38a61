"""Pointwise branches beside an attention, as in GPT-NeoX: their own sums and those across."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...numerics import Blocks, Sums
from ...types import Matrix
from ..pointwise import PointwiseSums
from .head_pairs import gram
from .heads import HeadStates, ReadoutHeads
from .rotary import looks_at_once, query_looks


class ParallelSums(Sums):
    r"""Sums with a pointwise branch on the one side, and a path of a head (or the branch itself) on the other.

    With :math:`F^h = B^T Q W_O^h` ``[units, v]`` the blocks across are :math:`\sum \sigma^{-2} A_{tt} s_t \circ F^h`,
    :math:`\sum \sigma^{-2} A_{tt} (s_t \circ F^h (v_t - o_t)) (R_t^T \tilde q_t)^T` and
    :math:`\sum \sigma^{-2} s_t \circ F^h S_t R_t`: only t = s moves both.

    Args:
        alone: sums of its pointwise branches.
        heads: its heads.
        blocks: how much is worked on at once.
        probed: leave out the block of turned queries until `complete` is asked for it.
    """

    sums = ("alone", "V", "K", "Q")

    def __init__(self, alone: PointwiseSums, heads: ReadoutHeads, blocks: Blocks, *, probed: bool = False) -> None:
        self.alone, self.heads, self.at_once, self.probed = alone, heads, blocks, probed
        self.units = units = alone.units
        self.F = units.spread((units.G.T @ heads.G).T).T.unflatten(-1, (heads.H, heads.v)).transpose(0, 1).contiguous()
        zeros = self.F.new_zeros
        self.V = zeros(heads.H, units.rows, dtype=torch.float64)
        self.K, self.Q = (zeros(heads.H, units.rows, heads.e, dtype=torch.float64) for _ in range(2))

    def slopes(self, u: Tensor, counted: Tensor | None) -> Tensor:
        """Slopes at the positions read, ``[b, t, rows]``, 0 where the output does not count."""
        s = self.units.slopes(u.flatten(0, 1)).unflatten(0, u.shape[:2])
        return s if counted is None else s * counted[..., None]

    def add(self, x: HeadStates, s: Tensor, at_t: Tensor) -> None:
        r"""Add samples: slopes ``[b, t, rows]`` and :math:`\sigma^{-1}` ``[b, t]``."""
        self.alone.add_slopes((s * at_t[..., None]).flatten(0, 1))
        s = s * at_t.square()[..., None]
        q = x.q_own
        for h, F in enumerate(self.F):
            mine = x.own[h, ..., None] * s  # [b, t, rows]
            self.V[h] += mine.sum((0, 1), dtype=torch.float64)
            moved = mine * ((x.v[h][:, x.rows] - x.o[h]) @ F.T)
            self.K[h] += gram(moved[None], q[h][None])[0]
            if x.turn_q is None:
                looked = (x.A[h].mT @ s) * (x.v[h] @ F.T)  # [b, s, rows]
                self.Q[h] += gram(looked[None], x.k[h][None])[0]
                self.Q[h] -= gram((s * (x.o[h] @ F.T))[None], x.kbar[h][None])[0]
        if x.turn_q is not None and not self.probed:
            self._turned(x, s)

    def complete(self, x: HeadStates, s: Tensor, at_t: Tensor) -> None:
        """Add samples to the block of turned queries alone."""
        self._turned(x, s * at_t.square()[..., None])

    def pulled(self, signs: Tensor, s: Tensor) -> Tensor:
        """Probes ``[b, t, k]`` of the output, pulled back to each row ``[b, t, rows]``."""
        return s * self.units.spread(signs @ self.units.G)

    def _turned(self, x: HeadStates, s: Tensor) -> None:
        for b, t in looks_at_once(x, self.at_once, self.units.rows):
            SR, at = query_looks(x, b, t), s[b, t].flatten(0, 1)
            for h, F in enumerate(self.F):
                seen = (F @ SR[h].flatten(1)).view(self.units.rows, -1, SR.shape[-1])
                self.Q[h] += (at.T[:, None] @ seen)[:, 0]

    def normed(self, u: Tensor, s: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        r"""For a norm: :math:`C'^T B y` ``[b, t, k]``, and how :math:`\gamma` follows from all that is read."""
        reads = self.units.gather(s * (u @ self.units.A.T)) @ self.units.G.T
        return reads, lambda read: s * self.units.spread(read @ self.units.G)

    def across(self) -> Matrix:
        """Its rows against those of `ReadoutHeads.W`, ``[rows, H v + 2 H e]``."""
        V = self.V[..., None] * self.F.double()
        return torch.cat([part.transpose(0, 1).flatten(1) for part in (V, self.K, self.Q)], 1)
