"""Rotations of queries and keys by position (rotary embedding, whole or partial), checked by running them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .parts import Rotation, Values
from .roles import NoMatch

_REASON = "turns queries or keys in a way that is not a rotation by position"


def rotation(
    run: Callable[[Tensor, Values], Tensor], heads: int, width: int, positions: int, values: Values, fixed: int | None
) -> Rotation:
    """A function of queries (or keys) as a rotation.

    Args:
        run: from ``[batch, t, heads width]`` and the context values to the same shape.
        heads: number of heads.
        width: e.
        positions: T.
        values: the context values of a batch.
        fixed: the only batch size that ``run`` takes, or None.

    Raises:
        NoMatch: it is not linear, position by position, alike for all heads, turning coordinates in pairs.
    """
    _check(run, heads, width, positions, values, fixed)
    found = Rotation(run, heads, _partners(run, heads, width, positions, values, fixed), fixed)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(values_batch(values, fixed), positions, 1, width, generator=generator).expand(-1, -1, heads, -1)
    cos, sin = (turn[:, :, None].to(x) for turn in found.turns(positions, values, x))
    y = run(x.flatten(2), values).unflatten(-1, (heads, width)).to(x)
    if not _close(y, x * cos + x[..., found.partner] * sin):
        raise NoMatch(_REASON)
    return found


def values_batch(values: Values, fixed: int | None) -> int:
    """A batch size that the context values allow."""
    return fixed or max([v.shape[0] for v in values if v.ndim > 1] or [1])


def _check(
    run: Callable[[Tensor, Values], Tensor], heads: int, width: int, positions: int, values: Values, fixed: int | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    batch = values_batch(values, fixed)
    one = torch.randn(1, positions, 1, width, generator=generator)
    x = one.expand(batch, positions, heads, width).flatten(2)
    y = run(x, values)
    if y.shape != x.shape:
        raise NoMatch(_REASON)
    each = y.unflatten(-1, (heads, width))
    same = _close(each, each[:, :, :1].expand_as(each))
    linear = _close(run(-2 * x, values), -2 * y)
    half = x.clone()
    half[:, : positions // 2] = 0.0
    apart = _close(run(half, values)[:, positions // 2 :], y[:, positions // 2 :])
    if not (same and linear and apart):
        raise NoMatch(_REASON)


def _partners(
    run: Callable[[Tensor, Values], Tensor], heads: int, width: int, positions: int, values: Values, fixed: int | None
) -> list[int]:
    """With which other coordinate each one is turned; itself where it is left alone."""
    seen = torch.zeros(width, width, dtype=torch.bool)
    for j in range(width):
        unit = torch.zeros(values_batch(values, fixed), positions, heads, width)
        unit[..., j] = 1.0
        y = run(unit.flatten(2), values).unflatten(-1, (heads, width))
        seen[:, j] = (y.abs() > 0).flatten(0, 2).any(0).cpu()
    seen.fill_diagonal_(False)
    if seen.sum(1).max() > 1 or not torch.equal(seen, seen.T):
        raise NoMatch(_REASON)
    alone = ~seen.any(1)
    seen[alone, alone.nonzero()[:, 0]] = True
    return seen.to(torch.int8).argmax(1).tolist()


def _close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5)
