"""Contributions: known answers, brute force, and that they add up or say so."""

import logging

import pytest
import torch
from torch import nn

import chains
import libasis
from ablation.setting import Setting
from chains import F64, random
from libasis import local
from libasis.errors import BatchError, OptionError
from models import TRANSFORMER_CASE


@pytest.fixture(scope="module")
def linear():
    torch.manual_seed(0)
    model = chains.Linear3().to(F64).eval()
    x = random(30, 5) @ random(5, 5, seed=1)
    sites = ["layers.0:in", "layers.1:in", "layers.2:in", "output"]
    traced = libasis.trace(model, x, sites)
    return model, x, traced, libasis.fit(traced, [x], progress=False)


def weights(model, basis):
    """What a feature of the second site adds to each output, per unit."""
    return (basis[1].C_pinv @ (model.layers[2].weight @ model.layers[1].weight).T).detach()


@pytest.mark.parametrize("baseline", ["mean", "zero", 4, "batches"])
def test_of_a_linear_model_they_are_weight_times_move(linear, baseline):
    model, x, traced, basis = linear
    given = [x[:10]] if baseline == "batches" else baseline
    found = local.contributions(traced, basis, [x], "layers.1:in", 1, baseline=given, progress=False)
    f = model.layers[0](x).detach()
    z = basis[1].encode(f)
    base = {"mean": torch.zeros_like(z[0]), "zero": basis[1].encode(torch.zeros_like(f[0])), 4: z[4]}
    base["batches"] = z[:10].mean(0)
    expected = (z - base[baseline]) * weights(model, basis)[:, 1]
    torch.testing.assert_close(found.contributions, expected, rtol=1e-9, atol=1e-12)
    change = found.contributions.sum(1) + found.outside
    torch.testing.assert_close(found.change, change, rtol=1e-9, atol=1e-12)
    assert (found.nodes == 16 * found.info["baselines"]).all()
    assert float(found.missing.max()) < 1e-6
    assert found.output == "output 1"


def test_what_the_basis_leaves_out_counts_too(linear):
    model, x, traced, _ = linear
    basis = libasis.fit(traced, [x], "pca", truncation="relative:0.2", progress=False)
    assert basis[1].k < basis[1].d
    found = local.contributions(traced, basis, [x], "layers.1:in", 0, progress=False)
    f = model.layers[0](x).detach()
    rest = (f - basis[1].mean) - basis[1].encode(f) @ basis[1].C_pinv
    through = (model.layers[2].weight @ model.layers[1].weight)[0].detach()
    torch.testing.assert_close(found.outside, rest @ through, rtol=1e-9, atol=1e-12)
    assert float(found.outside.abs().max()) > 0.01
    assert float(found.residual.abs().max()) < 1e-12


def test_they_are_integrated_gradients_by_brute_force():
    setting = Setting("mlp", "lib", masked=True)
    found = local.contributions(setting.traced, setting.basis, [setting.x], "s0", ("s1", 2), n_steps=64, progress=False)
    site, after = setting.basis[0], setting.basis[1]
    x, counted = setting.x, setting.counted
    start = torch.where(counted[..., None], site.mean.expand_as(x), x)
    total = torch.zeros(len(x), site.k, dtype=F64)
    steps = 400
    for step in range(steps):
        point = (start + (step + 0.5) / steps * (x - start)).requires_grad_()
        z = (setting.sections[0](point) - after.mean) @ after.C[:, 2]
        (z * counted / counted.sum(1, keepdim=True)).sum().backward()
        total += ((point.grad @ site.C_pinv.T) * ((x - start) @ site.C)).sum(1) / steps
    torch.testing.assert_close(found.contributions, total, rtol=1e-3, atol=1e-4)
    assert found.output == "feature s1:2"


@pytest.mark.parametrize("masked", [False, True])
def test_parts_of_the_data_make_no_difference(masked):
    setting = Setting("attention", "lib", masked)
    found = [
        local.contributions(setting.traced, setting.basis, setting.x.split(size), "s0", memory=memory, progress=False)
        for size, memory in ((40, 2**30), (17, 2**18))
    ]
    for name in ("samples", "scores", "baseline_scores", "contributions", "outside", "moved", "nodes"):
        torch.testing.assert_close(getattr(found[0], name), getattr(found[1], name), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(torch.stack(found[0].places), torch.stack(found[1].places))


def relu():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3)).to(F64).eval()
    x = random(25, 4, seed=3)
    traced = libasis.trace(model, x, ["0:in", "2:in", "output"])
    return model, x, traced, libasis.fit(traced, [x], progress=False)


def test_kinks_take_more_nodes_and_the_call_says_so(caplog):
    _, x, traced, basis = relu()
    with caplog.at_level(logging.WARNING, "libasis"):
        found = local.contributions(traced, basis, [x], "0:in", 0, n_steps=2, progress=False)
    assert "missed more than 1% of the change" in caplog.text
    assert int(found.nodes.max()) > 2
    assert float(found.missing.max()) <= 0.01
    miss = (found.residual / found.change).abs()
    cancel = found.contributions.abs().sum(1) > 100 * found.change.abs()
    assert float(miss[~cancel].max()) <= 0.01 + 1e-9
    rows = {row["part"]: row["contribution"] for row in found.rows()}
    assert rows["residual"] == pytest.approx(float(found.residual.mean()))
    assert f"{rows['residual']:.2g}" in repr(found)


class Jump(nn.Module):
    def forward(self, x):
        return (x > 0.3).to(x.dtype) + 0 * x


def test_a_jump_is_refused_in_one_sentence():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), Jump(), nn.Linear(5, 2)).to(F64).eval()
    x = random(12, 4)
    traced = libasis.trace(model, x, ["0:in", "2:in", "output"])
    basis = libasis.fit(traced, [x], "pca", progress=False)
    with pytest.raises(OptionError, match=r"sample \d+ miss \d+\.\d% of its change, with \d+ nodes: the model jumps"):
        local.contributions(traced, basis, [x], "0:in", 0, progress=False)


def test_a_metric_and_the_samples_asked_for(linear):
    model, x, traced, basis = linear
    batches = [(x[:12], torch.arange(12) % 3), (x[12:], torch.arange(18) % 3)]
    found = local.contributions(traced, basis, batches, "layers.2:in", "cross_entropy", samples=[20, 3], progress=False)
    assert found.samples.tolist() == [3, 20]
    loss = nn.functional.cross_entropy(model(x[[3, 20]]), torch.tensor([0, 8 % 3]), reduction="none")
    torch.testing.assert_close(found.scores, loss.detach(), rtol=1e-9, atol=1e-12)

    def margin(outputs, targets):
        return outputs[:, 0] - outputs[:, 1]

    found = local.contributions(traced, basis, batches, "layers.2:in", margin, progress=False)
    through = (model.layers[2].weight[0] - model.layers[2].weight[1]).detach()
    z = basis[2].encode(model.layers[1](model.layers[0](x)).detach())
    torch.testing.assert_close(found.contributions, z * (basis[2].C_pinv @ through), rtol=1e-9, atol=1e-12)


def test_of_tokens_the_last_that_counts_is_explained_and_places_add_up():
    model, ids = TRANSFORMER_CASE.model(), torch.cat(TRANSFORMER_CASE.batches())
    ids[:, 0] = 5
    ids[2, 3:] = 0
    traced = libasis.trace(model, ids, list(TRANSFORMER_CASE.sites), mask=lambda args: args[0] > 0)
    basis = libasis.fit(traced, [ids], progress=False)
    found = local.contributions(traced, basis, [ids], "blocks.1.hook_pre", progress=False)
    last = [max(t for t in range(5) if ids[n, t] > 0) for n in range(len(ids))]
    with torch.no_grad():
        outputs = torch.stack([model(ids)[n, t] for n, t in enumerate(last)])
    torch.testing.assert_close(found.scores, outputs.amax(1), rtol=1e-9, atol=1e-12)
    for n, places in enumerate(found.places):
        assert float(places.sum()) == pytest.approx(float(found.change[n]), rel=1e-2)
        assert (places[ids[n] == 0] == 0).all()
    assert found.shown[2]["content"]["tokens"] == [str(t) for t in ids[2].tolist()]


def test_a_model_of_fixed_batch_size():
    class Fixed(nn.Module):
        def forward(self, x):
            return x.reshape(8, 3, 2).relu().reshape(8, 6)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), Fixed(), nn.Linear(6, 3)).to(F64).eval()
    x = random(16, 6)
    traced = libasis.trace(model, x[:8], ["0:in", "2:in", "output"])
    assert traced.record(x[:8]).contexts[0].fixed_batch == 8
    basis = libasis.fit(traced, list(x.split(8)), progress=False)
    free = libasis.Chain([lambda a: model[0](a).relu(), model[2]], ["0:in", "2:in", "output"])
    one, two = (
        local.contributions(t, basis, list(x.split(8)), "0:in", 1, samples=range(3, 12), progress=False)
        for t in (traced, free)
    )
    torch.testing.assert_close(one.contributions, two.contributions, rtol=1e-9, atol=1e-12)


def test_it_is_saved_and_comes_back(linear, tmp_path):
    _, x, traced, basis = linear
    found = local.contributions(traced, basis, [x], "layers.1:in", progress=False)
    back = libasis.load(found.save(tmp_path / "one"))
    assert type(back) is local.Contributions
    assert back.rows() == found.rows()
    assert repr(back) == repr(found)
    assert back.info["seed"] == 0
    assert back.info["data"]["samples"] == 30
    assert list(back.to_dataframe().part)[-3:] == ["outside the basis", "residual", "change"]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"site": "fc"}, OptionError, "site is 'fc', but the sites are"),
        ({"output": 7}, OptionError, "output is 7, but the model has 3 outputs"),
        ({"output": -1}, OptionError, "output is -1"),
        ({"output": "accuracy"}, OptionError, "has no derivative"),
        ({"output": ("layers.0:in", 0)}, OptionError, "name a site behind 'layers.1:in'"),
        ({"output": ("output", 9)}, OptionError, "the feature 9 of 'output', which has 3"),
        ({"output": ("output", "a")}, OptionError, "a feature is a pair"),
        ({"samples": 99}, OptionError, "samples goes up to 99, but the data have 30"),
        ({"samples": [1, 1]}, OptionError, "none of them twice"),
        ({"samples": []}, OptionError, "samples is"),
        ({"baseline": "median"}, OptionError, "baseline is 'median'"),
        ({"baseline": 99}, OptionError, "baseline is sample 99, but the data have 30"),
        ({"baseline": None}, OptionError, "baseline is"),
        ({"position": 4}, OptionError, "position is 4, but there are 1"),
        ({"n_steps": 0}, OptionError, "n_steps is 0"),
        ({"output": "mse"}, BatchError, "needs targets"),
    ],
)
def test_what_is_no_question_is_told(linear, options, error, said):
    _, x, traced, basis = linear
    given = {"site": "layers.1:in", "output": 0, "progress": False, **options}
    with pytest.raises(error, match=said):
        local.contributions(traced, basis, [x], given.pop("site"), given.pop("output"), **given)
