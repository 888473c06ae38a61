"""The heads of an attention: their matrices for a readout, and what they look at in a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...anatomy import Anatomy, Attended, AttentionMaps, Values, spread


@dataclass
class HeadStates(Attended):
    r"""What the heads look at in some samples, and what comes of it.

    Attributes:
        kbar: :math:`\sum_s A_{ts} k_s` ``[H, b, t, e]``; A is 0 in rows that do not count.
        o: ``[H, b, t, v]``, Av.
    """

    kbar: Tensor
    o: Tensor

    @property
    def own(self) -> Tensor:
        """:math:`A_{tt}` ``[H, b, t]``."""
        return self.diagonal(self.A)

    @property
    def q_own(self) -> Tensor:
        r""":math:`R_t^T c \tilde q_t`, what moves the key of the same position, ``[H, b, t, e]``."""
        return self.q if self.turn_k is None else self.turn_k.at(slice(None), self.rows).back(self.q)

    def samples(self, b: slice) -> HeadStates:
        """Some of the samples."""
        A, q, k, v, kbar, o = (y[:, b] for y in (self.A, self.q, self.k, self.v, self.kbar, self.o))
        turn_q, turn_k = (turn and turn.at(b, slice(None)) for turn in (self.turn_q, self.turn_k))
        return HeadStates(A, q, k, v, self.rows, turn_q, turn_k, (self.plain[0][b], self.plain[1][b]), kbar, o)

    def query_back(self, x: Tensor) -> Tensor:
        """From the rotated query at t ``[.., t, e]`` to the query."""
        return x if self.turn_q is None else self.turn_q.back(x)

    def key_back(self, x: Tensor) -> Tensor:
        """From the rotated key at s ``[.., s, e]`` to the key."""
        return x if self.turn_k is None else self.turn_k.back(x)

    def diagonal(self, x: Tensor) -> Tensor:
        """The entries ``[..., t]`` of ``[..., t, s]`` at which s is t."""
        if isinstance(self.rows, slice):
            return x.diagonal(dim1=-2, dim2=-1)
        return x.gather(-1, self.rows[:, None].expand(*x.shape[:-1], 1))[..., 0]

    def add_diagonal(self, x: Tensor, y: Tensor) -> None:
        """Add ``[..., t]`` to the entries of ``[..., t, s]`` at which s is t."""
        if isinstance(self.rows, slice):
            x.diagonal(dim1=-2, dim2=-1).add_(y)
        else:
            x.scatter_add_(-1, self.rows[:, None].expand(*x.shape[:-1], 1), y[..., None])

    def spread(self, x: Tensor) -> Tensor:
        """``[b, t, ...]`` to ``[b, s, ...]``, 0 at positions that are not read."""
        if isinstance(self.rows, slice):
            return x
        return spread(x, self.rows, self.k.shape[2])


class ReadoutHeads(AttentionMaps):
    r"""The heads of a section for a readout C'.

    Attributes:
        G: :math:`C'^T W_O` ``[k, H v]``.
        Q: :math:`W_O^T C'C'^T W_O` ``[H v, H v]``.
        P: its blocks :math:`W_O^{hT} Q W_O^g`, ``[h, g, v, v]``.
    """

    def __init__(self, anatomy: Anatomy, readout: Tensor) -> None:
        super().__init__(anatomy, readout)
        self.G = readout.T @ self.n.W_O.flatten(1).to(readout)
        self.Q = self.G.T @ self.G
        self.P = self.Q.view(self.H, self.v, self.H, self.v).transpose(1, 2).contiguous()

    def look(self, u: Tensor, values: Values, counted: Tensor | None) -> HeadStates:
        """What the heads look at.

        Args:
            u: ``[b, s, d]``.
            values: the context values of these samples.
            counted: which output positions count, ``[b, t]``.
        """
        x = self.attend(u, values)
        A = (x.A if counted is None else torch.where(counted[..., None], x.A, 0.0)).contiguous()
        return HeadStates(A, x.q, x.k, x.v, x.rows, x.turn_q, x.turn_k, x.plain, A @ x.k, A @ x.v)

    def between(self, x: Tensor) -> Tensor:
        """P of all pairs of heads: ``[H, b, t, v]`` to the sums over g of P x of g."""
        return self.split(self.join(x) @ self.Q)
