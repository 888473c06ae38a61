"""Whether rows of either group could have been in the other: asked before anything is adjusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import OptionError
from .columns import ObservedStudy
from .estimates import chances, density_weights

HARDLY, WEAK = 0.1, 0.5
"""Overlap below which no effect is given, and below which it comes with a warning."""
HEAVY = 0.3
"""Effective rows, as a share of the rows, below which few rows carry the weighted estimate."""
BALANCED = 0.1
"""Standard deviations by which groups may differ after weighting."""


@dataclass(frozen=True)
class Overlap:
    """How far the groups overlap.

    Attributes:
        share: of two groups the common area of their distributions of the propensity, 1 where they are alike and 0
            where they are apart; of a treatment with many values the part of its variance that what is adjusted for
            does not tell.
        effective: rows that the weighted ones are worth, by group.
        before: the largest difference between groups in what is adjusted for, in standard deviations (of a treatment
            with many values the largest correlation).
        after: the same after weighting.
        warnings: why to be careful, in words.
    """

    share: float
    effective: tuple[float, ...]
    before: float
    after: float
    warnings: tuple[str, ...]


def overlap_of(study: ObservedStudy, fit: Any) -> Overlap:
    """How far the groups overlap.

    Raises:
        OptionError: hardly at all.
    """
    if not study.x.shape[1]:
        return Overlap(1.0, tuple(float((study.t == i).sum()) for i in (0, 1)) if study.levels else (), 0.0, 0.0, ())
    found = (_of_groups if study.levels else _of_values)(study, fit)
    share, effective, rows, before, after = found
    if share < HARDLY:
        what = (
            f"the groups overlap by {share:.0%} in what is adjusted for"
            if study.levels
            else f"what is adjusted for tells all but {share:.1%} of the treatment's variance"
        )
        raise OptionError(
            f"There is hardly anything to compare: {what} (at least {HARDLY:.0%} is needed); keep the rows where "
            f"either treatment happens, or adjust for fewer columns than {', '.join(study.adjusted[:8])}."
        )
    warnings = []
    if share < WEAK:
        warnings.append(f"the overlap is {share:.0%} only: the effect rests on the rows where either treatment happens")
    if min(e / n for e, n in zip(effective, rows, strict=True)) < HEAVY:
        shown = " and ".join(f"{e:.0f} of {n:.0f}" for e, n in zip(effective, rows, strict=True))
        warnings.append(f"a few rows carry most of the weight: the weighted rows are worth {shown}")
    return Overlap(share, tuple(effective), before, after, tuple(warnings))


def _of_groups(study: ObservedStudy, fit: Any) -> tuple[float, list[float], list[float], float, float]:
    t, chance = study.t, chances(study, fit)
    share = float(np.minimum(chance / t.mean(), (1 - chance) / (1 - t.mean())).mean())
    weights = np.where(t == 1, 1 / chance, 1 / (1 - chance))
    parts = [t == 0, t == 1]
    effective = [float(weights[part].sum() ** 2 / (weights[part] ** 2).sum()) for part in parts]

    def apart(w: np.ndarray) -> float:
        low, high = (np.average(study.x[part], axis=0, weights=w[part]) for part in parts)
        spread = np.sqrt((study.x[parts[0]].var(0) + study.x[parts[1]].var(0)) / 2)
        return float((np.abs(high - low) / np.where(spread > 0, spread, 1)).max())

    return share, effective, [float(part.sum()) for part in parts], apart(np.ones(len(t))), apart(weights)


def _of_values(study: ObservedStudy, fit: Any) -> tuple[float, list[float], list[float], float, float]:
    weights = density_weights(study, fit)
    effective = float(weights.sum() ** 2 / (weights**2).sum())

    def linked(w: np.ndarray) -> float:
        t, x = study.t - np.average(study.t, weights=w), study.x - np.average(study.x, axis=0, weights=w)
        spread = np.sqrt((w @ t**2) * (w @ x**2))
        return float((np.abs((w * t) @ x) / np.where(spread > 0, spread, 1)).max())

    return float(1 - fit.rsquared), [effective], [float(len(weights))], linked(np.ones(len(weights))), linked(weights)
