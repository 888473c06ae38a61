"""Tails of the normal, Student and Fisher distributions, sign flips, and the correction for several tests.

scipy computes them. It is imported where it is needed: `import libasis` would take a twentieth longer with it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from .blocks import slices

FLIPS, ALL = 9999, 12
"""Patterns of signs that are drawn; values of which all patterns are tried."""
WIDTH = 64
"""Groups of eight values flipped at once."""
SAME = 1e-9
"""Sums and values that differ by less than this part of the largest differ by rounding."""


def two_sided_normal(z: float) -> float:
    """The probability that a standard normal variable is at least as far from 0 as ``z``."""
    return math.erfc(abs(z) / math.sqrt(2))


def two_sided_t(t: float, freedom: float) -> float:
    """The probability that Student's t of ``freedom`` degrees of freedom is at least as far from 0 as ``t``."""
    from scipy.special import stdtr

    return 1.0 if freedom <= 0 or math.isnan(t) else float(2 * stdtr(freedom, -abs(t)))


def upper_f(f: float, above: float, below: float) -> float:
    """The probability that Fisher's F of ``(above, below)`` degrees of freedom is at least ``f``."""
    from scipy.special import fdtrc

    return 1.0 if above <= 0 or below <= 0 or not f > 0 else float(fdtrc(above, below, f))


@lru_cache(maxsize=1024)
def half_width(freedom: float, level: float = 0.95) -> float:
    """Standard errors on each side of a mean in an interval of this level: a quantile of Student's t.

    Infinite without a degree of freedom, where nothing is known of the error.
    """
    from scipy.special import stdtrit

    return math.inf if freedom <= 0 else float(-stdtrit(freedom, (1 - level) / 2))


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


def sign_flips(values: np.ndarray, seed: int = 0) -> float:
    """The share of sign patterns under which the sum of ``values`` ``[n]`` is at least as far from 0; never 0.

    If each sign is chance, that is the probability of such a sum. It is exact where at most `ALL` values are not 0, or
    these are of one size (the binomial test of their signs); else that of `FLIPS` patterns drawn and the one seen.
    """
    from scipy.special import betainc

    size = np.abs(values)
    some = values[size > SAME * size.max(initial=0)]
    n, bound = len(some), abs(some.sum()) - SAME * size.sum()
    if not n:
        return 1.0
    if np.ptp(np.abs(some)) <= SAME * size.max():
        most = max(int((some > 0).sum()), int((some < 0).sum()))
        return float(np.clip(2 * betainc(most, n - most + 1, 0.5), sys.float_info.min, 1))
    if n <= ALL:
        return float((np.abs(_signed(some[None])) >= bound).mean())
    return (1 + int((np.abs(_flipped(some, seed)) >= bound).sum())) / (1 + FLIPS)


def _signed(values: np.ndarray) -> np.ndarray:
    """Sums of each row's values under all their signs, ``[rows, n]`` to ``[rows, 2**n]``."""
    totals = np.zeros((len(values), 1))
    for column in values.T[:, :, None]:
        totals = np.concatenate([totals + column, totals - column], 1)
    return totals


def _flipped(values: np.ndarray, seed: int) -> np.ndarray:
    """Sums under random signs, ``[FLIPS]``: one byte draws the signs of eight values."""
    generator = np.random.default_rng(seed)
    groups = np.pad(values, (0, -len(values) % 8)).reshape(-1, 8)
    totals = np.zeros(FLIPS)
    for at in slices(len(groups), WIDTH):
        table = _signed(groups[at])
        drawn = generator.integers(256, size=(FLIPS, len(table)), dtype=np.uint8)
        totals += table[np.arange(len(table)), drawn].sum(1)
    return totals
