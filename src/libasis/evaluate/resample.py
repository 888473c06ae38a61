"""Bootstrap: how far a result could move on other samples, and on other models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ..ablation import SampleScores
from ..errors import OptionError
from ..intervene import Allowance, stable_counts
from ..types import Matrix, Vector

CHUNK = 128  # replicates resampled at once


def check_replicates(replicates: int, confidence: float) -> None:
    """Refuse what gives no interval.

    Raises:
        OptionError: fewer than one replicate, or a confidence that is not between 0 and 1.
    """
    if not isinstance(replicates, int) or replicates < 1:
        raise OptionError(f"replicates is {replicates!r}; a bootstrap needs a whole number of them, at least 1.")
    if not 0 < confidence < 1:
        raise OptionError(f"confidence is {confidence!r}; give a number between 0 and 1, such as 0.95.")


@dataclass(frozen=True)
class Bootstrap:
    """How to resample.

    Attributes:
        replicates: number of resamples B.
        confidence: of the percentile intervals.
        seed: the same seed draws the same samples, so that results on the same data are resampled together.
    """

    replicates: int = 1000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        check_replicates(self.replicates, self.confidence)

    def means(self, sums: Matrix, counts: Vector) -> Matrix:
        """Means of resampled samples, ``[rows, B]``: for each row of sums ``[rows, n]``, sums over counts ``[n]``.

        A sample is drawn with all its scores (the tokens of a sequence stay together).
        """
        n = len(counts)
        generator = torch.Generator().manual_seed(self.seed)
        parts = []
        for start in range(0, self.replicates, CHUNK):
            rows = min(CHUNK, self.replicates - start)
            drawn = torch.randint(n, (rows, n), generator=generator)
            once = torch.ones(1, 1, dtype=torch.float64).expand_as(drawn)
            times = torch.zeros(rows, n, dtype=torch.float64).scatter_add_(1, drawn, once)
            parts.append((sums.double() @ times.T) / (times @ counts.double()))
        return torch.cat(parts, 1)

    def interval(self, values: np.ndarray) -> tuple[float, float]:
        """Percentile interval of replicates ``[B]``; its ends are values that occurred, infinite ones included."""
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(values, [tail, 1 - tail], method="inverted_cdf")
        return float(low), float(high)


def replicate_counts(scores: SampleScores, name: str, allowance: Allowance, bootstrap: Bootstrap) -> np.ndarray:
    """Stable counts of one site or section on resampled samples, ``[B]``; infinite where no count passes."""
    by_count = dict(sorted(scores.sums[name].items()))
    rows = torch.stack([scores.base, *by_count.values()])
    means = bootstrap.means(rows, scores.counts)
    return stable_counts(list(by_count), torch.as_tensor(allowance.passes(means[:1], means[1:])))


def curve_band(scores: SampleScores, name: str, bootstrap: Bootstrap) -> dict[int, tuple[float, float]]:
    """The interval of the score at each count."""
    by_count = dict(sorted(scores.sums[name].items()))
    means = bootstrap.means(torch.stack(list(by_count.values())), scores.counts).numpy()
    return {count: bootstrap.interval(row) for count, row in zip(by_count, means, strict=True)}


def pooled_ratio(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], bootstrap: Bootstrap
) -> tuple[float, float]:
    """Interval of (sum of ours) / (sum of theirs) over models and, within each, samples.

    Each replicate draws models with replacement and takes one replicate of each; both sides share the draw, so that
    what they have in common falls out. With one model only its samples are resampled.

    Args:
        ours: replicates ``[B]`` by the name of the model.
        theirs: of the same models.
        bootstrap: how to resample.
    """
    names = sorted(ours)
    one = np.stack([ours[name] for name in names])
    other = np.stack([theirs[name] for name in names])
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = _draw(one, bootstrap) / _draw(other, bootstrap)
    return bootstrap.interval(np.where(np.isnan(ratio), np.inf, ratio))


def pooled_mean(values: Mapping[str, np.ndarray], bootstrap: Bootstrap) -> tuple[float, float]:
    """Interval of the mean over models, resampled as in `pooled_ratio`."""
    return bootstrap.interval(_draw(np.stack([values[name] for name in sorted(values)]), bootstrap) / len(values))


def _draw(values: np.ndarray, bootstrap: Bootstrap) -> np.ndarray:
    """Sums over resampled models of one replicate of each, ``[B]``, of values ``[models, B]``."""
    models, replicates = values.shape
    rng = np.random.default_rng(bootstrap.seed)
    drawn = rng.integers(models, size=(models, replicates))
    which = rng.integers(replicates, size=(models, replicates)) if models > 1 else np.arange(replicates)[None]
    return values[drawn, which].sum(0)
