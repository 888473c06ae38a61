"""Effects, ablations and controls."""

import pytest
import torch
from torch import nn

import libasis
from ablation.setting import Reshuffled, Setting, squared_error
from cards.collecting import approx, collect, linear, readout
from chains import F64, random
from libasis.cards.effects import random_units
from libasis.intervene import Intervention, intervene
from libasis.numerics import paired


def named(effects):
    return {e["output"]: e["effect"] for e in effects}


def test_effects_of_a_linear_model_follow_from_its_weights():
    model, x, traced, basis = linear()
    rest = [model.last.weight @ model.first.weight, model.last.weight, torch.eye(3, dtype=F64)]
    cards = collect(traced, basis, [x], features=None)
    for site, weight in zip(basis, rest, strict=True):
        for i in range(site.k):
            card = cards[f"{site.name}:{i}"]
            expected = weight.detach() @ site.C_pinv[i] * card["std"]
            assert named(card["effects"]) == approx({str(o): float(v) for o, v in enumerate(expected)})
            strengths = [abs(e["effect"]) for e in card["effects"]]
            assert strengths == sorted(strengths, reverse=True)
            for e in card["effects"]:  # the same for every sample
                assert (e["low"], e["high"]) == approx((e["effect"], e["effect"]), abs=1e-6)


def test_effects_are_means_over_samples_with_their_interval():
    model, x, traced, basis = readout()
    stats = pytest.importorskip("scipy.stats")
    cards = collect(traced, basis, [x[:7], x[7:]], effects=2)
    site = basis["first:in"]
    for i in range(site.k):
        card = cards[f"first:in:{i}"]
        with torch.no_grad():
            change = model(x + card["std"] * site.C_pinv[i]) - model(x)
        mean, error = change.mean(0), change.std(0) / 60**0.5
        width = stats.t.ppf(0.975, 59)
        best = mean.abs().argsort(descending=True)[:2].tolist()
        assert [e["output"] for e in card["effects"]] == [str(o) for o in best]
        for e in card["effects"]:
            o = int(e["output"])
            assert e["effect"] == approx(float(mean[o]))
            assert (e["low"], e["high"]) == approx(
                (float(mean[o] - width * error[o]), float(mean[o] + width * error[o]))
            )


def test_a_feature_moves_at_all_positions():
    model = nn.Sequential(nn.Linear(4, 3), nn.Flatten(), nn.Linear(15, 2)).to(F64).eval()
    x = random(20, 5, 4)
    traced = libasis.trace(model, x, ["input", "0:out", "output"])
    basis = libasis.fit(traced, [x], progress=False)
    cards = collect(traced, basis, [x])
    card, site = cards["input:1"], basis.sites[0]
    with torch.no_grad():
        expected = (model(x + card["std"] * site.C_pinv[1]) - model(x)).mean(0)
    assert named(card["effects"]) == approx({str(o): float(v) for o, v in enumerate(expected)})


def held(model, site, x, u):
    """The output with direction u of the standardised features held at its mean, by hand."""
    z = (x - site.mean) @ site.C
    mean, deviation = z.mean(0), z.std(0, correction=0)
    amount = ((z - mean) / deviation) @ u
    with torch.no_grad():
        return model(x - amount[:, None] * ((u * deviation) @ site.C_pinv))


@pytest.mark.parametrize("metric", ["mse", "accuracy", None])
def test_ablation_is_the_direct_computation(metric):
    model, x, traced, basis = readout()
    with torch.no_grad():
        base = model(x)
    targets = base.argmax(-1) * (torch.arange(60) % 4 > 0) if metric == "accuracy" else base + random(60, 3, seed=8)

    def scores(output):
        if metric == "accuracy":
            return (output.argmax(-1) == targets).double()
        return (output - (targets if metric else base)).square().mean(1)

    given = [(x, targets)] if metric else [x]
    cards = collect(traced, basis, given, metric=metric, seed=3, tested=2, controls=20)
    site = basis["first:in"]
    controls = [float((scores(held(model, site, x, u)) - scores(base)).mean()) for u in random_units(20, site.k, 3, 0)]
    order = site.importances.argsort(descending=True).tolist()
    for i in order[:2]:
        found = cards[f"first:in:{i}"]["ablation"]
        changes = scores(held(model, site, x, torch.eye(site.k, dtype=F64)[i])) - scores(base)
        expected = paired(changes)
        assert found["metric"] == (metric or "output_mse")
        assert found["base"] == approx(float(scores(base).mean()))
        assert found["change"] == approx(float(changes.mean()))
        assert found["without"] == approx(found["base"] + found["change"])
        assert (found["low"], found["high"]) == approx((expected.low, expected.high))
        assert found["control"] == approx(sum(controls) / 20)
        spread = torch.quantile(torch.tensor(controls, dtype=F64), torch.tensor([0.025, 0.975], dtype=F64))
        assert (found["control_low"], found["control_high"]) == approx(spread.tolist())
        assert found["controls"] == 20
    assert all(cards[f"first:in:{i}"]["ablation"] is None for i in order[2:])
    assert all(cards[f"output:{i}"]["ablation"] is None for i in range(3))


def test_random_directions_have_variance_one():
    _, x, _, basis = readout()
    site = basis.sites[0]
    z = site.encode(x)
    y = (z - z.mean(0)) / z.std(0, correction=0)
    units = random_units(50, site.k, 0, 0)
    assert (y @ units.T).var(0, correction=0) == pytest.approx(torch.ones(50, dtype=F64), abs=1e-6)
    assert torch.equal(units, random_units(50, site.k, 0, 0))
    assert not torch.equal(units, random_units(50, site.k, 0, 1))


class Planted(nn.Module):
    """Reads the first of twelve coordinates and nothing else."""

    def __init__(self, weights):
        super().__init__()
        self.hook, self.out = nn.Identity(), nn.Linear(len(weights), 2, bias=False)
        self.out.weight.data = torch.stack([weights, -weights])

    def forward(self, x):
        return self.out(self.hook(x))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("metric", ["accuracy", None])
def test_a_planted_direction_passes_and_an_irrelevant_one_does_not(metric, seed):
    weights = torch.zeros(12, dtype=F64)
    weights[0] = 1.0
    model = Planted(weights).to(F64).eval()
    x = random(400, 12, seed=seed)
    traced = libasis.trace(model, x, ["hook", "output"])
    basis = libasis.fit(traced, [x], "neuron", progress=False)
    with torch.no_grad():
        batches = [(x, model(x).argmax(-1))] if metric else [x]
    cards = collect(traced, basis, batches, metric=metric, seed=seed, controls=None)
    passed = {i: cards[f"hook:{i}"]["ablation"]["passed"] for i in range(12)}
    assert passed == {i: i == 0 for i in range(12)}
    for i in range(1, 12):
        assert cards[f"hook:{i}"]["ablation"]["change"] == approx(0.0)
        assert cards[f"hook:{i}"]["ablation"]["p"] == 1.0


def test_what_could_not_be_tested_is_a_result_of_its_own():
    """Too few random directions for the number of tests, and a site with no others to compare with."""
    weights = torch.zeros(12, dtype=F64)
    weights[0] = 1.0
    model, x = Planted(weights).to(F64).eval(), random(200, 12, seed=4)
    traced = libasis.trace(model, x, ["hook", "output"])
    basis = libasis.fit(traced, [x], "neuron", progress=False)
    found = collect(traced, basis, [x], controls=20)["hook:0"]["ablation"]
    assert (found["passed"], found["tested"]) == (False, False)
    assert found["reason"].endswith("20 random directions were run, none of which did as much, and 12 tests need 239")
    assert collect(traced, basis, [x], controls=239)["hook:0"]["ablation"]["passed"]

    model, x = Planted(torch.ones(2, dtype=F64)).to(F64).eval(), random(200, 2, seed=4)
    traced = libasis.trace(model, x, ["hook", "output"])
    basis = libasis.fit(traced, [x], "neuron", progress=False)
    found = collect(traced, basis, [x], controls=None)["hook:0"]["ablation"]
    assert (found["passed"], found["tested"]) == (False, False)
    assert "has 2 directions that vary" in found["reason"]


def test_random_directions_end_where_ten_did_as_much():
    """The output is the input: every direction does as much as any other."""
    x = random(100, 8, seed=1)
    model = nn.Sequential(nn.Identity(), nn.Linear(8, 8)).to(F64).eval()
    model[1].weight.data = torch.linalg.qr(random(8, 8, seed=1))[0]
    traced = libasis.trace(model, x, ["0", "output"])
    basis = libasis.fit(traced, [x], "neuron", progress=False)
    found = collect(traced, basis, [x], controls=5000)["0:0"]["ablation"]
    assert 20 <= found["controls"] < 5000
    assert found["p"] > 0.05


def test_no_direction_passes_where_all_are_alike():
    """The output is the input: each direction matters as much as any other, and each change is far from 0."""
    failures = 0
    for seed in range(10):
        x = random(100, 8, seed=seed)
        model = nn.Sequential(nn.Identity(), nn.Linear(8, 8)).to(F64).eval()
        model[1].weight.data = torch.linalg.qr(random(8, 8, seed=seed))[0]
        traced = libasis.trace(model, x, ["0", "output"])
        basis = libasis.fit(traced, [x], "neuron", progress=False)
        cards = collect(traced, basis, [x], seed=seed)
        ablations = [cards[f"0:{i}"]["ablation"] for i in range(8)]
        assert all(a["low"] > 0 for a in ablations)
        failures += any(a["passed"] for a in ablations)
    assert failures <= 1


def test_the_p_values_are_corrected_for_their_number():
    model, x, traced, basis = readout()
    few, many = (collect(traced, basis, [x], tested=n) for n in (1, 6))
    first = f"first:in:{int(basis.sites[0].importances.argmax())}"
    assert few[first]["ablation"]["change"] == approx(many[first]["ablation"]["change"])
    assert few[first]["ablation"]["p"] <= many[first]["ablation"]["p"]


def test_samples_are_drawn_at_random_and_the_same_again():
    _, x, traced, basis = readout()
    one, again, other = (collect(traced, basis, [x], samples=10, seed=s) for s in (1, 1, 2))
    effects = [named(c["first:in:0"]["effects"]) for c in (one, again, other)]
    assert effects[0] == effects[1] != effects[2]
    assert one.info["effects"]["samples"] == 10
    whole = collect(traced, basis, [x])
    assert one["first:in:0"]["mean"] == approx(whole["first:in:0"]["mean"])  # the pass sees all


def test_token_targets_are_counted_by_sample():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 7)).to(F64).eval()
    ids = torch.randint(7, (20, 6))
    targets = ids.roll(-1, 1)
    targets[:, -1] = -100
    targets[3] = -100
    traced = libasis.trace(model, ids, ["1:in", "output"])
    basis = libasis.fit(traced, [ids], progress=False)
    found = collect(traced, basis, [(ids, targets)], metric="cross_entropy")["1:in:0"]["ablation"]
    counted = targets >= 0

    def scores(x):
        with torch.no_grad():
            return nn.functional.cross_entropy(model[1](x)[counted], targets[counted], reduction="none")

    with torch.no_grad():
        x = model[0](ids)
    site = basis.sites[0]
    z = (x - site.mean) @ site.C
    without = x - (z[..., :1] - z[..., 0].mean()) * site.C_pinv[0]
    assert found["base"] == approx(float(scores(x).mean()))
    assert found["change"] == approx(float((scores(without) - scores(x)).mean()))
    assert found["low"] < found["change"] < found["high"]


def test_without_a_fitting_metric_the_output_itself_is_compared():
    _, x, traced, basis = readout()
    cards = collect(traced, basis, [(x, torch.arange(60).view(20, 3).repeat(3, 1))])
    assert cards.info["ablation"]["metric"] == "output_mse"
    assert "do not fit" in cards.info["ablation"]["why"]
    assert cards["first:in:0"]["ablation"]["base"] == 0.0


def test_where_there_is_one_feature_nothing_passes():
    """Every control is that feature again."""
    model = nn.Sequential(nn.Identity(), nn.Linear(1, 2)).to(F64).eval()
    x = random(50, 1)
    traced = libasis.trace(model, x, ["0", "output"])
    found = collect(traced, libasis.fit(traced, [x], progress=False), [x])["0:0"]["ablation"]
    assert found["change"] == approx(found["control"])
    assert not found["passed"]


def test_another_choice_of_coordinates_changes_no_ablation():
    """The controls are defined by the features: f -> f A with the section adjusted leaves them as they are."""
    model, x, _, _ = readout()
    turn = random(6, 6, seed=30)
    other = nn.Sequential(nn.Identity(), *[nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)]).to(F64).eval()
    other[1].weight.data = model.first.weight.data @ torch.linalg.inv(turn).T
    other[1].bias.data, other[3].weight.data, other[3].bias.data = (
        model.first.bias.data, model.last.weight.data, model.last.bias.data
    )  # fmt: skip
    found = []
    for net, site, data in ((model, "first:in", x), (other, "1:in", x @ turn)):
        traced = libasis.trace(net, data, [site, "output"])
        cards = collect(traced, libasis.fit(traced, [data], progress=False), [data])
        found.append([cards[f"{site}:{i}"]["ablation"]["change"] for i in range(3)])
    assert found[0] == approx(found[1], rel=1e-6)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("metric", ["accuracy", squared_error])
def test_without_a_feature_is_one_number_everywhere(metric, kept):
    """On a card, in an ablation of nodes, and as an intervention; under a mask, on other data than those of the fit.

    The basis is complete, so that all but the least important feature of a site is that feature at its mean.
    """
    setting = Setting("attention", "pca", masked=True)
    test = Reshuffled(setting.x[:25], setting.targets_of(metric)[:25])
    test = libasis.keep(setting.traced, test) if kept else test
    nodes = libasis.ablate_nodes(setting.traced, setting.basis, test, metric, schedule=[5], progress=False)
    for site in setting.basis.sites[:-1]:
        i = int(site.importances.argmin())
        asked = Intervention(site.name, [i])
        found = intervene(setting.traced, setting.basis, test, asked, metric, progress=False)
        card = collect(setting.traced, setting.basis, test, metric=metric, features={site.name: i})[f"{site.name}:{i}"]
        assert card["ablation"]["without"] == approx(nodes.curves[site.name][5])
        assert card["ablation"]["without"] == approx(float(found.scores[0] @ found.counts / found.counts.sum()))
        assert card["ablation"]["base"] == approx(nodes.base_score)
        basis, x = site, setting.activation(setting.basis.sites.index(site))
        without = x - ((x - basis.mean) @ basis.C[:, i])[..., None] * basis.C_pinv[i]
        output = setting.replaced(setting.basis.sites.index(site), without)[:25]
        if metric is squared_error:
            assert card["ablation"]["without"] == approx(float(squared_error(output, setting.targets[:25]).mean()))


def test_a_metric_of_one_score_per_sample_works_with_targets_of_minus_100():
    """As it does in the ablation of nodes."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 7)).to(F64).eval()
    ids = torch.randint(7, (20, 6))
    targets = ids.roll(-1, 1)
    targets[:, 2:] = -100
    traced = libasis.trace(model, ids, ["1:in", "output"])
    basis = libasis.fit(traced, [ids], "pca", progress=False)

    def score(outputs, targets):
        counted = targets >= 0
        return ((outputs.argmax(-1) == targets) & counted).sum(1) / counted.sum(1)

    found = collect(traced, basis, [(ids, targets)], metric=score)["1:in:4"]["ablation"]
    nodes = libasis.ablate_nodes(traced, basis, [(ids, targets)], score, schedule=[4], per_sample=True, progress=False)
    assert found["base"] == approx(nodes.base_score)
    assert found["without"] == approx(nodes.curves["1:in"][4])
    assert nodes.per_sample.counts.tolist() == [1.0] * 20
