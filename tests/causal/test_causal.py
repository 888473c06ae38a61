"""Effects from observed data: two known answers, planted causes, tries to refute, and what is refused."""

import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import libasis
from libasis.causal import CausalEffect, evalue
from libasis.causal.columns import read_observed
from libasis.causal.estimates import METHODS, estimate, fitted_treatment
from libasis.errors import OptionError

causaldata = pytest.importorskip("causaldata")
effect = libasis.causal.effect
NSW = ["age", "educ", "black", "hisp", "marr", "nodegree", "re74", "re75"]
NHEFS = ["sex", "race", "age", "education", "smokeintensity", "smokeyrs", "exercise", "active", "wt71"]


@pytest.fixture(scope="module")
def nsw():
    return causaldata.nsw_mixtape.load_pandas().data


@pytest.fixture(scope="module")
def nhefs():
    return causaldata.nhefs_complete.load_pandas().data


def planted(seed=0, n=600, effect=2.0, units=None):
    """A cause z of both; the treatment adds ``effect``."""
    draw = np.random.default_rng(seed)
    z = draw.standard_normal(n)
    t = (draw.random(n) < 1 / (1 + np.exp(-z))).astype(float)
    y = effect * t + 3 * z + draw.standard_normal(n)
    return {"t": t, "y": y, "z": z, "zero": 2 * z + draw.standard_normal(n)}


# known answers


def test_the_nsw_experiment(nsw):
    found = effect(nsw, "treat", "re78", NSW, repeats=20)
    assert found["unadjusted"].effect == pytest.approx(1794.34, abs=0.01)
    assert found.method == "doubly robust"
    for method in METHODS:
        assert 1500 < found[method].effect < 1850
    assert found.machinery
    assert found.survives


def test_nhefs_by_inverse_weighting(nhefs):
    found = effect(nhefs, "qsmk", "wt82_71", NHEFS, repeats=20, negative_controls=["ht"])
    assert found["unadjusted"].effect == pytest.approx(2.54, abs=0.01)
    assert found["inverse weighting"].effect == pytest.approx(3.44, abs=0.02)
    assert found["inverse weighting"].low == pytest.approx(2.5, abs=0.1)
    assert found["inverse weighting"].high == pytest.approx(4.4, abs=0.1)
    assert found.survives
    assert "negative control ht" in found.on_effect


def test_standard_errors_are_those_of_statsmodels(nsw):
    import statsmodels.api as sm
    from statsmodels.treatment.treatment_effects import TreatmentEffect

    study = read_observed(nsw, "treat", "re78", NSW, categories=(), squares=False, units=None)
    fit = fitted_treatment(study)
    ones = sm.add_constant(study.x)
    known = TreatmentEffect(sm.OLS(study.y, ones), study.t.astype(int), fit)
    for method, call in (("regression", known.ra), ("inverse weighting", known.ipw), ("doubly robust", known.aipw)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = call()
        ours = estimate(study, method, fit)
        n = len(study.y)
        assert ours.value == pytest.approx(theirs.effect[0], rel=1e-4)
        assert ours.error(study.groups) == pytest.approx(theirs.sd[0] * np.sqrt(n / (n - 1)), rel=1e-3)


def test_the_e_value_of_the_paper():
    found = evalue(3.9, 1.8, 8.7)
    assert found.point == pytest.approx(7.26, abs=0.01)
    assert found.limit == pytest.approx(3.0, abs=0.01)
    assert evalue(1 / 3.9, 1 / 8.7, 1 / 1.8).point == pytest.approx(found.point)
    assert evalue(1.2, 0.9, 1.6).limit == 1
    with pytest.raises(OptionError, match="0 < low <= ratio"):
        evalue(-1.0)


# planted causes


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_planted_effect_is_covered(method):
    values, held = [], 0
    for seed in range(150):
        study = read_observed(planted(seed, 200), "t", "y", ["z"], categories=(), squares=False, units=None)
        one = estimate(study, method, fitted_treatment(study))
        low, high, _ = one.interval(study.groups, 0.95)
        held += low <= 2 <= high
        values.append(one.value)
    assert np.mean(values) == pytest.approx(2, abs=0.1)
    assert held / 150 >= 0.89


def test_doubly_robust_where_the_regression_is_wrong():
    """The outcome is bent in z and only its line is adjusted for; the propensity is right."""
    draw = np.random.default_rng(0)
    z = draw.standard_normal(8000)
    t = (draw.random(8000) < 1 / (1 + np.exp(-z))).astype(float)
    data = {"t": t, "y": 1.0 * t + np.exp(z), "z": z}
    found = effect(data, "t", "y", ["z"], squares=False, repeats=20)
    assert found["regression"].high < 1
    assert found["doubly robust"].low <= 1 <= found["doubly robust"].high


def test_no_effect_is_none_and_an_unmeasured_cause_shows_in_a_negative_control():
    none = effect(planted(1, effect=0.0), "t", "y", ["z"], repeats=40)
    assert not none.survives
    assert none.machinery
    assert "no effect to be told from none" in none.on_effect
    blind = planted(2) | {"other": np.random.default_rng(5).standard_normal(600)}
    hidden = effect(blind, "t", "y", ["other"], repeats=40, negative_controls=["zero"])
    assert hidden.machinery
    assert not hidden.survives
    assert "something else links the two" in hidden.on_effect


def test_a_treatment_of_many_values():
    draw = np.random.default_rng(0)
    z = draw.standard_normal(800)
    t = z + draw.standard_normal(800)
    data = {"t": 10 * t, "y": 0.5 * t + 2 * z + draw.standard_normal(800), "z": z}
    found = effect(data, "t", "y", ["z"], repeats=20)
    assert found.unit == "by 1 of t"
    assert found["unadjusted"].effect > 0.1
    for method in ("regression", "doubly robust"):
        assert found[method].low <= 0.05 <= found[method].high
    assert found.e_value.point > 1


def test_an_outcome_of_two_values_has_a_risk_ratio():
    draw = np.random.default_rng(0)
    t = (np.arange(4000) % 2).astype(float)
    data = {"t": t, "y": (draw.random(4000) < 0.1 + 0.2 * t).astype(float), "z": draw.standard_normal(4000)}
    found = effect(data, "t", "y", ["z"], repeats=20)
    assert found.effect == pytest.approx(0.2, abs=0.03)
    assert found.e_value.ratio == pytest.approx(3, rel=0.15)
    assert "risk ratio" in found.e_value.how


@pytest.mark.parametrize("kind", ["unadjusted", "doubly robust"])
def test_units_widen_the_interval_as_they_must(kind):
    held, narrow = 0, 0
    for seed in range(120):
        draw = np.random.default_rng(seed)
        unit = np.repeat(np.arange(40), 10)
        t = (np.arange(40) % 2).astype(float)[unit]
        data = {"t": t, "y": draw.standard_normal(40)[unit] + draw.standard_normal(400), "z": draw.standard_normal(400)}
        for units in (unit, None):
            study = read_observed(data, "t", "y", ["z"], categories=(), squares=False, units=units)
            low, high, _ = estimate(study, kind, fitted_treatment(study)).interval(study.groups, 0.95)
            held += units is not None and low <= 0 <= high
            narrow += units is None and low <= 0 <= high
    assert held / 120 >= 0.89
    assert narrow / 120 < 0.75
    found = effect(data, "t", "y", ["z"], units=unit, repeats=20)
    assert (found.rows_used, found.units_used) == (400, 40)


def test_placebos_of_units_have_no_effect_where_the_treatment_varies_within():
    data = planted(3, n=300)
    found = effect(data | {"run": np.arange(300) // 3}, "t", "y", ["z"], units="run", repeats=60)
    assert found.machinery, found.on_machinery
    assert found.survives


def test_the_result_does_not_depend_on_scale_order_or_form(nsw):
    plain = effect(nsw, "treat", "re78", NSW, repeats=20)
    scaled = nsw.assign(re75=nsw.re75 * 1e6 + 1e9).sample(frac=1, random_state=0)
    assert effect(scaled, "treat", "re78", NSW, repeats=20).effect == pytest.approx(plain.effect, rel=1e-4)
    columns = {name: nsw[name].to_numpy() for name in NSW}
    arrays = effect(None, torch.tensor(nsw.treat.to_numpy()), nsw.re78.to_numpy(), columns, repeats=20)
    assert arrays.effect == pytest.approx(plain.effect, rel=1e-12)
    again = effect(nsw, "treat", "re78", NSW, repeats=20)
    assert again.to_plain() == plain.to_plain()
    flipped = effect(nsw.assign(treat=1 - nsw.treat), "treat", "re78", NSW, repeats=20)
    assert flipped.effect == pytest.approx(-plain.effect, rel=1e-6)


def test_it_is_saved_shown_and_tabled(nsw, tmp_path):
    found = effect(nsw, "treat", "re78", NSW, repeats=20)
    found.save(tmp_path / "effect")
    again = libasis.load(tmp_path / "effect")
    assert isinstance(again, CausalEffect)
    assert again.to_plain() == found.to_plain()
    assert list(found.to_dataframe().method) == list(METHODS)
    shown = repr(found)
    assert "The machinery passes its checks" in shown
    assert "The effect survives them" in shown
    assert "1794" in shown


# what is refused


def refused(match, data=None, treatment="t", outcome="y", adjust=("z",), **options):
    with pytest.raises(OptionError, match=match) as caught:
        effect(planted(n=60) if data is None else data, treatment, outcome, adjust, **options)
    assert str(caught.value).count(". ") == 0
    assert "\n" not in str(caught.value)


def test_bad_columns_are_one_sentence():
    good = planted(n=60)
    refused(r"treatment is 'tt' \(did you mean 't'\?\)", treatment="tt")
    refused("treatment 't' is 1 in all rows", good | {"t": np.ones(60)})
    refused("outcome 'y' is 2 in all rows", good | {"y": np.full(60, 2.0)})
    refused("1 of 60 values that are missing .* row 4", good | {"y": np.where(np.arange(60) == 3, np.nan, good["y"])})
    refused("treatment 't' holds 'a', which is no number", good | {"t": np.array(["a", "b"] * 30)})
    refused("are one column up to a factor", good | {"y": 3 * good["t"] + 1})
    refused("are one column up to a factor", treatment="y")
    refused("adjust has 't', which is the treatment", adjust=["z", "t"])
    refused("adjust has 'y', which is the outcome", adjust=["y"])
    refused(
        "adjust has 'copy', which is the treatment 't' up to a factor", good | {"copy": 5 - good["t"]}, adjust=["copy"]
    )
    refused("adjust has 'copy', which is the outcome 'y'", good | {"copy": 2 * good["y"]}, adjust=["copy"])
    refused("together are the treatment", good | {"a": good["z"] + good["t"]}, adjust=["z", "a"])
    refused("names a column twice", adjust=["z", "z"])
    refused("beyond what squares can be taken of", good | {"y": good["y"] * 1e300})
    refused("beyond what squares can be taken of", good | {"y": good["y"] * 1e-300})
    refused("has the shape", good | {"z": np.zeros((60, 2))})
    refused("59 values for 60 rows", good | {"z": np.zeros(59)})
    refused("units is 'run'", units="run")
    refused("negative_controls has 'y', which is part", negative_controls=["y"])
    refused("categories names 'q'", categories=["q"])
    refused("data is of type list", data=[1, 2])
    refused("60 different texts", good | {"z": np.array([f"text {i}" for i in range(60)])})
    refused("confidence is 2", confidence=2.0)
    refused("repeats 1", repeats=1)


def test_too_few_rows_and_no_overlap_are_one_sentence():
    few = {"t": np.array([0.0, 1] * 4), "y": np.arange(8.0) ** 2, "z": np.arange(8.0) % 3}
    refused("has 4 rows, but adjusting for 1 columns needs at least 6", few)
    refused("has 4 units", planted(n=60), units=np.repeat(np.arange(4), 15))
    draw = np.random.default_rng(0)
    z = np.concatenate([draw.normal(0, 1, 200), draw.normal(4.5, 1, 200)])
    apart = {"t": np.repeat([0.0, 1], 200), "y": draw.standard_normal(400), "z": z}
    refused("overlap", apart)
    refused("don't overlap", apart | {"z": np.where(apart["t"] == 1, 10, 0) + draw.random(400)})
    z = np.concatenate([draw.normal(0, 1, 200), draw.normal(1.8, 1, 200)])
    assert "overlap is" in effect(apart | {"z": z}, "t", "y", ["z"], repeats=20).overlap.warnings[0]


def test_constant_and_repeated_columns_are_left_out_and_said():
    data = planted() | {"one": np.ones(600), "again": -1.0}
    data["again"] = -2 * data["z"]
    found = effect(data, "t", "y", ["z", "one", "again"], squares=False, repeats=20)
    assert found.adjusted == ("z",)
    assert [note.partition(" ")[0] for note in found.info["notes"]] == ["one", "again"]
    assert found.effect == effect(data, "t", "y", ["z"], squares=False, repeats=20).effect


def test_without_statsmodels_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "statsmodels", None)
    refused(r"statsmodels, which is missing: pip install 'libasis\[causal\]'")


def test_texts_are_classes():
    data = pd.DataFrame(planted()).assign(site=np.array(["a", "b", "c"] * 200))
    found = effect(data, "t", "y", ["z", "site"], repeats=20)
    assert {"site=b", "site=c"} < set(found.adjusted)
    assert "site was taken as 3 classes" in found.info["notes"]


def test_features_of_a_basis_as_columns():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).eval()
    x = torch.randn(40, 3)
    batches = [x[:25], x[25:]]
    traced = libasis.trace(model, x[:4], ["0:in", "2:in", "output"])
    basis = libasis.fit(traced, batches, progress=False)
    found = libasis.causal.features(
        traced, basis, batches, {"2:in": [1, 0]}, columns={"valve": range(40)}, progress=False
    )
    assert list(found) == ["2:in:1", "2:in:0", "valve"]
    expected = basis["2:in"].encode(model[:2](x).detach().double())
    np.testing.assert_allclose(found["2:in:1"], expected[:, 1], atol=1e-5)
    with pytest.raises(OptionError, match="feature 9 at '2:in'"):
        libasis.causal.features(traced, basis, batches, {"2:in": [9]}, progress=False)
    with pytest.raises(OptionError, match="'valve' with 3 values for 40 samples"):
        libasis.causal.features(traced, basis, batches, {"2:in": [0]}, columns={"valve": [1, 2, 3]}, progress=False)
