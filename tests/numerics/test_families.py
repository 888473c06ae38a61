"""p-values by rank and by sign, corrections for several tests, and how many units are needed."""

import math

import numpy as np
import pytest

from libasis.numerics import (
    benjamini,
    normal_quantile,
    paired,
    paired_sums,
    rank_p,
    sign_flips,
    two_sided_normal,
    units_needed,
)


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("n", [7, 40])
def test_signs_on_one_side(n):
    values = draw(n, n) + 0.3
    up, down, both = (sign_flips(values, 1, side) for side in (1, -1, 0))
    assert up == sign_flips(-values, 1, -1)
    assert up + down == pytest.approx(1, abs=0.01)  # but for the pattern seen, which counts on both sides
    assert both == pytest.approx(2 * min(up, down), rel=0.1)
    assert min(up, down, both) > 0


def test_signs_of_one_size_are_the_binomial_test():
    values = np.array([1.0] * 9 + [-1.0] * 3 + [0.0] * 20)
    tail = sum(math.comb(12, k) for k in range(9, 13)) / 2**12
    assert sign_flips(values, 0, 1) == pytest.approx(tail)
    assert sign_flips(values, 0, 0) == pytest.approx(2 * tail)
    assert sign_flips(values, 0, -1) == pytest.approx(sum(math.comb(12, k) for k in range(3, 13)) / 2**12)
    assert sign_flips(np.zeros(9), 0, 1) == 1.0


def test_a_rank_is_never_0_and_ties_count_against():
    controls = np.arange(999.0)
    assert rank_p(5000.0, controls) == (0.001, 999)
    assert rank_p(998.0, controls) == (0.002, 999)
    assert rank_p(-1.0, controls) == (1.0, 999)
    assert rank_p(0.3, np.full(19, 0.1 + 0.2)) == (1.0, 19)  # equal but for rounding


def test_looking_ends_with_the_tenth_control_that_does_as_much():
    controls = np.tile([1.0, 0.0], 200)
    assert rank_p(0.5, controls, 10) == (10 / 19, 19)
    assert rank_p(2.0, controls, 10) == (1 / 401, 400)


def test_a_rank_holds_its_level():
    wrong = {0: 0, 10: 0}
    for seed in range(2000):
        values = draw(seed, 100)
        for stop in wrong:
            wrong[stop] += rank_p(values[0], values[1:], stop)[0] <= 0.05
    assert all(count / 2000 == pytest.approx(0.05, abs=0.015) for count in wrong.values())


def test_q_values_are_those_of_the_definition():
    p = [0.01, 0.04, 0.03, 0.005, 0.5]
    assert benjamini(p) == pytest.approx([0.025, 0.05, 0.05, 0.025, 0.5])
    harmonic = sum(1 / i for i in range(1, 6))
    assert benjamini(p, dependent=True) == pytest.approx(
        [min(1, q * harmonic) for q in (0.025, 0.05, 0.05, 0.025, 0.5)]
    )
    assert benjamini([]) == []


def test_units_needed_are_the_formula():
    n = units_needed(2.0, 0.5, 0.025)
    assert n == math.ceil((normal_quantile(0.975) + normal_quantile(0.9)) ** 2 * 16 + normal_quantile(0.975) ** 2 / 2)
    assert units_needed(2.0, 0.25, 0.025) > 3.9 * n
    assert units_needed(0.3, 0.05, 0.025, jump=1.0) > units_needed(0.3, 0.05, 0.025)
    assert two_sided_normal(normal_quantile(0.975)) == pytest.approx(0.05)


def test_units_needed_are_enough():
    n, found = units_needed(1.0, 0.4, 0.025), 0
    for seed in range(400):
        found += sign_flips(draw(seed, n) + 0.4, seed, 1) <= 0.025
    assert found / 400 == pytest.approx(0.9, abs=0.05)


def test_sums_of_units_are_the_samples_of_units():
    sizes = np.random.default_rng(0).integers(1, 6, 30)
    units = np.repeat(np.arange(30), sizes)
    values = draw(1, len(units)) + draw(2, 30)[units]
    whole, sums = paired(values, units), paired_sums(np.bincount(units, values), sizes.astype(float))
    assert (sums.value, sums.low, sums.high, sums.p) == pytest.approx((whole.value, whole.low, whole.high, whole.p))
    assert (sums.n, sums.units) == (len(units), 30)
