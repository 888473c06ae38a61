"""Whether an anatomy adds up to its section, checked by running both."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..cut import Context
from .attention import PlacedAttention
from .components import Anatomy, Values, values_batch

MOST = 2**24
"""Outputs of more numbers, as of an unembedding, are taken at their graph's word."""


def differs(section: Callable[[Tensor, Values], Tensor], anatomy: Anatomy, context: Context, positions: int) -> bool:
    """Whether a section is something else than its anatomy and a constant, at random inputs.

    Args:
        section: from ``[batch, t, d]`` and context values to its output, in float64.
        anatomy: what it is said to be made of.
        context: gives context values.
        positions: of the input.
    """
    if positions * anatomy.d_out > MOST:
        return False
    values, fixed = context.values, context.fixed_batch
    if not fixed and values_batch(values, None) > 1:
        values = context.of(slice(0, 1))
    random = torch.Generator().manual_seed(11)
    rest, size = [], 0.0
    for spread in (0.7, 2.0):
        x = torch.randn(values_batch(values, fixed), positions, anatomy.d, generator=random, dtype=torch.float64)
        x = (x * spread + 0.1).to(_device(anatomy, values))
        y = section(x, values)
        rest.append(y - rebuilt(anatomy, x, values))
        size = max(size, float(y.abs().max()), float((y - rest[-1]).abs().max()))
    return not float((rest[1] - rest[0]).abs().max()) <= 1e-8 * size


def _device(anatomy: Anatomy, values: Values) -> torch.device | None:
    parts = [anatomy.skip, *(n.B for n in anatomy.pointwise), anatomy.attention and anatomy.attention.W_O]
    return next((part.device for part in parts if part is not None), None)


def rebuilt(anatomy: Anatomy, x: Tensor, values: Values) -> Tensor:
    """The section but for its constant, ``[batch, t, d_out]``."""
    u = x if anatomy.norm is None else anatomy.norm(x)[0]
    rows = slice(None) if anatomy.read is None else list(anatomy.read)
    y = x.new_zeros(*x[:, rows].shape[:2], anatomy.d_out)
    if anatomy.skip is not None:
        y = y + x[:, rows] @ anatomy.skip.T
    for branch in anatomy.pointwise:
        y = y + branch.activate(*(u[:, rows] @ A.T + b for A, b in zip(branch.A, branch.b, strict=True))) @ branch.B.T
    if (n := anatomy.attention) is not None:
        q, k, v = (u @ W.flatten(0, 1).T + b.flatten() for W, b in ((n.W_Q, n.b_Q), (n.W_K, n.b_K), (n.W_V, n.b_V)))
        A, _, _ = PlacedAttention(anatomy, x.shape[1], values, x).weights(q[:, rows], k)
        y = y + torch.einsum("hbts,bshv,ohv->bto", A, v.unflatten(-1, (len(n.W_V), -1)), n.W_O)
    return y
