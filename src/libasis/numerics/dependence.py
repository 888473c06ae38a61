"""What is independent of what: units that the user names, or blocks of rows in time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .significance import two_sided_t

FACTOR = 2.5
"""Autocorrelation times in a block: shorter blocks still depend on each other."""
LONG = 4.0
"""The same where two groups are compared in everything: some memory is longer than it looks."""
ROWS = 20
"""Of fewer rows no autocorrelation is estimated."""
CLEAR = 0.2
"""A correlation of neighbours that is looked for where independent rows are the rule."""
EPISODES = 12
"""Stretches in which a change is another than mostly, from which on it is known how long such stretches are."""


def time_of(values: np.ndarray, *, clear: bool = False) -> float:
    r"""The autocorrelation time of a series ``[n]``: :math:`1 + 2 \sum_k \rho_k` up to the first within noise.

    A series that does not vary has 1; with ``clear`` also one whose neighbours are not clearly correlated (`CLEAR`, and
    four standard errors).
    """
    x = values - values.mean()
    n = len(x)
    if n < ROWS or not float(x @ x) > 1e-18 * max(1.0, float(values @ values)):
        return 1.0
    size = 1 << (2 * n - 1).bit_length()
    power = np.abs(np.fft.rfft(x, size)) ** 2
    rho = np.fft.irfft(power, size)[: n // 3] / float(x @ x)
    noise = 2 / math.sqrt(n)
    if rho[1] <= (max(CLEAR, 2 * noise) if clear else noise):
        return 1.0
    below = np.flatnonzero(rho <= noise / 2)
    return float(1 + 2 * rho[1 : int(below[0]) if len(below) else len(rho)].sum())


def blocks(count: int, *series: np.ndarray) -> np.ndarray:
    """The block of each row: as long as it takes for blocks to be nearly independent, one row each where rows are."""
    time = max((time_of(one) for one in series), default=1.0)
    length = 1 if time <= 1 else math.ceil(FACTOR * time)
    return np.arange(count) // min(length, max(1, count))


def beside(one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The blocks of the rows of two groups whose means are compared: of one length, by what remembers longer.

    As long as `time_of` says, or a memory that fades evenly: :math:`(1 + r) / (1 - r)` of neighbours' correlation r,
    with Kendall's correction :math:`(1 + 4 r) / n` for what few rows hide.
    """
    time = max(max(time_of(series), _fading(series)) for series in (one, two))
    length = 1 if time <= 1 else math.ceil(LONG * time)
    first, second = (np.arange(len(series)) // min(length, max(1, len(series))) for series in (one, two))
    return first, second


def _fading(values: np.ndarray) -> float:
    x, n = values - values.mean(), len(values)
    if n < ROWS or not float(x @ x) > 1e-18 * max(1.0, float(values @ values)):
        return 1.0
    r = float(x[1:] @ x[:-1]) / float(x @ x)
    r = 0.0 if r <= 2 / math.sqrt(n) else min(r + (1 + 4 * r) / n, 1 - 1 / n)
    return (1 + r) / (1 - r)


def episodes(change: np.ndarray) -> int:
    """The number of stretches ``[n]`` of rows that are not changed by what most are."""
    away = np.abs(change - np.median(change)) > 1e-9
    return int(away[:1].sum() + (away[1:] & ~away[:-1]).sum())


def coded(units: Sequence[Any]) -> np.ndarray:
    """Numbers of units, in the order in which they come."""
    known: dict[Any, int] = {}
    return np.array([known.setdefault(unit, len(known)) for unit in units])


def means(values: np.ndarray, units: np.ndarray) -> np.ndarray:
    """The mean of each unit."""
    _, codes = np.unique(units, return_inverse=True)
    return np.bincount(codes, values) / np.bincount(codes)


def within(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Values ``[n, width]`` less the mean of their class: that rows are sorted by class is no dependence in time."""
    _, codes, counts = np.unique(classes, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, codes, values)
    return values - (sums / counts[:, None])[codes]


def differ(a: np.ndarray, b: np.ndarray) -> float:
    """The p-value of two groups of unit means having one mean (Welch); 1 with fewer than two units in one of them."""
    if min(len(a), len(b)) < 2:
        return 1.0
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    gap, size = abs(a.mean() - b.mean()), max(float(np.abs(a).max()), float(np.abs(b).max()))
    if va + vb <= 1e-24 * size**2:
        return 1.0 if gap <= 1e-9 * size else 2 / math.comb(len(a) + len(b), len(a))
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    return two_sided_t(gap / math.sqrt(va + vb), freedom)
