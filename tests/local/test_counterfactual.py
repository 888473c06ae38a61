"""Counterfactuals: the smallest change in closed form, the range, and that "none found" is an answer."""

import math

import pytest
import torch
from torch import nn

import chains
import libasis
from chains import F64, random
from libasis import local
from libasis.errors import BatchError, OptionError
from models import TRANSFORMER_CASE


@pytest.fixture(scope="module")
def linear():
    torch.manual_seed(0)
    model = chains.Linear3().to(F64).eval()
    x = random(40, 5) @ random(5, 5, seed=1)
    traced = libasis.trace(model, x, ["layers.0:in", "layers.1:in", "layers.2:in", "output"])
    return model, x, traced, libasis.fit(traced, [x], progress=False)


def by_hand(model, x, basis, samples):
    """Of each sample the smallest change of one feature, in standard deviations, and the class that then wins."""
    f = model.layers[0](x).detach()
    z, W = basis[1].encode(f), (basis[1].C_pinv @ (model.layers[2].weight @ model.layers[1].weight).T).detach()
    deviation, low, high, logits = z.std(0, unbiased=False), z.amin(0), z.amax(0), model(x).detach()
    for n in samples:
        before = int(logits[n].argmax())
        found = []
        for c in set(range(3)) - {before}:
            for i in range(z.shape[1]):
                step = float((logits[n, before] - logits[n, c]) / (W[i, c] - W[i, before]))
                if low[i] <= z[n, i] + step <= high[i]:
                    found.append((abs(step) / float(deviation[i]), i, c))
        yield before, min(found, default=None)


def test_one_feature_of_a_linear_model(linear):
    model, x, traced, basis = linear
    found = local.counterfactual(traced, basis, [x], "layers.1:in", most=1, progress=False)
    flips = 0
    for one, (before, expected) in zip(found.found, by_hand(model, x, basis, range(40)), strict=True):
        assert one["before"] == str(before)
        if expected is None:
            assert one["after"] is None
            assert one["distance"] is None
            assert one["changes"] == []
            continue
        flips += 1
        assert one["distance"] == pytest.approx(expected[0], rel=1e-4)
        assert [change["feature"] for change in one["changes"]] == [expected[1]]
        assert one["after"] == str(expected[2])
    assert flips > 0


def test_what_is_told_flips_the_model(linear):
    model, x, traced, basis = linear
    found = local.counterfactual(traced, basis, x.split(7), "layers.1:in", progress=False)
    f = model.layers[0](x).detach()
    z = basis[1].encode(f)
    for n, one in enumerate(found.found):
        if one["after"] is None:
            continue
        moved = z[n].clone()
        for change in one["changes"]:
            assert change["from"] == pytest.approx(float(z[n, change["feature"]]), abs=1e-9)
            moved[change["feature"]] = change["to"]
            assert change["low"] - 1e-9 <= change["to"] <= change["high"] + 1e-9
        there = f[n] + (moved - z[n]) @ basis[1].C_pinv
        assert str(int(model.layers[2](model.layers[1](there)).argmax())) == one["after"] != one["before"]


def test_two_features_when_one_is_not_enough():
    """A threshold that only both together reach: the closed form of the least sum of squares."""
    x = random(400, 2, seed=5).clamp(-1, 1)
    x[0] = 0.0
    x = torch.cat([x, -x])  # a mean of exactly 0
    chain = libasis.Chain([lambda a: a @ torch.tensor([[2.0], [1.0]], dtype=F64)], ["x", "output"])
    basis = libasis.fit(chain, [x], "neuron", progress=False)
    deviation = x.std(0, unbiased=False)
    found = local.counterfactual(chain, basis, [x], "x", 0, threshold=2.5, samples=[0], progress=False).found[0]
    assert found["before"] == "at most 2.5"
    assert found["after"] == "above 2.5"
    pull = torch.tensor([2.0, 1.0], dtype=F64) * deviation.square()
    least = 2.5 * pull / (pull * torch.tensor([2.0, 1.0], dtype=F64)).sum()
    if float(least.max()) > 1:  # cut off at the range, the rest by the other feature
        least = torch.tensor([1.0, 0.5], dtype=F64)
    steps = {change["feature"]: change["to"] - change["from"] for change in found["changes"]}
    assert [steps[i] for i in (0, 1)] == pytest.approx(least.tolist(), rel=1e-3)
    one = local.counterfactual(chain, basis, [x], "x", 0, threshold=2.5, samples=[0], most=1, progress=False)
    assert one.found[0]["after"] is None
    none = local.counterfactual(chain, basis, [x], "x", 0, threshold=3.5, samples=[0], progress=False)
    assert none.found[0]["after"] is None
    assert "none found within the range" in repr(none)
    assert none.rows() == [
        {
            **{key: none.found[0][key] for key in ("sample", "before", "after", "margin", "distance")},
            **dict.fromkeys(("feature", "label", "from", "to", "sd", "low", "high")),
        }
    ]


def test_a_pocket_is_found_that_no_derivative_shows():
    """One feature alone flips only in the middle of its range, and the derivative there is 0."""
    x = random(300, 2, seed=2)
    x[0] = torch.tensor([-2.0, 0.0], dtype=F64)
    chain = libasis.Chain([lambda a: ((a[:, :1] - 0.5).abs() < 0.3).to(a) - 0.5 + 0 * a[:, 1:]], ["x", "output"])
    basis = libasis.fit(chain, [x], "neuron", progress=False)
    found = local.counterfactual(chain, basis, [x], "x", 0, samples=0, progress=False).found[0]
    assert found["after"] == "above 0"
    assert found["changes"][0]["to"] + float(basis[0].mean[0]) == pytest.approx(0.2, abs=1e-4)


def test_the_class_asked_for_the_features_allowed_and_the_range_observed(linear):
    model, x, traced, basis = linear
    classes = model(x).argmax(1)
    wanted = int(classes[1:].mode().values)
    found = local.counterfactual(traced, basis, [x], "layers.1:in", to=wanted, features=[0, 1], progress=False)
    for one, own in zip(found.found, classes.tolist(), strict=True):
        assert one["after"] in (None, str(wanted))
        if own == wanted:
            assert (one["after"], one["distance"], one["changes"]) == (str(wanted), 0.0, [])
        assert {change["feature"] for change in one["changes"]} <= {0, 1}
    near = x.mean(0) + 1e-3 * (x - x.mean(0))
    narrow = local.counterfactual(traced, basis, [x], "layers.1:in", samples=[0], observed=[near], progress=False)
    for change in narrow.found[0]["changes"]:
        assert change["low"] <= change["to"] <= change["high"]


def test_tokens_and_positions_that_do_not_count():
    model, ids = TRANSFORMER_CASE.model(), torch.cat(TRANSFORMER_CASE.batches())
    ids[:, 0], ids[1, 3:] = 5, 0
    traced = libasis.trace(model, ids, list(TRANSFORMER_CASE.sites), mask=lambda args: args[0] > 0)
    basis = libasis.fit(traced, [ids], progress=False)
    one, two = (
        local.counterfactual(traced, basis, batches, "blocks.1.hook_pre", samples=[1, 4], progress=False)
        for batches in ([ids], ids.split(3))
    )
    for a, b in zip(one.found, two.found, strict=True):
        assert (a["sample"], a["before"], a["after"]) == (b["sample"], b["before"], b["after"])
        assert a["distance"] == pytest.approx(b["distance"], rel=1e-5)
    assert one.found[0]["after"] is not None


def test_of_a_table_the_change_is_told_in_units():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).to(F64).eval()
    x = random(60, 3)
    traced = libasis.trace(model, x, ["0:in", "2:in", "output"])
    basis = libasis.fit(traced, [x], progress=False)
    show = local.Show(columns=["heat", "flow", "load"], outputs=["good", "bad"], standardiser=([300, 2, 5], [10, 1, 2]))
    found = local.counterfactual(traced, basis, [x], "0:in", samples=range(8), show=show, progress=False)
    one = next(one for one in found.found if one["after"])
    assert {one["before"], one["after"]} == {"good", "bad"}
    changed = {entry["column"]: entry for entry in one["inputs"]}
    own = x[one["sample"]] * torch.tensor([10, 1, 2], dtype=F64) + torch.tensor([300, 2, 5], dtype=F64)
    for i, name in enumerate(show.columns):
        if name in changed:
            assert changed[name]["from"] == pytest.approx(float(own[i]))
            own[i] = changed[name]["to"]
    raw = (own - torch.tensor([300, 2, 5], dtype=F64)) / torch.tensor([10, 1, 2], dtype=F64)
    assert ["good", "bad"][int(model(raw).argmax())] == one["after"]


def test_it_is_saved_and_comes_back(linear, tmp_path):
    _, x, traced, basis = linear
    found = local.counterfactual(traced, basis, [x], "layers.1:in", samples=[0, 2], progress=False)
    back = libasis.load(found.save(tmp_path / "one"))
    assert type(back) is local.Counterfactuals
    assert back.rows() == found.rows()
    assert set(back.to_dataframe()["sample"]) == {0, 2}


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"most": 0}, OptionError, "most is 0"),
        ({"to": 5}, OptionError, "to is 5, but the model has the classes 0 to 2"),
        ({"to": 1, "output": 0}, OptionError, "decides by a threshold and has no classes"),
        ({"features": [9]}, OptionError, r"features is '\[9\]'"),
        ({"features": []}, OptionError, "features is"),
        ({"threshold": math.nan}, OptionError, "threshold is nan"),
        ({"observed": "one"}, BatchError, "No feature of 'layers.1:in' varies"),
    ],
)
def test_what_is_no_question_is_told(linear, options, error, said):
    _, x, traced, basis = linear
    if options.get("observed") == "one":
        options = {"observed": [x[:1]]}
    with pytest.raises(error, match=said):
        local.counterfactual(traced, basis, [x], "layers.1:in", progress=False, **options)
