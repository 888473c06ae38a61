"""How far counts, curves and ratios could move on other samples, and on other models."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ..ablation import SampleScores
from ..intervene import Allowance, stable_counts
from ..numerics import Bootstrap


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
    """Interval of (sum of ours) / (sum of theirs), replicates ``[B]`` by model, over models and, in each, samples.

    Each replicate draws models with replacement and takes one replicate of each; both sides share the draw, so that
    what they have in common falls out. With one model only its samples are resampled.
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
