"""Values with ranges against what is known in closed form."""

import math
import re

import numpy as np
import pytest

import libasis
from libasis.errors import OptionError
from libasis.practice import value
from libasis.practice.formula import Formula

PLANT = {"events": (20, 30, 50), "avoided": (0.1, 0.4, 0.6), "saving": 1000, "once": (4000, 6000)}


def test_a_sum_of_normals_is_normal():
    found = value({"a": [0.0, 10.0], "b": [-3.0, 1.0]}, "a + b", shape="normal")
    sd = math.hypot(10, 4) / (2 * 1.959964)
    assert found.mean == pytest.approx(4, abs=0.01)
    assert found.range95 == pytest.approx((4 - 1.959964 * sd, 4 + 1.959964 * sd), rel=0.01)
    assert found.range80 == pytest.approx((4 - 1.28155 * sd, 4 + 1.28155 * sd), rel=0.01)
    assert found.loss == pytest.approx(0.5 * math.erfc(4 / sd / math.sqrt(2)), abs=0.003)


def test_each_shape_has_its_moments():
    triangle = value({"a": (0, 2, 10)}, "a", shape="triangular")
    assert triangle.mean == pytest.approx(4, rel=1e-3)
    pert = value({"a": (0, 2, 10)}, "a")
    assert pert.mean == pytest.approx((0 + 4 * 2 + 10) / 6, rel=1e-3)
    assert 0 <= pert.range95[0] < pert.range95[1] <= 10
    log = value({"a": (1, 100)}, "a", shape="lognormal")
    assert log.median == pytest.approx(10, rel=0.01)
    assert log.range95 == pytest.approx((1, 100), rel=0.02)


def test_the_standard_formula_and_what_matters():
    found = value(PLANT, unit="EUR")
    middle = {one.name: one for one in found.inputs}
    assert found.inputs[0].name == "avoided"
    assert middle["avoided"].matters > middle["events"].matters > 0 > middle["once"].matters
    assert middle["saving"].shape == "known"
    assert middle["avoided"].at_low < found.median < middle["avoided"].at_high
    assert found.mean == pytest.approx((20 + 4 * 30 + 50) / 6 * (0.1 + 1.6 + 0.6) / 6 * 1000 - 5000, rel=0.01)
    assert 0 < found.loss < 0.2
    assert found.information >= 0
    shown = repr(found)
    assert "EUR" in shown
    assert "What matters most is avoided" in shown
    assert "does not say that they are right" in shown


def test_known_numbers_have_no_range():
    found = value({"events": 10, "avoided": 0.5, "saving": 100, "once": 200})
    assert (found.mean, found.range95, found.loss) == (300, (300, 300), 0)
    assert value({"events": 1, "avoided": 0.5, "saving": 100, "once": 200}).loss == 1


def test_it_is_the_same_again_and_saved(tmp_path):
    found = value(PLANT)
    assert value(PLANT).to_plain() == found.to_plain()
    assert value(PLANT, seed=1).mean == pytest.approx(found.mean, rel=1e-3)
    found.save(tmp_path / "value")
    assert libasis.load(tmp_path / "value").to_plain() == found.to_plain()


def test_information_is_worth_what_a_wrong_decision_costs():
    found = value({"a": [-2.0, 2.0]}, "a", shape="normal")
    sd = 2 / 1.959964
    assert found.information == pytest.approx(sd / math.sqrt(2 * math.pi), rel=0.01)


@pytest.mark.parametrize(
    ("inputs", "options", "match"),
    [
        ({"events": 1, "avoided": 1}, {}, "needs 'saving'"),
        (PLANT | {"savings": 3}, {}, "'savings', which the formula"),
        (PLANT | {"events": (5, 1)}, {}, "'events' is 5, 1, which is not in the order"),
        (PLANT | {"avoided": 50}, {}, r"'avoided' is 50 \(5000%\).* 50% is 0.5"),
        (PLANT | {"avoided": (0.5, 1.5)}, {}, r"1.5 \(150%\)"),
        (PLANT | {"events": -100}, {}, "'events' is -100; give 0 or more"),
        (PLANT | {"years": (-1, 3)}, {}, "'years' is -1"),
        (PLANT | {"events": "many"}, {}, "'events' is 'many'; give a number"),
        (PLANT | {"events": (1, 2, 3, 4)}, {}, "give a number"),
        (PLANT | {"events": math.nan}, {}, "give a number"),
        (PLANT | {"events": {"low": 1, "hihg": 2}}, {}, "'hihg'; write low"),
        (PLANT | {"events": {"low": 0, "high": 2, "shape": "lognormal"}}, {}, "above 0"),
        (PLANT | {"events": {"low": 0, "high": 2, "shape": "flat"}}, {}, "'flat'; give pert"),
        ({"a": 1}, {"formula": "a / 0"}, "divides by 0"),
        ({"a": 1}, {"formula": "a +"}, "is not read"),
        ({"a": 1}, {"formula": "__import__('os').getcwd()"}, "is not read"),
        ({"a": 1}, {"formula": "a ** 9"}, "is not read"),
        ({"a": 1}, {"formula": "a.real"}, "is not read"),
        ({"a": 1}, {"formula": "(" * 900 + "a" + ")" * 900}, "is not read"),
    ],
)
def test_bad_input_is_one_sentence(inputs, options, match):
    with pytest.raises(OptionError, match=match) as caught:
        value(inputs, **options)
    assert not re.search(r"\. [A-Z]", str(caught.value))


def test_other_formulas_give_their_names_a_meaning_of_their_own():
    assert value({"events": -2, "avoided": 50}, "events * avoided / 100").mean == -1


def test_a_formula_is_arithmetic():
    made = Formula("-2 * (a - b) / 4 + +1")
    assert made.names == ("a", "b")
    assert made({"a": np.array([1.0, 3.0]), "b": np.float64(1)}).tolist() == [1.0, 0.0]
