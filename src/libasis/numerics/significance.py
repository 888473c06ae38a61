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


def sign_flips(values: np.ndarray, seed: int = 0, side: int = 0) -> float:
    """The share of sign patterns under which the sum of ``values`` ``[n]`` is at least as far from 0; never 0.

    With ``side`` 1 or -1 it is the share under which it is at least as high, or as low.

    If each sign is chance, that is the probability of such a sum. It is exact where at most `ALL` values are not 0, or
    these are of one size (the binomial test of their signs); else that of `FLIPS` patterns drawn and the one seen.
    """
    from scipy.special import betainc

    values = -values if side < 0 else values
    size = np.abs(values)
    some = values[size > SAME * size.max(initial=0)]
    n, slack = len(some), SAME * size.sum()
    if not n:
        return 1.0
    if np.ptp(np.abs(some)) <= SAME * size.max():
        up = int((some > 0).sum())
        most = up if side else max(up, n - up)
        p = betainc(most, n - most + 1, 0.5) if most else 1.0
        return float(np.clip(p if side else 2 * p, sys.float_info.min, 1))
    sums = _signed(some[None]) if n <= ALL else _flipped(some, seed)
    beyond = sums >= some.sum() - slack if side else np.abs(sums) >= abs(some.sum()) - slack
    return float(beyond.mean()) if n <= ALL else (1 + int(beyond.sum())) / (1 + FLIPS)


def rank_p(value: float, controls: np.ndarray, stop: int = 0) -> tuple[float, int]:
    r"""The probability of a value at least as large as ``value`` if it were one more of the controls ``[m]``; never 0.

    It is :math:`(b + 1) / (m + 1)`, b of the m controls being as large or larger (Phipson and Smyth 2010). With
    ``stop`` h the controls are looked at in their order, no further than the h-th that is as large, where it is h over
    their number (Besag and Clifford 1991). Values that differ by rounding are equal.

    Returns:
        The probability, and how many controls were looked at.
    """
    size = SAME * max(abs(value), float(np.abs(controls).max(initial=0)))
    reached = np.cumsum(controls >= value - size)
    m, b = len(controls), int(reached[-1]) if len(controls) else 0
    if stop and b >= stop:
        last = int(np.searchsorted(reached, stop)) + 1
        return stop / last, last
    return (b + 1) / (m + 1), m


def benjamini(probabilities: Sequence[float], *, dependent: bool = False) -> list[float]:
    r"""The q-values of Benjamini and Hochberg, in the order given; rejecting those up to q, a share q of them is false.

    With ``dependent`` those of Benjamini and Yekutieli, larger by :math:`\sum_i 1/i`, which hold however the tests
    depend on each other.
    """
    m = len(probabilities)
    p = np.asarray(probabilities, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    factor = m * (np.reciprocal(np.arange(1.0, m + 1)).sum() if dependent else 1.0)
    steps = np.minimum.accumulate((p[order] * factor / np.arange(1, m + 1))[::-1])[::-1]
    found = np.empty(m)
    found[order] = np.minimum(steps, 1.0)
    return found.tolist()


def normal_quantile(level: float) -> float:
    """The quantile of the standard normal distribution."""
    from scipy.special import ndtri

    return float(ndtri(level))


def units_needed(deviation: float, delta: float, alpha: float, power: float = 0.9, jump: float = 0.0) -> int:
    r"""How many units tell an effect of ``delta`` from none, by a one-sided test at the level alpha.

    :math:`n = ((z_{1-\alpha} + z_{power}) s / \delta)^2`, and half of :math:`z_{1-\alpha}^2` more, since s is measured
    too (Guenther 1981). Where units change by one amount or not at all, ``jump``, the correction for that (Fleiss) adds
    about jump / delta, and no interval is shorter than delta with fewer than :math:`-\log(\alpha)` jump / delta.

    Args:
        deviation: s, of the effects of units.
        delta: the effect.
        alpha: the level; with a design effect it is in s.
        power: the probability to see it.
        jump: see above.
    """
    z = normal_quantile(1 - alpha)
    n = ((z + normal_quantile(power)) * deviation / delta) ** 2 + z**2 / 2
    if jump > 0:
        n = max(n / 4 * (1 + math.sqrt(1 + 2 * jump / (n * delta))) ** 2, -math.log(alpha) * jump / delta)
    return max(1, math.ceil(min(n, 1e15)))


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
