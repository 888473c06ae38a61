r"""Contributions along straight paths at a site, with the nodes of each path chosen until they add up.

The derivative is averaged over the path by Gauss-Legendre quadrature, on the whole path first. What the target itself
does over a piece of the path is known exactly, so each piece knows by how much it misses; pieces that miss most are
halved. A kink costs a few pieces, a smooth bend none; at a jump no piece ever adds up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..numerics import gauss_legendre
from ..types import Activations, Matrix, Vector
from .points import Points

MISS = 0.01
"""Contributions may miss the change by this part of it."""
AIM = 0.002
"""Where they miss more, nodes are added until they miss no more than this."""
CANCEL = 0.01
"""Where contributions cancel, the change counts as no smaller than this part of their sizes summed."""
HALVINGS = 12
ROUNDING = 1000
"""A change of so many roundings of the target, or fewer, is none."""

Parts = Callable[[Tensor, Activations], Matrix]


@dataclass(frozen=True, eq=False)
class Added:
    """What the paths gave.

    Attributes:
        parts: contributions ``[m, parts]``.
        start: the target at the beginning of each path ``[m]``.
        end: at its end.
        miss: what the contributions miss of the change, as a part of it ``[m]``.
        nodes: how many derivatives were taken ``[m]``.
    """

    parts: Matrix
    start: Vector
    end: Vector
    miss: Vector
    nodes: Tensor


@dataclass(eq=False)
class _Pieces:
    """Pieces of paths: which path, from where to where, the target at both ends, contributions."""

    path: Tensor
    low: Vector
    high: Vector
    at_low: Vector
    at_high: Vector
    parts: Matrix


def add_up(
    points: Points, rows: Tensor, start: Activations, end: Activations, parts: Parts, size: int, n_steps: int
) -> Added:
    """Contributions along the path of each of some samples.

    Args:
        points: the rest of the model.
        rows: the samples ``[m]``.
        start: where the paths begin ``[m, position, d]``.
        end: where they end.
        parts: of path numbers and derivatives averaged over a piece ``[p, position, d]`` the contributions
            ``[p, parts]`` that a whole path would make with them.
        size: how many of these are to add up; others follow them.
        n_steps: nodes on each piece.
    """
    count, device = len(rows), start.device
    every = torch.arange(count, device=device)
    zero, one = (torch.full((count,), v, dtype=torch.float64, device=device) for v in (0.0, 1.0))
    first, last = points.scores(rows, start), points.scores(rows, end)
    nodes = torch.zeros(count, dtype=torch.int64, device=device)
    alphas, weights = gauss_legendre(n_steps)

    def at(path: Tensor, alpha: Vector) -> Activations:
        return start[path] + alpha.to(start)[:, None, None] * (end[path] - start[path])

    def made(path: Tensor, low: Vector, high: Vector, at_low: Vector, at_high: Vector) -> _Pieces:
        mean = torch.zeros(len(path), *start.shape[1:], dtype=torch.float64, device=device)
        for alpha, weight in zip(alphas.tolist(), weights.tolist(), strict=True):
            mean += weight * points.gradients(rows[path], at(path, low + alpha * (high - low)))
        nodes.index_add_(0, path, torch.full_like(path, n_steps))
        return _Pieces(path, low, high, at_low, at_high, parts(path, mean) * (high - low)[:, None])

    found, missed = [made(every, zero, one, first, last)], torch.ones(count, dtype=torch.bool, device=device)
    for turn in range(HALVINGS):
        all_ = _joined(found)
        off, scale = _missing(all_, first, last, size, start.dtype)
        worst = torch.zeros(count, dtype=torch.float64, device=device).scatter_reduce(0, all_.path, off.abs(), "amax")
        summed = torch.zeros_like(worst).index_add(0, all_.path, off)
        missed &= summed.abs() > (AIM if turn else MISS) * scale
        halve = missed[all_.path] & (off.abs() >= worst[all_.path] / 4)
        if not halve.any():
            break
        kept, old = _taken(all_, ~halve), _taken(all_, halve)
        middle = (old.low + old.high) / 2
        at_middle = points.scores(rows[old.path], at(old.path, middle))
        found = [
            kept,
            made(old.path, old.low, middle, old.at_low, at_middle),
            made(old.path, middle, old.high, at_middle, old.at_high),
        ]
    all_ = _joined(found)
    total = torch.zeros(count, all_.parts.shape[1], dtype=torch.float64, device=device)
    total.index_add_(0, all_.path, all_.parts)
    _, scale = _missing(all_, first, last, size, start.dtype)
    rest = (last - first - total[:, :size].sum(1)).abs()
    miss = torch.where(rest > 0, rest / scale.clamp(min=torch.finfo(torch.float64).tiny), torch.zeros_like(rest))
    return Added(total, first, last, miss, nodes)


def _missing(pieces: _Pieces, first: Vector, last: Vector, size: int, dtype: torch.dtype) -> tuple[Vector, Vector]:
    """What each piece misses, and the size of each path's change."""
    off = pieces.at_high - pieces.at_low - pieces.parts[:, :size].sum(1)
    sizes = torch.zeros(len(first), size, dtype=torch.float64, device=first.device)
    sizes.index_add_(0, pieces.path, pieces.parts[:, :size])
    least = ROUNDING * torch.finfo(dtype).eps * torch.maximum(first.abs(), last.abs())
    return off, torch.stack([(last - first).abs(), CANCEL * sizes.abs().sum(1), least]).amax(0)


def _joined(pieces: list[_Pieces]) -> _Pieces:
    return _Pieces(*(torch.cat(same) for same in zip(*(vars(one).values() for one in pieces), strict=True)))


def _taken(pieces: _Pieces, which: Tensor) -> _Pieces:
    return _Pieces(*(value[which] for value in vars(pieces).values()))
