"""What cannot be tested is a result of its own, and says why."""

import pytest
import torch

import libasis
from verify.planted import DECOY, TRUE, Study


def only(found):
    (row,) = found.rows()
    assert (row["verdict"], row["tested"]) == ("undecided", False)
    assert row["reason"].startswith("could not be tested here, because ")
    return row["reason"]


def test_as_many_features_as_there_are():
    planted = Study()
    assert "24 of the 24 directions" in only(planted.of(planted.hypothesis(list(range(24)), direction="decrease")))


def test_a_site_of_two_features():
    planted = Study()
    claim = libasis.Hypothesis("output", [1], metric="output[1]")
    assert "has 2 directions" in only(planted.of(claim)) or "has 1 directions" in only(planted.of(claim))


def test_one_class():
    planted = Study()
    planted.confirm = [(x[y == 1], y[y == 1]) for x, y in planted.confirm]
    assert "one class, 1" in only(planted.of(planted.hypothesis([TRUE])))


def test_an_empty_group_and_few_units():
    planted = Study()
    assert "no sample of the group 'target == 7'" in only(planted.of(planted.hypothesis([TRUE], group="target == 7")))
    units = [i % 4 for i in range(240)]
    plan = planted.plan(planted.hypothesis([TRUE]), units=units)
    assert "4 units" in only(planted.verify(plan, units=units))


def test_a_feature_that_does_not_vary():
    planted = Study()
    for part in (planted.fit, planted.explore, planted.confirm):
        for x, _ in part:
            x[:, DECOY] = 3.0
    planted.basis = libasis.fit(planted.traced, planted.fit, method="neuron", progress=False)
    assert "do not vary" in only(planted.of(planted.hypothesis([DECOY])))


def test_a_score_that_nothing_changes():
    planted = Study()

    def same(outputs, targets):
        return torch.ones(len(outputs))

    assert "nothing that is replaced" in only(planted.of(planted.hypothesis([TRUE], metric=same)))


@pytest.mark.parametrize("n", [1, 3])
def test_hardly_any_samples(n):
    planted = Study(n=240)
    planted.confirm = [(x[:n], y[:n]) for x, y in planted.confirm[:1]]
    if n == 1:
        with pytest.raises(libasis.LibasisError, match="resampling needs 2"):
            planted.of(planted.hypothesis([TRUE]))
    else:
        assert "3 units" in only(planted.of(planted.hypothesis([TRUE])))
