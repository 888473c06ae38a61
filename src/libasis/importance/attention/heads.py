"""The heads of an attention: their matrices for a readout, and what they look at in a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...anatomy import Anatomy, Rotation, Values, spread


class Turn:
    """A rotation at the positions of a batch, applied to ``[H, batch, t, e]``.

    Args:
        rotation: from the anatomy.
        positions: T.
        values: the context values of the batch.
        like: gives dtype and device.
    """

    def __init__(self, rotation: Rotation, positions: int, values: Values, like: Tensor) -> None:
        self.p = torch.tensor(rotation.partner, device=like.device)
        self.cos, self.sin = rotation.turns(positions, values, like)

    def forward(self, x: Tensor) -> Tensor:
        """R x."""
        return x * self.cos + x[..., self.p] * self.sin

    def back(self, x: Tensor) -> Tensor:
        """Rᵀ x."""
        return x * self.cos + x[..., self.p] * self.sin[..., self.p]

    def both(self) -> Tensor:
        """What `back` multiplies with: cosines and turned sines ``[batch, t, 2 e]``."""
        return torch.cat([self.cos, self.sin[..., self.p]], -1)

    def mixed(self, x: Tensor, weights: Tensor) -> Tensor:
        """Rᵀ x with sums of cosines and sines (of `both`), ``[..., 2 e]``, in the place of cosines and sines."""
        cos, sin = weights.chunk(2, -1)
        return x * cos + x[..., self.p] * sin

    def at(self, samples: slice, rows: Tensor | slice) -> Turn:
        """At some of the samples and positions."""
        turn = object.__new__(Turn)
        samples = slice(None) if len(self.cos) == 1 else samples
        turn.p, turn.cos, turn.sin = self.p, self.cos[samples][:, rows], self.sin[samples][:, rows]
        return turn


@dataclass
class HeadStates:
    r"""What the heads look at in some samples; t runs over the output positions that are read, s over all.

    Heads come first: ``[H, batch, ...]``.

    Attributes:
        A: attention weights ``[H, b, t, s]``, 0 in rows that do not count.
        q: :math:`c R_t q_t` ``[H, b, t, e]``.
        k: :math:`c R_s k_s` ``[H, b, s, e]``.
        kbar: :math:`\sum_s A_{ts} k_s` ``[H, b, t, e]``.
        v: values without their constant ``[H, b, s, v]``.
        o: ``[H, b, t, v]``, Av.
        own: :math:`A_{tt}` ``[H, b, t]``.
        rows: position of each t.
        turn_q: rotation of queries at t, or None.
        turn_k: rotation of keys at s, or None.
        plain: W u, of values and keys ``[b, s, H v + H e]``, and of queries ``[b, t, H e]``.
    """

    A: Tensor
    q: Tensor
    k: Tensor
    kbar: Tensor
    v: Tensor
    o: Tensor
    own: Tensor
    rows: Tensor | slice
    turn_q: Turn | None
    turn_k: Turn | None
    plain: tuple[Tensor, Tensor]

    @property
    def q_own(self) -> Tensor:
        r""":math:`R_t^T c \tilde q_t`, what moves the key of the same position, ``[H, b, t, e]``."""
        return self.q if self.turn_k is None else self.turn_k.at(slice(None), self.rows).back(self.q)

    def samples(self, b: slice) -> HeadStates:
        """Some of the samples."""
        A, q, k, kbar, v, o, own = (y[:, b] for y in (self.A, self.q, self.k, self.kbar, self.v, self.o, self.own))
        turn_q, turn_k = (turn and turn.at(b, slice(None)) for turn in (self.turn_q, self.turn_k))
        return HeadStates(A, q, k, kbar, v, o, own, self.rows, turn_q, turn_k, (self.plain[0][b], self.plain[1][b]))

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


class ReadoutHeads:
    r"""The heads of a section for a readout C'.

    Attributes:
        W: values, keys, queries of all heads ``[H v + 2 H e, d]``, folded with the norm's projection.
        G: :math:`C'^T W_O` ``[k, H v]``.
        Q: :math:`W_O^T C'C'^T W_O` ``[H v, H v]``.
        P: its blocks :math:`W_O^{hT} Q W_O^g`, ``[h, g, v, v]``.
    """

    def __init__(self, anatomy: Anatomy, readout: Tensor) -> None:
        assert anatomy.attention is not None  # noqa: S101 - the rule matched
        self.n = n = anatomy.attention
        self.H, self.e, _ = n.W_Q.shape
        self.v = n.W_V.shape[1]
        W = torch.cat([W.flatten(0, 1) for W in (n.W_V, n.W_K, n.W_Q)]).to(readout)
        self.W = W if anatomy.norm is None else anatomy.norm.fold(W)
        self.G = readout.T @ n.W_O.flatten(1).to(readout)
        self.Q = self.G.T @ self.G
        self.P = self.Q.view(self.H, self.v, self.H, self.v).transpose(1, 2).contiguous()
        self.read = anatomy.read
        self.sizes = [self.H * self.v, self.H * self.e, self.H * self.e]

    def split(self, x: Tensor) -> Tensor:
        """``[b, t, H w]`` to ``[H, b, t, w]``."""
        return x.unflatten(-1, (self.H, -1)).permute(2, 0, 1, 3).contiguous()

    def join(self, x: Tensor) -> Tensor:
        """``[H, b, t, w]`` to ``[b, t, H w]``."""
        return x.permute(1, 2, 0, 3).flatten(2)

    def _turned(self, x: Tensor, turn: Turn | None) -> tuple[Tensor, Tensor]:
        """R x of all heads, ``[H, b, t, e]`` and ``[b, t, H e]``, from ``[b, t, H e]``."""
        if turn is None:
            return self.split(x), x
        turned = turn.forward(self.split(x))
        return turned, self.join(turned)

    def look(self, u: Tensor, values: Values, counted: Tensor | None) -> HeadStates:
        """What the heads look at.

        Args:
            u: ``[b, s, d]``.
            values: the context values of these samples.
            counted: which output positions count, ``[b, t]``.
        """
        n, T = self.n, u.shape[1]
        rows = slice(None) if self.read is None else torch.tensor(self.read, device=u.device)
        W, W_Q = self.W.split([self.sizes[0] + self.sizes[1], self.sizes[2]])
        plain = u @ W.T, u[:, rows] @ W_Q.T  # queries of other positions ask for nothing
        v, k = plain[0].split(self.sizes[:2], -1)
        k, q = k + n.b_K.flatten().to(u), plain[1] + n.b_Q.flatten().to(u)
        turn_q = None if n.rotate_query is None else Turn(n.rotate_query, T, values, u).at(slice(None), rows)
        turn_k = None if n.rotate_key is None else Turn(n.rotate_key, T, values, u)
        (q, joined_q), (k, joined_k) = self._turned(q, turn_q), self._turned(k, turn_k)
        A, v = n.pattern(spread(joined_q, rows, T), joined_k, values)[:, :, rows], self.split(v)
        if counted is not None:
            A = torch.where(counted[:, None, :, None], A, 0.0)
        A, q, k = A.transpose(0, 1).contiguous(), q * n.scale, k * n.scale
        found = HeadStates(A, q, k, A @ k, v, A @ v, A, rows, turn_q, turn_k, plain)
        found.own = found.diagonal(A)
        return found

    def constant_free(self, x: HeadStates) -> tuple[Tensor, Tensor]:
        """Rotated queries at t and keys at s without their constants, ``[H, b, ., e]``, not scaled."""
        k, q = self.split(x.plain[0][..., self.sizes[0] :]), self.split(x.plain[1])
        return (
            q if x.turn_q is None else x.turn_q.forward(q),
            k if x.turn_k is None else x.turn_k.forward(k),
        )

    def between(self, x: Tensor) -> Tensor:
        """P of all pairs of heads: ``[H, b, t, v]`` to the sums over g of P x of g."""
        return self.split(self.join(x) @ self.Q)
