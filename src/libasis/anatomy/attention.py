"""An attention evaluated from its anatomy: queries, keys, values and weights, once for everything that needs them.

There is one axis order: heads come first, ``[H, b, t, w]``, so that sums over pairs of heads are products of matrices.
What stands side by side in the graph, ``[b, t, H w]``, is split only where that is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .components import Anatomy, Attention, Rotation, Values, at_rows, spread

Positions = Tensor | slice
"""Positions at which an output is read: their indices ``[t]``, each sample's own ``[b, t]``, or all."""


class Turn:
    """A rotation at the positions of a batch."""

    def __init__(self, rotation: Rotation, positions: int, values: Values, like: Tensor) -> None:
        self.p = torch.tensor(rotation.partner, device=like.device)
        self.cos, self.sin = rotation.turns(positions, values, like)

    def forward(self, x: Tensor) -> Tensor:
        """R x of vectors side by side, ``[batch, t, n e]``."""
        return self.everywhere(x.unflatten(-1, (-1, len(self.p)))).flatten(2)

    def everywhere(self, x: Tensor) -> Tensor:
        """R x of vectors ``[batch, t, n, e]``, or at every position of vectors ``[n, e]``."""
        return x * self.cos[:, :, None] + x[..., self.p] * self.sin[:, :, None]

    def back(self, x: Tensor) -> Tensor:
        """Rᵀ x, ``[..., batch, t, e]``."""
        return x * self.cos + x[..., self.p] * self.sin[..., self.p]

    def both(self) -> Tensor:
        """What `back` multiplies with: cosines and turned sines ``[batch, t, 2 e]``."""
        return torch.cat([self.cos, self.sin[..., self.p]], -1)

    def mixed(self, x: Tensor, weights: Tensor) -> Tensor:
        """Rᵀ x with sums of cosines and sines (of `both`), ``[..., 2 e]``, in the place of cosines and sines."""
        cos, sin = weights.chunk(2, -1)
        return x * cos + x[..., self.p] * sin

    def at(self, samples: slice, rows: Positions) -> Turn:
        """At some of the samples and positions."""
        turn = object.__new__(Turn)
        samples = slice(None) if len(self.cos) == 1 else samples
        turn.p, turn.cos, turn.sin = self.p, self.cos[samples][:, rows], self.sin[samples][:, rows]
        return turn

    def drawn(self, rows: Tensor) -> Turn:
        """At each sample's own positions ``[b, t]``."""
        turn = object.__new__(Turn)
        turn.p, size = self.p, (len(rows), -1, -1)
        turn.cos, turn.sin = at_rows(self.cos.expand(size), rows), at_rows(self.sin.expand(size), rows)
        return turn


class PlacedAttention:
    """An attention at the positions of some samples.

    Attributes:
        rows: positions at which the output is read.
        turn_q: rotation of queries at these, or None.
        turn_k: rotation of keys at all positions, or None.
    """

    def __init__(self, anatomy: Anatomy, positions: int, values: Values, like: Tensor) -> None:
        self.attention = n = attention_of(anatomy)
        self.positions, self.values = positions, values
        self.rows = slice(None) if anatomy.read is None else torch.tensor(anatomy.read, device=like.device)
        query, self.turn_k = (r and Turn(r, positions, values, like) for r in (n.rotate_query, n.rotate_key))
        self.turn_q = query and query.at(slice(None), self.rows)

    def weights(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Attention weights ``[H, b, t, s]``, and what made them: rotated queries and keys, not scaled.

        Args:
            q: queries at the positions read ``[b, t, H e]``; those at others ask for nothing.
            k: keys ``[b, s, H e]``.
        """
        q, k = turned(q, self.turn_q), turned(k, self.turn_k)
        pattern = self.attention.pattern(spread(q, self.rows, self.positions), k, self.values)
        return pattern[:, :, self.rows].transpose(0, 1).to(q), q, k


@dataclass
class Attended:
    r"""What the heads of an attention do in some samples; t runs over the positions that are read, s over all.

    Attributes:
        A: attention weights ``[H, b, t, s]``.
        q: :math:`c R_t q_t` ``[H, b, t, e]``.
        k: :math:`c R_s k_s` ``[H, b, s, e]``.
        v: values without their constant ``[H, b, s, v]``.
        rows: position of each t.
        turn_q: rotation of queries at t, or None.
        turn_k: rotation of keys at s, or None.
        plain: W u, of values and keys ``[b, s, H v + H e]``, and of queries ``[b, t, H e]``.
    """

    A: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    rows: Positions
    turn_q: Turn | None
    turn_k: Turn | None
    plain: tuple[Tensor, Tensor]

    def drawn(self, which: Tensor, rows: Tensor) -> Attended:
        """The same read at some of the t alone, ``which [b, m]``, which stand at the positions ``rows [b, m]``."""
        sample = torch.arange(len(which), device=which.device)[:, None]
        return replace(
            self,
            A=self.A[:, sample, which],
            q=self.q[:, sample, which],
            rows=rows,
            turn_q=self.turn_q and self.turn_q.drawn(which),
            plain=(self.plain[0], at_rows(self.plain[1], which)),
        )


class AttentionMaps:
    """What all heads read of u, and what they do with it.

    Args:
        anatomy: of the section.
        like: gives dtype and device.
        W_V: in place of the attention's own, ``[H, v, d]``.

    Attributes:
        n: the attention.
        W: values, keys, queries of all heads ``[H v + 2 H e, d]``, folded with the norm's projection.
        sizes: H v, H e and H e.
    """

    def __init__(self, anatomy: Anatomy, like: Tensor, W_V: Tensor | None = None) -> None:
        self.anatomy = anatomy
        self.n = n = attention_of(anatomy)
        self.H, self.e, _ = n.W_Q.shape
        W_V = n.W_V if W_V is None else W_V
        self.v = W_V.shape[1]
        W = torch.cat([W.flatten(0, 1).to(like) for W in (W_V, n.W_K, n.W_Q)])
        self.W = W if anatomy.norm is None else anatomy.norm.fold(W)
        self.b_K, self.b_Q = (b.flatten().to(like) for b in (n.b_K, n.b_Q))
        self.sizes = [self.H * self.v, self.H * self.e, self.H * self.e]

    def split(self, x: Tensor) -> Tensor:
        """``[b, t, H w]`` to ``[H, b, t, w]``."""
        return x.unflatten(-1, (self.H, -1)).permute(2, 0, 1, 3).contiguous()

    def join(self, x: Tensor) -> Tensor:
        """``[H, b, t, w]`` to ``[b, t, H w]``."""
        return x.permute(1, 2, 0, 3).flatten(2)

    def attend(self, u: Tensor, values: Values) -> Attended:
        """What the heads do at ``u [b, s, d]`` with the context values of these samples."""
        place = PlacedAttention(self.anatomy, u.shape[1], values, u)
        W, W_Q = self.W.split([self.sizes[0] + self.sizes[1], self.sizes[2]])
        plain = u @ W.T, u[:, place.rows] @ W_Q.T
        v, k = plain[0].split(self.sizes[:2], -1)
        A, q, k = place.weights(plain[1] + self.b_Q, k + self.b_K)
        q, k = self.split(q) * self.n.scale, self.split(k) * self.n.scale
        return Attended(A, q, k, self.split(v), place.rows, place.turn_q, place.turn_k, plain)

    def constant_free(self, x: Attended) -> tuple[Tensor, Tensor]:
        """Rotated queries at t and keys at s without their constants, ``[H, b, ., e]``, not scaled."""
        q, k = x.plain[1], x.plain[0][..., self.sizes[0] :]
        return self.split(turned(q, x.turn_q)), self.split(turned(k, x.turn_k))


def turned(x: Tensor, turn: Turn | None) -> Tensor:
    """R x of all heads, ``[b, t, H e]``."""
    return x if turn is None else turn.forward(x)


def attention_of(anatomy: Anatomy) -> Attention:
    """The attention of a section that has one."""
    assert anatomy.attention is not None  # noqa: S101 - whoever asks has looked
    return anatomy.attention
