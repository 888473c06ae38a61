import itertools
import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from libasis.numerics import half_width, holm, sign_flips, two_sided_normal, two_sided_t, upper_f


def incomplete_beta(a, b, x):
    """Independent of scipy, to 40 digits."""
    with mpmath.workdps(40):
        a, b, x = map(mpmath.mpf, (a, b, x))
        return float(mpmath.betainc(a, b, 0, x, regularized=True))


def student(t, freedom):
    with mpmath.workdps(40):
        freedom, t = mpmath.mpf(freedom), mpmath.mpf(t)
        return incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t**2))


@pytest.mark.parametrize("freedom", [1, 2, 5.5, 19, 400, 1e5])
@pytest.mark.parametrize("t", [0.0, 0.1, -1.0, 2.1, 7.0, 15.0])
def test_student(t, freedom):
    assert two_sided_t(t, freedom) == pytest.approx(student(t, freedom), rel=1e-12)


@pytest.mark.parametrize(("above", "below"), [(1, 1), (2, 30), (8, 500), (8, 4000), (100, 3)])
@pytest.mark.parametrize("f", [0.01, 0.9, 1.3, 6.0, 80.0])
def test_fisher(f, above, below):
    known = incomplete_beta(below / 2, above / 2, mpmath.mpf(below) / (below + above * mpmath.mpf(f)))
    assert upper_f(f, above, below) == pytest.approx(known, rel=1e-12)


@pytest.mark.parametrize("z", [0.0, 1.0, -2.5, 12.0])
def test_normal(z):
    assert two_sided_normal(z) == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-12)


@pytest.mark.parametrize("freedom", [1, 4, 60, 10**6])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_the_half_width_is_a_quantile(freedom, level):
    assert student(half_width(freedom, level), freedom) == pytest.approx(1 - level, rel=1e-12)


def test_without_freedom_nothing_is_known():
    assert (half_width(0), two_sided_t(3.0, 0), upper_f(3.0, 1, 0)) == (math.inf, 1.0, 1.0)
    assert (two_sided_t(math.inf, 5), upper_f(math.inf, 1, 5), two_sided_t(math.nan, 5)) == (0.0, 0.0, 1.0)


@given(st.lists(st.floats(0, 1), max_size=6), st.floats(0.001, 0.2))
def test_holm_is_its_step_down_rule(ps, level):
    corrected = holm(ps)
    rejected, left = set(), sorted(range(len(ps)), key=lambda i: ps[i])
    while left and ps[left[0]] * len(left) <= level:
        rejected.add(left.pop(0))
    assert {i for i, p in enumerate(corrected) if p <= level} == rejected
    assert all(c >= p for c, p in zip(corrected, ps, strict=True))


def every_flip(values):
    """The share of all sign patterns, by hand."""
    totals = np.array([np.dot(signs, values) for signs in itertools.product((-1, 1), repeat=len(values))])
    return (np.abs(totals) >= abs(sum(values)) - 1e-9).mean()


@given(st.lists(st.integers(-20, 20), max_size=9))
def test_few_values_are_flipped_in_every_way(values):
    assert sign_flips(np.array(values, dtype=float)) == pytest.approx(every_flip(values))


@pytest.mark.parametrize(("up", "down"), [(0, 0), (1, 0), (3, 3), (2, 9), (40, 20), (0, 300)])
def test_values_of_one_size_are_a_binomial_test(up, down):
    values = np.array([0.1 + 0.2] * up + [-0.3] * down + [0.0] * 50)
    known = stats.binomtest(up, up + down).pvalue if up + down else 1.0
    assert sign_flips(values) == pytest.approx(known, rel=1e-9)


@pytest.mark.parametrize("n", [13, 15])
def test_drawn_patterns_come_near_to_all_of_them(n):
    values = np.random.default_rng(n).normal(0.4, 1, n)
    known = every_flip(values)
    assert sign_flips(values, seed=2) == pytest.approx(known, abs=4 * math.sqrt(known / 9999))


def test_it_is_never_0_and_the_same_for_a_seed():
    certain = np.arange(1.0, 300.0)
    assert sign_flips(certain) == 1e-4  # that seen and 9,999 others
    assert sign_flips(np.ones(5000)) > 0
    unsure = np.random.default_rng(0).normal(0.1, 1, 300)
    assert sign_flips(unsure, 1) == sign_flips(unsure, 1) == sign_flips(-unsure, 1) != sign_flips(unsure, 2)


def test_by_chance_small_ones_are_as_rare_as_they_say():
    generator = np.random.default_rng(0)
    found = np.array([sign_flips(generator.standard_t(3, 20), seed) for seed in range(400)])
    for level in (0.05, 0.2, 0.5):
        assert (found <= level).mean() == pytest.approx(level, abs=4 * math.sqrt(level / 400))
