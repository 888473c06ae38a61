import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libasis.report.numbers import Bounded, bounds, fixed, places, signed

finite = st.floats(-1e12, 1e12, allow_nan=False)


@given(finite, st.integers(0, 6))
def test_a_number_reads_back_to_what_it_was(value, digits):
    text = fixed(value, digits)
    read = float(text.replace(",", "").replace("−", "-"))
    assert "-" not in text.replace("e-", "")
    if "e" in text:
        assert read == pytest.approx(value, rel=0.06)
    else:
        assert abs(read - value) <= 0.5 * 10.0**-digits * (1 + 1e-9)


@given(finite.filter(bool), st.integers(0, 6))
def test_no_number_reads_as_nought_or_loses_its_sign(value, digits):
    text = signed(value, digits)
    assert text[0] == ("+" if value > 0 else "−")
    assert float(text[1:].replace(",", "").replace("−", "-")) > 0


@given(finite, st.floats(1e-9, 1e6))
def test_an_interval_shows_two_digits_of_its_half_width(value, half):
    estimate = Bounded(value, value - half, value + half)
    digits = places(estimate)
    assert 0 <= digits <= 6
    if 1e-5 < estimate.half < 10:
        assert estimate.half * 10**digits < 100 * (1 + 1e-9)
    if 1e-5 < estimate.half < 10 and abs(value) < 10 * estimate.half:
        assert estimate.half * 10**digits >= 10 * (1 - 1e-9)


def test_an_interval_of_no_width_does_not_ask_for_many_digits():
    assert places(Bounded(9.8210231, 9.8210230, 9.8210232)) == 2


def test_what_is_not_measured_has_no_bounds():
    assert bounds(Bounded(1.0)) is None
    assert bounds(Bounded(-0.061, -0.0732, -0.0488), sign=True) == ("−0.073", "−0.049")
    assert [places(Bounded(v)) for v in (0.0, math.inf, 0.97, 12.5, 1234.0)] == [2, 2, 3, 1, 0]
