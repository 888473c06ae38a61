"""Whether two numbers of each unit go together in any way: HSIC with permutations."""

from __future__ import annotations

import numpy as np

PERMUTATIONS, UNITS = 999, 1000
"""Permutations drawn, and units at most (a random part of more)."""


def hsic(x: np.ndarray, y: np.ndarray, *, seed: int = 0) -> float:
    """The share of permutations of units under which the Hilbert-Schmidt independence criterion is as large; never 0.

    Gaussian kernels, as wide as the median distance of units that differ. Numbers ``[n]`` each.
    """
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(x))[:UNITS]
    K, L = _kernel(x[some]), _kernel(y[some])
    K = K - K.mean(0)
    K = K - K.mean(1, keepdims=True)
    seen = float((K * L).sum())
    bound, n = seen - 1e-9 * abs(seen), len(some)
    found = 0
    for _ in range(PERMUTATIONS):
        order = rng.permutation(n)
        found += float((K * L[order][:, order]).sum()) >= bound
    return (1 + found) / (1 + PERMUTATIONS)


def _kernel(x: np.ndarray) -> np.ndarray:
    far = np.abs(x[:, None] - x)
    apart = far[far > 0]
    width = float(np.median(apart)) if len(apart) else 1.0
    return np.exp(-((far / width) ** 2) / 2)
