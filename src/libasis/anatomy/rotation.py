"""Rotations of queries and keys by position (rotary embedding, whole or partial), checked by running them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .components import Rotation, Values, values_batch
from .roles import NoMatch

_REASON = "turns queries or keys in a way that is not a rotation by position"


def rotation(run: Callable[[Tensor, Values], Tensor], like: Tensor, values: Values, fixed: int | None) -> Rotation:
    """A function of queries (or keys) as a rotation.

    Args:
        run: from ``[batch, t, heads width]`` and the context values to the same shape.
        like: zeros of one sample ``[1, T, H, e]``, on the device of the graph.
        values: the context values of a batch.
        fixed: the only batch size that ``run`` takes, or None.

    Raises:
        NoMatch: it is not linear, position by position, alike for all heads, turning coordinates in pairs.
    """
    _, positions, heads, width = like.shape
    like = like.expand(values_batch(values, fixed), -1, -1, -1)
    _check(run, like, values)
    found = Rotation(run, heads, _partners(run, like, values), fixed)
    x = _alike(like, seed=1)
    y = run(x.flatten(2), values).unflatten(-1, (heads, width)).to(x)
    cos, sin = (turn[:, :, None].to(x) for turn in found.turns(positions, values, x))
    if not _close(y, x * cos + x[..., found.partner] * sin):
        raise NoMatch(_REASON)
    return found


def _alike(like: Tensor, seed: int) -> Tensor:
    """Random numbers, the same for every sample and head."""
    _, positions, _, width = like.shape
    one = torch.randn(1, positions, 1, width, generator=torch.Generator().manual_seed(seed))
    return one.to(like).expand_as(like)


def _check(run: Callable[[Tensor, Values], Tensor], like: Tensor, values: Values) -> None:
    x = _alike(like, seed=0).flatten(2)
    y = run(x, values)
    if y.shape != x.shape:
        raise NoMatch(_REASON)
    each = y.unflatten(-1, like.shape[2:])
    same = _close(each, each[:, :, :1].expand_as(each))
    linear = _close(run(-2 * x, values), -2 * y)
    half, middle = x.clone(), like.shape[1] // 2
    half[:, :middle] = 0.0
    apart = _close(run(half, values)[:, middle:], y[:, middle:])
    if not (same and linear and apart):
        raise NoMatch(_REASON)


def _partners(run: Callable[[Tensor, Values], Tensor], like: Tensor, values: Values) -> list[int]:
    """With which other coordinate each one is turned; itself where it is left alone."""
    width = like.shape[-1]
    seen = torch.zeros(width, width, dtype=torch.bool)
    for j in range(width):
        unit = torch.zeros_like(like, memory_format=torch.contiguous_format)
        unit[..., j] = 1.0
        y = run(unit.flatten(2), values).unflatten(-1, like.shape[2:])
        seen[:, j] = (y.abs() > 0).flatten(0, 2).any(0).cpu()
    seen.fill_diagonal_(False)
    if seen.sum(1).max() > 1 or not torch.equal(seen, seen.T):
        raise NoMatch(_REASON)
    alone = ~seen.any(1)
    seen[alone, alone.nonzero()[:, 0]] = True
    return seen.to(torch.int8).argmax(1).tolist()


def _close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5)
