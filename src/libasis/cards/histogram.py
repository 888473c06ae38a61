"""Histograms of values that come in pieces, the same however they are cut."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ..numerics import Sums
from ..types import Matrix, Plain, Vector

HALF = 512
"""Bins on each side of 0 while counting."""

FINE = 32
"""Bins in one standard deviation at first."""

BINS = 40
"""At most so many bins are shown."""


class Histogram(Sums):
    """Counts on a lattice of bins anchored at 0, one lattice for each feature.

    Bin b holds the values from b w to below (b + 1) w. The width w starts at a fraction of the feature's scale; where
    a value lies outside of the lattice, neighbouring bins are joined and w doubles. Joining loses nothing, so the
    result depends on the values alone: not on their order, nor on how they were cut into batches.

    Args:
        scale: about one standard deviation of each feature, ``[features]``.
    """

    sums = ("width", "counts")

    def __init__(self, scale: Vector) -> None:
        self.width = torch.where(scale > 0, scale, torch.ones_like(scale)) / FINE
        self.counts = torch.zeros(len(scale), 2 * HALF, dtype=torch.int64, device=scale.device)

    def add(self, values: Matrix) -> None:
        """Count values ``[n, features]``, finite."""
        if not len(values):
            return
        reach = values.abs().amax(0)
        while bool((outside := reach / self.width >= HALF).any()):
            self._join(outside)
        bins = torch.floor(values / self.width).long() + HALF
        rows = torch.arange(len(self.width), device=values.device) * (2 * HALF)
        found = torch.bincount((bins + rows).flatten(), minlength=self.counts.numel())
        self.counts = self.counts + found.view_as(self.counts)

    def emptied(self) -> Histogram:
        """See `Sums`."""
        found = copy.copy(self)
        found.counts = torch.zeros_like(self.counts)
        return found

    def merge(self, other: Histogram) -> None:
        """See `Sums`."""
        for narrow, wide in ((self, other), (other, self)):
            while bool((narrower := narrow.width < wide.width).any()):
                narrow._join(narrower)
        self.counts = self.counts + other.counts

    def _join(self, which: Tensor) -> None:
        """Join neighbouring bins of some features."""
        joined = torch.nn.functional.pad(self.counts.unflatten(1, (HALF, 2)).sum(2), (HALF // 2, HALF // 2))
        self.counts = torch.where(which[:, None], joined, self.counts)
        self.width = torch.where(which, 2 * self.width, self.width)

    def facts(self, feature: int) -> Plain:
        """``low``, ``high`` and ``counts`` of equal bins between them, at most `BINS`, the outer ones not empty."""
        counts, width = self.counts[feature], float(self.width[feature])
        used = torch.nonzero(counts).flatten()
        first, last = (int(used[0]) - HALF, int(used[-1]) - HALF) if len(used) else (0, 0)
        joined = 1
        while last // joined - first // joined + 1 > BINS:
            joined *= 2
        low, high = first // joined, last // joined + 1
        shown = [_total(counts, b * joined + HALF, (b + 1) * joined + HALF) for b in range(low, high)]
        return {"low": low * joined * width, "high": high * joined * width, "counts": shown}


def _total(counts: Tensor, start: int, stop: int) -> int:
    return int(counts[max(start, 0) : max(stop, 0)].sum())
