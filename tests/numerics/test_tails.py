import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libasis.numerics import half_width, holm, two_sided_normal, two_sided_t, upper_f

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("freedom", [1, 2, 5.5, 19, 400, 1e5])
@pytest.mark.parametrize("t", [0.0, 0.1, -1.0, 2.1, 7.0, 40.0])
def test_student(t, freedom):
    assert two_sided_t(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), rel=1e-8, abs=1e-300)


@pytest.mark.parametrize(("above", "below"), [(1, 1), (2, 30), (8, 500), (8, 4000), (100, 3)])
@pytest.mark.parametrize("f", [0.01, 0.9, 1.3, 6.0, 80.0])
def test_fisher(f, above, below):
    assert upper_f(f, above, below) == pytest.approx(stats.f.sf(f, above, below), rel=1e-8, abs=1e-300)


@pytest.mark.parametrize("z", [0.0, 1.0, -2.5, 12.0])
def test_normal(z):
    assert two_sided_normal(z) == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-12)


@pytest.mark.parametrize("freedom", [1, 4, 60, 10**6])
def test_the_half_width_is_a_quantile(freedom):
    assert half_width(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)


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
