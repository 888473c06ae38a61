"""Means and standard deviations of values that come in pieces."""

from __future__ import annotations

import torch
from torch import Tensor

from .sums import Sums


class Mean(Sums):
    """Mean and standard deviation, number by number; the same however the values are cut, up to rounding.

    Attributes:
        n: number of values.
        mean: ``[...]``, float64.
        spread: sum of squared deviations from the mean, ``[...]``.
    """

    sums = ("n", "mean", "spread")

    def __init__(self) -> None:
        self.n = 0
        self.mean: Tensor = torch.zeros(())
        self.spread: Tensor = torch.zeros(())

    def add(self, values: Tensor) -> None:
        """Add values ``[n, ...]``."""
        values = values.to("cpu", torch.float64)
        if len(values):
            mean = values.mean(0)
            self._join(len(values), mean, (values - mean).square().sum(0))

    def merge(self, other: Mean) -> None:
        """See `Sums`."""
        if other.n:
            self._join(other.n, other.mean, other.spread)

    def _join(self, count: int, mean: Tensor, spread: Tensor) -> None:
        n = self.n + count
        step = mean - self.mean
        self.spread = self.spread + spread + step.square() * (self.n * count / n)
        self.mean = self.mean + step * (count / n)
        self.n = n

    def deviation(self) -> Tensor:
        """The standard deviation, dividing by n."""
        return (self.spread / max(self.n, 1)).sqrt()

    def error(self) -> Tensor:
        """The standard error of the mean; 0 where there are fewer than two values."""
        return (self.spread / (self.n * (self.n - 1))).sqrt() if self.n > 1 else torch.zeros_like(self.spread)


class Range(Sums):
    """The smallest and the largest values, number by number.

    Attributes:
        low: ``[...]``, float64; infinite before any value was added.
        high: ``[...]``.
    """

    sums = ("low", "high")

    def __init__(self) -> None:
        self.low = torch.tensor(torch.inf, dtype=torch.float64)
        self.high = -self.low

    def emptied(self) -> Range:
        """See `Sums`."""
        return Range()

    def add(self, values: Tensor) -> None:
        """Add values ``[n, ...]``."""
        if len(values):
            self._join(values.amin(0).to(self.low), values.amax(0).to(self.high))

    def merge(self, other: Range) -> None:
        """See `Sums`."""
        self._join(other.low, other.high)

    def _join(self, low: Tensor, high: Tensor) -> None:
        self.low, self.high = torch.minimum(self.low, low), torch.maximum(self.high, high)
