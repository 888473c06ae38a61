"""What is planted is found, and what is not is not: on models whose weights were set by hand."""

import numpy as np
import pytest
import torch

import libasis
from verify.planted import BOTH, COPY, DECOY, DORMANT, IDLE, TRUE, Study


@pytest.fixture(scope="module")
def planted():
    return Study("true")


@pytest.fixture(scope="module")
def found(planted):
    options = {"direction": "decrease", "delta": 0.05}
    return planted.of(
        planted.hypothesis([TRUE], name="true", **options),
        planted.hypothesis([DECOY], name="decoy", **options),
        planted.hypothesis([DORMANT], name="dormant", **options),
        planted.hypothesis([TRUE, IDLE], name="true and idle", **options),
        planted.hypothesis([TRUE], name="other way", direction="increase", delta=0.05),
        planted.hypothesis([TRUE], name="too much", direction="decrease", delta=0.48),
        planted.hypothesis([TRUE], name="any", delta=0.05),
    )


def test_what_decides_is_supported_and_a_decoy_has_no_effect(found):
    assert found.verdicts == {
        "true": "supported",
        "decoy": "no effect above delta",
        "dormant": "no effect above delta",
        "true and idle": "supported",
        "other way": "opposite",
        "too much": "supported, below delta",
        "any": "supported",
    }


def test_no_p_is_0_and_no_interval_has_width_0(found):
    table = found.to_dataframe()
    assert (table[["p", "p_effect", "p_specific"]] > 0).all().all()
    for low in [name for name in table if name.endswith("low")]:
        width = table[low.replace("low", "high")] - table[low]
        assert (width[table[low].notna()] > 0).all(), low


def test_the_table_says_what_decided(found):
    row = found.to_dataframe().set_index("hypothesis").loc["true"]
    assert row.effect == pytest.approx(-0.5, abs=0.1)
    assert (row.n, row.units, row.controls, row["repeat"], row.kinds) == (240, 240, 280, 1, "mean, resample")
    assert row.p == pytest.approx(7 * max(row.p_effect, row.p_specific))
    assert row.low < row.effect < row.high < -0.05
    assert row.necessity == pytest.approx(1) == row.sufficiency


def test_random_directions_do_as_much_as_a_feature_that_is_one_of_many():
    """Where all directions alike decide, no feature is special, however large its effect."""
    planted = Study("true")

    def size(outputs, targets):
        return outputs[:, 0]

    class All(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mid = torch.nn.Identity()

        def forward(self, x):
            return (self.mid(x) ** 2).sum(1, keepdim=True)

    batches = [torch.randn(300, 8, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(3)]
    traced = libasis.trace(All().eval(), batches[0], ["mid", "output"])
    basis = libasis.fit(traced, batches[:1], method="neuron", progress=False)
    claim = planted.hypothesis([0], metric=size, direction="decrease", name="one of many", kinds=("mean", "zero"))
    plan = libasis.plan(traced, basis, batches[1:2], claim, controls=199, progress=False)
    found = libasis.verify(traced, basis, batches[2:], plan, progress=False)
    row = found.rows()[0]
    assert row["p_effect"] < 0.001
    assert row["p_specific"] > 0.05
    assert row["verdict"] == "undecided"
    assert "random directions" in row["reason"]


@pytest.mark.parametrize(("way", "pair"), [("copy", COPY), ("both", BOTH)])
def test_a_and_b_together(way, pair):
    planted = Study(way)
    found = planted.of(planted.hypothesis(list(pair), direction="decrease", delta=0.05, name="A and B"))
    outcome = found["A and B"]
    assert outcome.verdict == "supported"
    alone = [outcome.beside[f"alone_{i}"] for i in pair]
    contrast = outcome.beside["contrast"]
    if way == "copy":  # neither alone shows anything, and both together lose more than their sum
        assert all(one.low > -0.05 and one.high < 0.05 for one in alone)
        assert contrast.high < -0.2
    else:  # each alone loses all that there is to lose
        assert all(one.high < -0.2 for one in alone)
        assert contrast.low > 0.2


def test_each_of_a_redundant_pair_alone_is_not_supported():
    planted = Study("copy")
    found = planted.of(*(planted.hypothesis([i], direction="decrease", delta=0.02, name=str(i)) for i in COPY))
    assert "supported" not in found.verdicts.values()


def test_parts_of_several_features_and_what_each_adds():
    planted = Study("true")
    found = planted.of(planted.hypothesis([[TRUE, IDLE], [DECOY], [DORMANT]], direction="decrease", name="three"))
    beside = found["three"].beside
    assert beside["alone_0+3"].high < -0.2
    assert beside["adds_0+3"].high < -0.2
    assert abs(beside["alone_1"].value) < 0.01
    assert abs(beside["adds_2"].value) < 0.01


def test_one_kind_is_not_enough():
    planted = Study("true")
    found = planted.of(planted.hypothesis([TRUE], direction="decrease", kinds=["mean"], name="one"))
    assert found.verdicts == {"one": "undecided"}
    assert "1 kind" in found["one"].reason


def test_doses_signs_and_the_rest_of_the_data():
    planted = Study("true")
    found = planted.of(
        planted.hypothesis([TRUE], metric="output[1]", name="logit", direction="any"),
        planted.hypothesis([TRUE], group="target == 1", direction="decrease", name="ones"),
    )
    logit, ones = found["logit"], found["ones"]
    at = [dose["values"][0] for dose in logit.dose]
    assert at == sorted(at)
    assert len(at) == 9
    start = float(planted.basis["mid"].mean[TRUE]) - logit.base
    for dose in logit.dose:  # held at a value, the logit is that value
        assert dose["effect"] == pytest.approx(dose["values"][0] + start, abs=1e-9)
        assert dose["low"] < dose["effect"] < dose["high"]
    assert logit.beside["dose_slope"].p < 0.001
    assert logit.signs["opposite_signs"] == pytest.approx(0.5, abs=0.1)
    assert logit.signs["mean_size"] == pytest.approx(np.sqrt(2 / np.pi), abs=0.15)
    assert ones.kinds[0].effect.n == sum(int((y == 1).sum()) for _, y in planted.confirm)
    assert ones.beside["collateral"].n == 240 - ones.kinds[0].effect.n


def test_more_units_than_needed_would_have_decided():
    """An effect that is not told from 0 says how many units would; the same claim with so many is decided."""
    few, many = Study("true", n=12, seed=3), Study("true", n=240, seed=4)
    claim = few.hypothesis([DECOY], direction="decrease", delta=0.1, name="decoy")
    row = few.of(claim, controls=19).rows()[0]
    assert row["verdict"] == "undecided"
    assert 12 < row["n_needed"] <= 240
    assert many.of(claim, controls=19).verdicts == {"decoy": "no effect above delta"}


@pytest.mark.parametrize("method", ["neuron", "pca"])
def test_features_are_found_again_where_the_basis_is_fitted_again(method):
    planted = Study("true")
    planted.basis = libasis.fit(planted.traced, planted.fit, method=method, progress=False)
    first = 0 if method == "neuron" else int(planted.basis["mid"].C_pinv[:, DECOY].abs().argmax())
    plan = planted.plan(planted.hypothesis([first], name="one"), controls=19)
    found = planted.verify(plan, refit=planted.fit, refits=3)
    again = found["one"].stability
    assert [row["refit"] for row in again] == [0, 1, 2]
    for row in again:  # neurons are themselves; the direction that varies ten times as much is found by any PCA
        assert row["correlation"][0] > 0.95
        assert row["effect"] == pytest.approx(found["one"].kinds[0].effect.value, abs=0.1)
    assert found.to_dataframe()["found_again"][0] == 1
