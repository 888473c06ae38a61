"""One metric in two groups: its difference, and how far it could be from the truth, at one look or at all."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .sequences import exact_rate, wider

FEW_UNITS, FEW_EVENTS = 50, 10
"""Units in each group, and of rates hits and misses together, below which nothing is said at every look."""


@dataclass(frozen=True)
class Difference:
    """The change less control.

    Attributes:
        control: mean of the control group.
        treatment: mean of the other.
        effect: their difference (with a covariate, after it was taken out).
        error: its standard error.
        low: lower end of its interval, if this is the one look.
        high: its upper end.
        p: of no difference, if this is the one look.
        units: in both groups.
    """

    control: float
    treatment: float
    effect: float
    error: float
    low: float
    high: float
    p: float
    units: int

    def always(self, planned: float, alpha: float) -> tuple[float, float]:
        """The interval that holds at every look."""
        half = wider(self.units, planned, alpha) * self.error if self.error > 0 else math.inf
        return self.effect - half, self.effect + half


def difference(groups: Sequence[np.ndarray], rate: bool, alpha: float) -> Difference:
    """Of a rate with Newcombe's interval and the score test, else by Welch's t; statsmodels does both.

    Args:
        groups: a number for each unit, control then change.
        rate: whether they are 0 and 1 and each its own unit.
        alpha: of the interval.
    """
    from statsmodels.stats.proportion import confint_proportions_2indep, test_proportions_2indep
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

    zero, one = groups
    control, treatment = float(zero.mean()), float(one.mean())
    error = math.sqrt(zero.var(ddof=1) / len(zero) + one.var(ddof=1) / len(one))
    if rate:
        counts = int(one.sum()), len(one), int(zero.sum()), len(zero)
        shares = [((hits + 1) / (n + 2), n + 2) for hits, n in (counts[:2], counts[2:])]  # no share is surely 0 or 1
        error = math.sqrt(sum(share * (1 - share) / n for share, n in shares))
        low, high = confint_proportions_2indep(*counts, method="newcomb", alpha=alpha)
        varies = 0 < counts[0] + counts[2] < counts[1] + counts[3]
        with np.errstate(divide="ignore", invalid="ignore"):  # of the ratio, which is not asked for
            test: Any = test_proportions_2indep(*counts, method="score") if varies else None
        p = test.pvalue if varies else 1.0
    elif error > 0:
        compared = CompareMeans(DescrStatsW(one), DescrStatsW(zero))
        low, high = compared.tconfint_diff(alpha=alpha, usevar="unequal")
        p = compared.ttest_ind(usevar="unequal")[1]
    else:
        low, high, p = -math.inf, math.inf, 1.0  # nothing varies, so that nothing is known of how it could
    p = max(float(p), sys.float_info.min)
    return Difference(control, treatment, treatment - control, error, float(low), float(high), p, len(zero) + len(one))


def enough(groups: Sequence[np.ndarray], rate: bool) -> bool:
    """Whether there is enough for an interval that is right for many units."""
    hits = sum(float(group.sum()) for group in groups)
    events = not rate or min(hits, sum(map(len, groups)) - hits) >= FEW_EVENTS
    return min(map(len, groups)) >= FEW_UNITS and events


def exactly(groups: Sequence[np.ndarray], alpha: float) -> tuple[float, float]:
    """The interval of two rates' difference that holds at every look, exactly: each has half the risk."""
    (low0, high0), (low1, high1) = (exact_rate(int(group.sum()), len(group), alpha / 2) for group in groups)
    return low1 - high0, high1 - low0
