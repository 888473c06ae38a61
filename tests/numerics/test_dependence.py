"""Blocks of rows that depend on each other, by which two groups of rows are compared."""

import numpy as np
import pytest

from libasis.numerics.dependence import beside, differ, means


def series(rng, count, memory):
    z = rng.normal(size=count)
    for t in range(1, count):
        z[t] = memory * z[t - 1] + np.sqrt(1 - memory**2) * z[t]
    return z


@pytest.mark.parametrize("memory", [0.0, 0.9, 0.97])
def test_of_two_stretches_of_one_series_few_are_said_to_differ(memory):
    rng = np.random.default_rng(0)
    pairs = [(series(rng, 400, memory), series(rng, 400, memory)) for _ in range(200)]
    found = [differ(*(means(*one) for one in zip(pair, beside(*pair), strict=True))) <= 0.05 for pair in pairs]
    assert np.mean(found) <= 0.05 + 2 * 0.0154  # two standard errors of 200 draws


def test_a_shift_is_seen_and_rows_without_memory_are_their_own_units():
    rng = np.random.default_rng(1)
    one, two = rng.normal(size=60), rng.normal(size=80) + 1.5
    first, second = beside(one, two)
    assert (first.max(), second.max()) == (59, 79)
    assert differ(means(one, first), means(two, second)) < 1e-6
    one, two = series(rng, 600, 0.8), series(rng, 500, 0.8) + 2
    first, second = beside(one, two)
    assert np.bincount(first)[0] == np.bincount(second)[0] > 10
    assert differ(means(one, first), means(two, second)) < 0.01
