"""What the closed forms share: stacked pointwise branches, and which (sample, position) pairs count."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..anatomy import Anatomy
from ..cut import Record, differentiable
from ..numerics import Blocks, clamp, slices
from ..types import Matrix


class PointwiseUnits:
    """All pointwise branches of a section as one, for a readout C' ``[d_out, k]``.

    A row is one (branch, factor, unit); a hidden unit has as many rows as its branch has factors.

    Attributes:
        A: ``[rows, d]``, folded with the norm's projection.
        G: ``[k, hidden]``, C'ᵀB.
        unit: the hidden unit of each row.
        block: about how many numbers an activation is worked out for at once.
    """

    def __init__(self, anatomy: Anatomy, readout: Matrix) -> None:
        self.branches, self.block = anatomy.pointwise, Blocks.on(readout.device).steps
        A = [branch.A.flatten(0, 1).to(readout) for branch in self.branches]
        raw = torch.cat(A) if A else readout.new_zeros(0, anatomy.d)
        self.A = raw if anatomy.norm is None else anatomy.norm.fold(raw)
        B = [branch.B.to(readout) for branch in self.branches]
        self.G = readout.T @ (torch.cat(B, 1) if B else readout.new_zeros(anatomy.d_out, 0))
        self.hidden = self.G.shape[1]
        self.rows = len(self.A)
        starts, unit = 0, []
        for branch in self.branches:
            factors, width, _ = branch.A.shape
            unit.append(torch.arange(starts, starts + width, device=readout.device).repeat(factors))
            starts += width
        self.unit = torch.cat(unit) if unit else torch.zeros(0, dtype=torch.long, device=readout.device)
        self.plain = self.rows == self.hidden

    def spread(self, x: Tensor) -> Tensor:
        """``[..., hidden]`` to ``[..., rows]``: each row its unit's value."""
        return x if self.plain else x[..., self.unit]

    def gather(self, x: Tensor) -> Tensor:
        """``[..., rows]`` to ``[..., hidden]``: the rows of a unit summed."""
        if self.plain:
            return x
        parts = x.split([branch.b.numel() for branch in self.branches], -1)
        each = [part.unflatten(-1, branch.b.shape).sum(-2) for part, branch in zip(parts, self.branches, strict=True)]
        return torch.cat(each, -1) if len(each) > 1 else each[0]

    def project(self, u: Tensor) -> Tensor:
        """A u ``[..., rows]``, without the constants; u is normed where a norm stands in front."""
        return u @ self.A.T

    def slopes(self, u: Tensor) -> Tensor:
        """Derivatives of each unit in each of its factors at u ``[n, d]``: ``[n, rows]``."""
        return self.slopes_at(self.project(u))

    def slopes_at(self, projected: Tensor) -> Tensor:
        """The same from A u ``[n, rows]``."""
        slopes, start = [], 0
        for branch in self.branches:
            factors, width = branch.b.shape
            mine = projected[:, start : start + factors * width].unflatten(1, (factors, width))
            slopes += _slopes(branch.activate, [a[None] for a in (mine + branch.b.to(mine)).unbind(1)], self.block)
            start += factors * width
        return torch.cat(slopes, -1) if len(slopes) > 1 else slopes[0]


def _slopes(activate: Callable[..., Tensor], a: list[Tensor], block: int) -> list[Tensor]:
    """Derivatives of an activation in each of its arguments ``[1, n, units]``."""
    n, units = a[0].shape[1:]
    step = clamp(block // max(1, units), n)
    if step >= n:
        with differentiable():
            y, pull = torch.func.vjp(activate, *a)[:2]
            return [slope[0] for slope in pull(y.new_ones(()).expand_as(y))]
    slopes = [torch.empty_like(x[0]) for x in a]
    for rows in slices(n, step):
        for slope, found in zip(slopes, _slopes(activate, [x[:, rows] for x in a], block), strict=True):
            slope[rows] = found
    return slopes


def counted_pairs(record: Record, source: int, read: tuple[int, ...] | None) -> Tensor:
    """The vectors at a site at which both ends of a position-by-position section count, ``[n, d]``."""
    x = record.activations[source]
    weights = pair_weights(record, source, read)
    return x.reshape(-1, x.shape[-1]) if weights is None else x[weights]


def pair_weights(record: Record, source: int, read: tuple[int, ...] | None) -> Tensor | None:
    """Bool ``[batch, position]``: counted at the input, read, and counted at the output; None for all."""
    counted_in, counted_out = record.counted[source], record.counted[source + 1]
    x = record.activations[source]
    if read is None and counted_in is None and counted_out is None:
        return None
    pairs = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    if read is not None:
        there = torch.zeros_like(pairs)
        there[:, list(read)] = True if counted_out is None else counted_out
        pairs &= there
    elif counted_out is not None:
        pairs &= counted_out
    return pairs if counted_in is None else pairs & counted_in
