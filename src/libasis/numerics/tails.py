"""Tails of the normal, Student and Fisher distributions, and the correction for several tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache


def two_sided_normal(z: float) -> float:
    """The probability that a standard normal variable is at least as far from 0 as ``z``."""
    return math.erfc(abs(z) / math.sqrt(2))


def two_sided_t(t: float, freedom: float) -> float:
    """The probability that Student's t of ``freedom`` degrees of freedom is at least as far from 0 as ``t``."""
    if freedom <= 0 or math.isnan(t):
        return 1.0
    return _beta(freedom / 2, 0.5, freedom / (freedom + t * t)) if math.isfinite(t) else 0.0


def upper_f(f: float, above: float, below: float) -> float:
    """The probability that Fisher's F of ``(above, below)`` degrees of freedom is at least ``f``."""
    if above <= 0 or below <= 0 or not f > 0:
        return 1.0
    return _beta(below / 2, above / 2, below / (below + above * f)) if math.isfinite(f) else 0.0


@lru_cache(maxsize=1024)
def half_width(freedom: float, level: float = 0.95) -> float:
    """Standard errors on each side of a mean in an interval of this level: a quantile of Student's t.

    Infinite without a degree of freedom, where nothing is known of the error.
    """
    if freedom <= 0:
        return math.inf
    low, high = 0.0, 1.0
    while two_sided_t(high, freedom) > 1 - level:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_t(middle, freedom) > 1 - level else (low, middle)
    return (low + high) / 2


def holm(probabilities: Sequence[float]) -> list[float]:
    """The p-values corrected for their number by Holm's step-down rule, in the order given.

    Rejecting where the corrected value is at most a, some true hypothesis is rejected with probability a at most,
    however the tests depend on each other.
    """
    order = sorted(range(len(probabilities)), key=lambda i: probabilities[i])
    corrected, worst = [1.0] * len(probabilities), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - rank) * probabilities[i]))
        corrected[i] = worst
    return corrected


def _beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a
    return 1 - front * _fraction(b, a, 1 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function, evaluated from its front (Lentz)."""
    tiny = 1e-300
    c, d = 1.0, 1 / (_away(1 - (a + b) * x / (a + 1), tiny))
    value = d
    for m in range(1, 1000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 / _away(1 + term * d, tiny), _away(1 + term / c, tiny)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def _away(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny
