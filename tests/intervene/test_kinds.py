"""What each kind of intervention puts in place of features, against its definition."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import libasis
from ablation.setting import Setting, squared_error
from chains import F64, SECTIONS, random
from libasis.errors import BatchError, OptionError
from libasis.intervene import Intervention, Place, intervene, kind
from libasis.intervene.donors import Donors
from libasis.intervene.registry import KINDS
from libasis.measure import Records, measure
from libasis.types import Activations

CASES = [*SECTIONS, "pointwise", "causal"]


def run(setting, interventions, metric=squared_error, batches=None, **options):
    batches = batches or setting.batches(metric, (13, 27))
    return intervene(setting.traced, setting.basis, batches, interventions, metric, progress=False, **options)


def at(setting, site):
    """Number of a site, its basis, its activation and features, and which positions count there."""
    number = [s.name for s in setting.basis].index(site)
    basis, x = setting.basis.sites[number], setting.activation(number)
    counted = setting.counted if x.shape[1] == setting.counted.shape[1] else torch.ones(x.shape[:2], dtype=torch.bool)
    return number, basis, x, (x - basis.mean) @ basis.C, counted


def donors(n, seed):
    """Who takes values from whom: the next one in the order of chance."""
    order = np.random.default_rng((seed, 2)).random(n).argsort()
    return dict(zip(order.tolist(), np.roll(order, -1).tolist(), strict=True))


def given(values, counted, donor_of):
    """Values of the donors at the counted positions, in their order, again from the start where there are fewer."""
    out = values.clone()
    for sample, donor in donor_of.items():
        own, places = values[donor][counted[donor]], counted[sample].nonzero()[:, 0]
        out[sample, places] = own[torch.arange(len(places)) % len(own)]
    return out


def mean(site, x, z, counted, i):
    return torch.zeros_like(z[..., i])


def zero(site, x, z, counted, i):
    return (-site.mean @ site.C)[i].expand_as(z[..., i])


def resample(site, x, z, counted, i):
    return given(z, counted, donors(len(z), 7))[..., i]


def swap(site, x, z, counted, i):
    return given(z, counted, dict.fromkeys(range(len(z)), 4))[..., i]


def fixed(site, x, z, counted, i):
    return torch.tensor([1.5, -2.0], dtype=F64).expand_as(z[..., i])


def quantile(site, x, z, counted, i):
    return torch.quantile(z[counted][:, i], 0.8, dim=0).expand_as(z[..., i])


def shift(site, x, z, counted, i):
    return z[..., i] - 0.5 * z[counted][:, i].std(0, correction=0)


TO = {
    "mean": (mean, {}),
    "zero": (zero, {}),
    "resample": (resample, {"seed": 7}),
    "swap": (swap, {"donors": 4}),
    "set": (fixed, {"value": [1.5, -2.0]}),
    "set a quantile": (quantile, {"to": "set", "value": "q0.8"}),
    "shift": (shift, {"value": -0.5}),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("to", TO)
@pytest.mark.parametrize("method", ["lib", "pca", "neuron"])
@pytest.mark.parametrize("name", CASES)
def test_features_are_replaced_together_and_the_rest_stays(name, method, to, masked):
    setting = Setting(name, method, masked)
    define, options = TO[to]
    sites, features = [s.name for s in setting.basis.sites[:-1]], [3, 1]
    asked = [Intervention(site, features, **{"to": to, **options}) for site in sites]
    found = run(setting, asked)
    for site, scores in zip(sites, found.scores, strict=True):
        number, basis, x, z, counted = at(setting, site)
        change = define(basis, x, z, counted, features) - z[..., features]
        output = setting.replaced(number, x + change @ basis.C_pinv[features])
        torch.testing.assert_close(scores, squared_error(output, setting.targets), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.base, squared_error(setting.output, setting.targets), rtol=1e-12, atol=0)
    assert (found.scores - found.base).abs().amax() > 1e-3


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("fill", [None, "mean", "zero", "resample"])
@pytest.mark.parametrize("name", CASES)
def test_only_some_features_are_kept(name, fill, masked):
    """What the basis leaves out is replaced too."""
    setting = Setting(name, "lib", masked)
    found = run(setting, [Intervention("s0" if name in SECTIONS else "input", [2, 0], "keep_only", fill, seed=7)])
    basis, x, z, counted = at(setting, found.interventions[0].site)[1:]
    other = {"zero": zero, "resample": resample}.get(fill, mean)(basis, x, z, counted, list(range(basis.k))).clone()
    other[..., [0, 2]] = z[..., [0, 2]]
    output = setting.replaced(0, basis.mean + other @ basis.C_pinv)
    torch.testing.assert_close(found.scores[0], squared_error(output, setting.targets), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("to", ["mean", "zero", "resample", "keep_only"])
def test_positions_that_do_not_count_are_replaced_on_request(to):
    """Then donors give what they have at all positions."""
    setting = Setting("attention", "pca", masked=True)
    found = run(setting, [Intervention("s0", [1], to, where=where, seed=7) for where in ("counted", "all")])
    basis, x, z, counted = at(setting, "s0")[1:]
    every = torch.ones_like(counted)
    if to == "keep_only":
        new = basis.mean + z[..., [1]] @ basis.C_pinv[[1]]
    else:
        value = {"mean": mean, "zero": zero, "resample": resample}[to](basis, x, z, every, [1])
        new = x + (value - z[..., [1]]) @ basis.C_pinv[[1]]
    torch.testing.assert_close(found.scores[1], squared_error(setting.rest(new, 0), setting.targets), rtol=1e-9, atol=0)
    assert (found.scores[0] - found.scores[1]).abs().amax() > 1e-3


# directions


@pytest.mark.parametrize("method", ["lib", "pca"])
@pytest.mark.parametrize("to", ["mean", "resample", "shift", "set", "keep_only"])
def test_the_direction_of_a_feature_is_the_feature(method, to):
    setting = Setting("mlp", method, masked=True)
    options = {"to": to, "value": 1.5 if to in ("shift", "set") else None}
    rows = setting.basis[0].C_pinv[[2, 0]]
    found = run(setting, [Intervention("s0", [2, 0], **options), Intervention("s0", directions=rows, **options)])
    torch.testing.assert_close(found.scores[0], found.scores[1], rtol=1e-8, atol=1e-10)


def test_without_a_direction_the_rest_is_uncorrelated_with_it():
    setting, seen = Setting("mlp", "pca"), []

    def look(outputs, _):
        return torch.zeros(len(outputs))

    basis, x, V = setting.basis[0], setting.x, random(2, 6, seed=4)
    first, second = setting.sections
    chain = libasis.Chain([lambda a: seen.append(a) or first(a), second], ["s0", "s1", "output"])
    intervene(chain, setting.basis, [x], [Intervention("s0", directions=V)], look, progress=False)
    rest, given_up = seen[-1] - basis.mean, x - seen[-1]
    amounts = torch.linalg.lstsq(V.T, given_up.flatten(0, 1).T).solution
    torch.testing.assert_close(V.T @ amounts, given_up.flatten(0, 1).T)  # nothing else was taken
    assert (rest.flatten(0, 1).T @ amounts.T / amounts.shape[1]).abs().amax() < 1e-9


def test_directions_that_cannot_be_told_apart_are_refused():
    setting = Setting("mlp", "pca")
    for V in (torch.ones(2, 6), torch.ones(7, 6)):
        with pytest.raises(OptionError, match="depend on each other, or one of them lies outside"):
            run(setting, [Intervention("s0", directions=V)])
    narrow = libasis.Basis((own("s0", 6, 2), *setting.basis.sites[1:]), "pca")
    with pytest.raises(OptionError, match="lies outside of what the basis keeps"):
        intervene(
            setting.traced, narrow, setting.batches("mse"), Intervention("s0", directions=torch.eye(6)[5:]), "mse"
        )


def own(name, d, k):
    """The first coordinates of a site, of mean 0."""
    ones = torch.ones(k, dtype=F64)
    return libasis.SiteBasis(name, torch.zeros(d), torch.eye(d, k).double(), torch.eye(k, d).double(), ones, ones)


# donors


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("to", ["resample", "swap", "set", "shift", "keep_only"])
def test_batches_their_order_and_memory_do_not_matter(to, masked):
    setting = Setting("attention", "lib", masked)
    options = {"swap": {"donors": [3, 8, 30]}, "set": {"value": "q0.3"}, "shift": {"value": 2}}.get(to, {})
    value = {"value": "resample"} if to == "keep_only" else {}
    asked = [Intervention(site, [0, 1], to, seed=3, **options, **value) for site in ("s0", "s1")]
    one = run(setting, asked)
    for memory in (1, 2**30):
        for batches in (setting.batches("mse", (40,)), setting.batches("mse", (1,) * 40), setting.reshuffled("mse")):
            other = run(setting, asked, batches=batches, memory=memory)
            torch.testing.assert_close(other.scores, one.scores, rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(other.base, one.base, rtol=1e-10, atol=1e-12)


def test_donors_do_not_depend_on_what_else_is_asked_for():
    setting = Setting("mlp", "lib")
    asked = [
        Intervention("s0", [0], "resample"),
        Intervention("s1", [2, 1], "resample"),
        Intervention("s0", [1], "set", "q0.5"),
    ]
    together = run(setting, asked)
    for one, scores in zip(asked, together.scores, strict=True):
        torch.testing.assert_close(run(setting, [one]).scores[0], scores, rtol=1e-12, atol=0)


def test_no_sample_is_its_own_donor_and_each_donor_serves_one():
    n = 25
    x = torch.arange(n, dtype=F64)[:, None, None] + 1
    seen = []
    chain = libasis.Chain([lambda a: seen.append(a) or a, lambda a: a], ["a", "b", "output"])
    basis = libasis.Basis(tuple(own(name, 1, 1) for name in ("a", "b", "output")), "neuron")
    found = []
    for seed in range(3):
        seen.clear()
        intervene(chain, basis, [x], [Intervention("a", [0], "resample", seed=seed)], "output_mse", progress=False)
        taken = seen[-1].flatten()
        assert sorted(taken.tolist()) == x.flatten().tolist()
        assert not (taken == x.flatten()).any()
        found.append(taken.tolist())
    assert len(set(map(tuple, found))) == 3


def test_more_donors_than_there_is_room_for():
    """A part of the samples, drawn by seed and number, serves all; no sample is its own donor either."""
    setting = Setting("mlp", "lib")
    size = 8 * setting.x.shape[1] * sum(site.d for site in setting.basis)

    def drawn(batches, room):
        donors = Donors([0], 0, room=room)
        return measure(Records.of(setting.traced, batches, 1, progress=False), donors, "")

    few = drawn(setting.batches("mse"), 20 * size + size // 2)
    lowest = np.random.default_rng((0, 2)).random(40).argsort()
    assert [number for number, _ in few.draw.items()] == sorted(lowest[:20])
    everyone = torch.arange(40)
    chosen = torch.tensor(sorted(lowest[:20]))[few.of(everyone)]
    assert not (chosen == everyone).any()
    assert len(set(chosen.tolist())) == 20
    torch.testing.assert_close(few.vectors(3, 0), setting.x[sorted(lowest[:20])[3]])
    for batches in (setting.batches("mse", (1,) * 40), setting.reshuffled("mse")):
        again = drawn(batches, 20 * size + size // 2)
        assert torch.equal(again.of(everyone), few.of(everyone))
        assert again.draw.items()[7][0] == few.draw.items()[7][0]
    assert len(drawn(setting.batches("mse"), 1)) == 16  # whatever their size
    assert len(drawn(setting.batches("mse"), 2**28)) == 40


def test_values_of_other_samples_than_those_of_the_data():
    setting = Setting("mlp", "lib")
    stranger = setting.x[:1] + 0.3
    found = run(setting, [Intervention("s0", [0], "swap", donors=[stranger])])
    basis, x, z, _ = at(setting, "s0")[1:]
    change = ((stranger - basis.mean) @ basis.C)[..., [0]] - z[..., [0]]
    output = setting.rest(x + change @ basis.C_pinv[[0]], 0)
    torch.testing.assert_close(found.scores[0], squared_error(output, setting.targets), rtol=1e-9, atol=0)


def test_donors_that_are_not_there_are_told():
    setting = Setting("mlp")
    with pytest.raises(OptionError, match=r"donors names the samples \[40, 77\], but the data have 40"):
        run(setting, [Intervention("s0", [0], "swap", donors=[3, 77, 40])])
    with pytest.raises(BatchError, match="1 samples with a counted position are there"):
        run(setting, [Intervention("s0", [0], "resample")], batches=setting.batches("mse", (1,)))


# kinds


def test_a_kind_is_one_function():
    """Word for word what CONTRIBUTING.md shows."""
    guide = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if '@kind("clip"' in b]
    exec(block, {"kind": kind, "Place": Place, "Activations": Activations})
    try:
        setting = Setting("attention", "lib", masked=True)
        found = run(setting, [Intervention("s0", [1], to="clip", value=0.5)])
        basis, x, z, counted = at(setting, "s0")[1:]
        most = 0.5 * float(z[counted][:, 1].std(correction=0))
        output = setting.replaced(0, x + (z[..., [1]].clamp(-most, most) - z[..., [1]]) @ basis.C_pinv[[1]])
        torch.testing.assert_close(found.scores[0], squared_error(output, setting.targets), rtol=1e-9, atol=0)
    finally:
        del KINDS["clip"]
