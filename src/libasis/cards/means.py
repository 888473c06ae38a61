"""Means over samples with their errors, gathered batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor

from ..types import Matrix, Vector


class Mean:
    """Mean and standard deviation, gathered from pieces; the same however the values are cut, up to rounding.

    Attributes:
        n: number of values.
        mean: ``[...]``, float64.
        spread: sum of squared deviations from the mean, ``[...]``.
    """

    def __init__(self) -> None:
        self.n = 0
        self.mean: Tensor = torch.zeros(())
        self.spread: Tensor = torch.zeros(())

    def add(self, values: Tensor) -> None:
        """Add values ``[n, ...]``."""
        values = values.to("cpu", torch.float64)
        if not len(values):
            return
        n = self.n + len(values)
        mean = values.mean(0)
        step = mean - self.mean
        self.spread = self.spread + (values - mean).square().sum(0) + step.square() * (self.n * len(values) / n)
        self.mean = self.mean + step * (len(values) / n)
        self.n = n

    def deviation(self) -> Tensor:
        """The standard deviation, dividing by n."""
        return (self.spread / max(self.n, 1)).sqrt()

    def error(self) -> Tensor:
        """The standard error of the mean; 0 where there are fewer than two values."""
        return (self.spread / (self.n * (self.n - 1))).sqrt() if self.n > 1 else torch.zeros_like(self.spread)


class Pairs:
    """Changes of a score, each sample beside itself: the ratio of summed changes to counted scores."""

    def __init__(self) -> None:
        self.n = 0
        self.sums: Matrix = torch.zeros(0)
        self.counts = self.counts_squared = self.base = 0.0

    def add(self, changes: Matrix, base: Vector, counts: Vector) -> None:
        """Add summed changes ``[sample, direction]``, summed scores and the numbers of scores ``[sample]``."""
        c = counts[:, None]
        sums = torch.stack([changes.sum(0), changes.square().sum(0), (changes * c).sum(0)]).cpu()
        self.sums = sums if not self.n else self.sums + sums
        self.n += int((counts > 0).sum())
        self.base += float(base.sum())
        self.counts += float(counts.sum())
        self.counts_squared += float(counts.square().sum())

    @property
    def score(self) -> float:
        """The score without any change."""
        return self.base / max(self.counts, 1)

    def changes(self) -> tuple[Vector, Vector]:
        """Change of the score and its standard error over samples (of a ratio, linearised)."""
        ratio = self.sums[0] / max(self.counts, 1)
        squares = self.sums[1] - 2 * ratio * self.sums[2] + ratio.square() * self.counts_squared
        factor = self.n / max(self.n - 1, 1)
        return ratio, (factor * squares.clamp(min=0)).sqrt() / max(self.counts, 1)
