"""What a section can be made of: plain data that the closed forms read.

A section with closed forms computes, at every position t of the input,

    y_t = D x_t + Σ B φ(A_1 u_t + b_1, ..., A_r u_t + b_r) + Σ_h W_O^h o^h_t + constant_t,

where u is the input x itself, or x̂ = Πx/σ if a norm stands in front, and o^h is what head h of an attention reads. The
output is y at all positions, or at some of them. All matrices are float64 and exact: gains and shifts of the norm,
biases and scales of whatever chain of operations led there are folded into them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..types import Matrix

Values = tuple[Tensor, ...]
"""The context values of a batch (masks, position ids, ...), `Context.values`."""


def values_batch(values: Values, fixed: int | None) -> int:
    """A batch size that the context values allow; ``fixed`` is the only one that the graph takes, or None."""
    return fixed or max([v.shape[0] for v in values if v.ndim > 1] or [1])


@dataclass(frozen=True)
class Norm:
    r"""LayerNorm or RMSNorm without its gain.

    :math:`\hat x = \Pi x / \sigma`, :math:`\sigma = r + \delta`, :math:`r^2 = \mathrm{mean}((\Pi x)^2) + \epsilon`.

    Attributes:
        centred: whether :math:`\Pi` subtracts the mean (LayerNorm) or is the identity (RMSNorm).
        eps: :math:`\epsilon`.
        beside: :math:`\delta`, added to the root instead, as in ``x / (x.std() + eps)``.
    """

    centred: bool
    eps: float
    beside: float = 0.0

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The normed value ``[..., d]`` and one over sigma ``[..., 1]``."""
        if self.centred:
            x = x - x.mean(-1, keepdim=True)
        inverse = self.inverse(x.square().mean(-1, keepdim=True))
        return x * inverse, inverse

    def inverse(self, square: Tensor) -> Tensor:
        """One over sigma of a mean square."""
        inverse = (square + self.eps).rsqrt()
        return inverse / (1 + self.beside * inverse) if self.beside else inverse

    def along(self, inverse: Tensor) -> Tensor | float:
        r"""By what the norm's derivative falls short along :math:`\hat x`: :math:`\sigma / r`, 1 but for `beside`.

        :math:`\partial\hat x = \sigma^{-1} (I - \frac{\sigma}{r} \hat x \hat x^T / d) \Pi\,\partial x`.
        """
        return (1 - self.beside * inverse).reciprocal() if self.beside else 1.0

    def fold(self, W: Matrix) -> Matrix:
        r"""W Π ``[.., d]``: what W sees of a change of x before the division by :math:`\sigma`."""
        return W - W.mean(1, keepdim=True) if self.centred else W


@dataclass(frozen=True, eq=False)
class Pointwise:
    r"""One branch :math:`B\,\phi(A_1 u + b_1, \dots, A_r u + b_r)`, :math:`\phi` applied to each unit on its own.

    Attributes:
        A: ``[r, h, d]``.
        b: ``[r, h]``.
        B: ``[d_out, h]``.
        activate: :math:`\phi`: r tensors ``[batch, position, h]`` to one, in their dtype; differentiable by torch.func.
    """

    A: Tensor
    b: Matrix
    B: Matrix
    activate: Callable[..., Tensor]


@dataclass(frozen=True, eq=False)
class Rotation:
    r"""R of each position, alike for all heads: :math:`(R y)_i = \cos_i y_i + \sin_i y_{p(i)}`.

    Attributes:
        run: from ``[batch, t, H e]`` and the context values to the rotated ``[batch, t, H e]``.
        heads: H.
        partner: p, with which other coordinate each is turned; itself where it is left alone.
        fixed: the only batch size that ``run`` takes, or None.
    """

    run: Callable[[Tensor, Values], Tensor]
    heads: int
    partner: list[int]
    fixed: int | None = None

    def __call__(self, x: Tensor, values: Values) -> Tensor:
        """R x, ``[batch, t, H e]``."""
        return self.run(x, values)

    def turns(self, positions: int, values: Values, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines ``[batch, t, e]`` (batch 1 where they are the same for all samples)."""
        width, p = len(self.partner), torch.tensor(self.partner, device=like.device)
        first = p >= torch.arange(width, device=like.device)
        size = values_batch(values, self.fixed)
        seen = []
        for part in (first, ~first):
            y = part.to(like).expand(size, positions, self.heads, width).flatten(2)
            seen.append(self.run(y, values).unflatten(-1, (self.heads, width))[:, :, 0].to(like))
        cos, sin = torch.where(first, *seen), torch.where(first, *reversed(seen))
        sin = torch.where(p == torch.arange(width, device=like.device), 0.0, sin)
        if all(torch.equal(x, x[:1].expand_as(x)) for x in (cos, sin)):
            return cos[:1], sin[:1]
        return cos, sin


@dataclass(frozen=True, eq=False)
class Attention:
    r"""One attention of H heads of width e (width v for values); keys and values shared by heads stand once for each.

    Attributes:
        W_Q: ``[H, e, d]``, acting on u; likewise below.
        W_K: ``[H, e, d]``.
        W_V: ``[H, v, d]``.
        b_Q: ``[H, e]``.
        b_K: ``[H, e]``.
        b_V: ``[H, v]``.
        W_O: ``[d_out, H, v]``.
        scale: c: the scores are :math:`c\,\tilde q\cdot\tilde k` plus what does not depend on the input's values.
        pattern: from rotated queries ``[batch, t, H e]``, rotated keys ``[batch, s, H e]`` and the context values to
            the attention weights ``[batch, H, t, s]``, masks included.
        rotate_query: R; None where nothing is rotated.
        rotate_key: the same for keys.
    """

    W_Q: Tensor
    W_K: Tensor
    W_V: Tensor
    b_Q: Matrix
    b_K: Matrix
    b_V: Matrix
    W_O: Tensor
    scale: float
    pattern: Callable[[Tensor, Tensor, Values], Tensor]
    rotate_query: Rotation | None = None
    rotate_key: Rotation | None = None


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What one section is made of.

    Attributes:
        d: number of features in.
        d_out: number of features out.
        skip: D, ``[d_out, d]``; None where there is none.
        norm: in front of all branches; None where u = x.
        pointwise: branches, summed.
        attention: at most one.
        read: positions of y that the output holds, ascending; None for all of them.
    """

    d: int
    d_out: int
    skip: Matrix | None = None
    norm: Norm | None = None
    pointwise: tuple[Pointwise, ...] = ()
    attention: Attention | None = None
    read: tuple[int, ...] | None = None

    @property
    def affine(self) -> bool:
        """Whether the section is one affine map of each position alone."""
        return not self.pointwise and self.attention is None and self.read is None


def at_rows(x: Tensor, rows: Tensor | slice | list[int]) -> Tensor:
    """``[b, s, ...]`` at some positions or all, ``[b, t, ...]``; positions ``[b, t]`` are each sample's own."""
    if not isinstance(rows, Tensor) or rows.ndim == 1:
        return x[:, rows]
    return x[torch.arange(len(rows), device=rows.device)[:, None], rows]


def spread(x: Tensor, rows: Tensor | slice | list[int], positions: int) -> Tensor:
    """``[b, t, ...]``, at some positions or all, to ``[b, s, ...]``: 0 at the others."""
    if isinstance(rows, slice):
        return x
    out = x.new_zeros(x.shape[0], positions, *x.shape[2:])
    out[:, rows] = x
    return out
