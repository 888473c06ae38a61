"""The error of a mean where each sample takes something from another."""

import numpy as np
import pytest

from libasis.numerics import paired, shared_error


def donors(rng, n):
    found = rng.integers(0, n, n)
    return np.where(found == np.arange(n), (found + 1) % n, found)


def test_it_is_the_sum_over_pairs_that_have_a_unit_in_common():
    rng = np.random.default_rng(0)
    units, givers = rng.integers(0, 6, 20), rng.integers(0, 6, 20)
    changes = rng.normal(size=20)
    rest = changes - changes.mean()
    linked = np.array([[bool({a, b} & {c, d}) for c, d in zip(units, givers)] for a, b in zip(units, givers)])  # noqa: B905
    within = sum(rest[units == g].sum() ** 2 for g in range(6))
    expected = max(1.0, float(rest @ linked @ rest) / within)
    assert shared_error(changes, units.tolist(), givers.tolist()) ** 2 == pytest.approx(expected)


def test_nothing_is_wider_where_all_take_from_themselves_or_nothing_varies():
    changes = np.random.default_rng(1).normal(size=30)
    assert shared_error(changes, range(30), range(30)) == 1
    assert shared_error(np.zeros(5), range(5), [1, 2, 3, 4, 0]) == 1
    assert shared_error(np.full(3, np.nan), range(3), [1, 2, 0]) == 1


def test_intervals_of_squared_differences_hold_their_mean():
    """Iid units see 2/3 of the error of (x - y)^2 and less; with the factor 95% intervals hold about as often."""
    rng, alone, wider = np.random.default_rng(2), 0, 0
    for seed in range(150):
        x = rng.normal(size=80)
        to = donors(rng, 80)
        found = paired((x[to] - x) ** 2, seed=seed, replicates=200)
        factor = shared_error((x[to] - x) ** 2, range(80), to.tolist())
        alone += found.low <= 2 <= found.high
        wider += (
            found.value - factor * (found.value - found.low) <= 2 <= found.value + factor * (found.high - found.value)
        )
    assert alone / 150 < 0.92
    assert wider / 150 > 0.9
