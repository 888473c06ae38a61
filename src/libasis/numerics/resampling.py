"""Bootstrap: how far a mean could move on other samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from ..errors import OptionError
from ..types import Matrix, Vector
from .blocks import clamp, slices

CHUNK = 2**21  # draws at once, in at most 128 replicates
KEPT = 2**21
"""So many draws are kept from one call to the next: many means of the same number of samples follow each other."""


@dataclass(frozen=True)
class Bootstrap:
    """How to resample.

    Attributes:
        replicates: number of resamples B.
        confidence: of the percentile intervals.
        seed: the same seed draws the same samples, so that results on the same data are resampled together.

    Raises:
        OptionError: fewer than one replicate, or a confidence that is not between 0 and 1.
    """

    replicates: int = 1000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.replicates, int) or self.replicates < 1:
            raise OptionError(
                f"replicates is {self.replicates!r}; a bootstrap needs a whole number of them, at least 1."
            )
        if not 0 < self.confidence < 1:
            raise OptionError(f"confidence is {self.confidence!r}; give a number between 0 and 1, such as 0.95.")

    def draws(self, n: int) -> Iterator[Matrix]:
        """How often each of n samples is drawn, ``[rows, n]`` float64, some replicates at a time."""
        few = self.replicates * n <= KEPT
        return iter(_kept(self.replicates, self.seed, n)) if few else _drawn(self.replicates, self.seed, n)

    def means(self, sums: Matrix, counts: Vector) -> Matrix:
        """Means of resampled samples, ``[rows, B]``: for each row of sums ``[rows, n]``, sums over counts ``[n]``.

        A sample is drawn with all its scores (the tokens of a sequence stay together).
        """
        parts = [(sums.double() @ times.T) / (times @ counts.double()) for times in self.draws(len(counts))]
        return torch.cat(parts, 1)

    def interval(self, values: np.ndarray) -> tuple[float, float]:
        """Percentile interval of replicates ``[B]``; its ends are values that occurred, infinite ones included."""
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(values, [tail, 1 - tail], method="inverted_cdf")
        return float(low), float(high)


def _drawn(replicates: int, seed: int, n: int) -> Iterator[Matrix]:
    generator = torch.Generator().manual_seed(seed)
    once = torch.ones(1, 1, dtype=torch.float64)
    for part in slices(replicates, clamp(CHUNK / n, 128)):
        drawn = torch.randint(n, (part.stop - part.start, n), generator=generator)
        yield torch.zeros(drawn.shape, dtype=torch.float64).scatter_add_(1, drawn, once.expand_as(drawn))


@lru_cache(maxsize=2)
def _kept(replicates: int, seed: int, n: int) -> tuple[Matrix, ...]:
    return tuple(_drawn(replicates, seed, n))
