"""The laws of node ablation."""

import pytest
import torch

import libasis
from ablation.setting import CASES, Setting, Unread, squared_error
from libasis.errors import BatchError, OptionError


def ablate(setting, metric=squared_error, sizes=(40,), basis=None, **options):
    batches = setting.batches(metric, sizes)
    return libasis.ablate_nodes(setting.traced, basis or setting.basis, batches, metric, progress=False, **options)


@pytest.mark.parametrize("method", ["pca", "neuron"])
@pytest.mark.parametrize("name", ["mlp", "attention", "pooled"])
def test_with_all_features_of_a_complete_basis_nothing_changes(name, method):
    setting = Setting(name, method)
    exact, close = ablate(setting, "accuracy"), ablate(setting)
    direct = (setting.output.argmax(-1) == setting.classes).double().mean()
    assert exact.base_score == pytest.approx(float(direct), rel=1e-12)
    assert exact.base_score < 1
    assert close.base_score == pytest.approx(setting.error(setting.output), rel=1e-12)
    for site in setting.basis.sites[:-1]:
        assert site.k == site.d
        assert exact.curves[site.name][site.k] == exact.base_score
        assert close.curves[site.name][site.k] == pytest.approx(close.base_score, rel=1e-10)


def replaced(features, site, how, seed):
    """What stands in the place of a feature that is not kept, by definition."""
    if how == "mean":
        return torch.zeros_like(features)
    if how == "zero":  # the activation 0, in features
        return (-site.mean @ site.C).expand_as(features)
    shift = int(torch.randint(1, len(features), (), generator=torch.Generator().manual_seed(seed)))
    return features.roll(shift, 0)  # no sample keeps its own value


@pytest.mark.parametrize("how", ["mean", "zero", "resample"])
@pytest.mark.parametrize("method", ["lib", "neuron"])
@pytest.mark.parametrize("name", CASES)
def test_the_curve_is_the_direct_computation(name, method, how):
    setting = Setting(name, method)
    found = ablate(setting, replacement=how, seed=5)
    assert list(found.curves) == [site.name for site in setting.basis.sites[:-1]]
    for i, site in enumerate(setting.basis.sites[:-1]):
        features = (setting.activation(i) - site.mean) @ site.C
        other = replaced(features, site, how, seed=5)
        assert found.curves[site.name].counts == list(range(site.k + 1))
        for count, score in found.curves[site.name].items():
            kept = sorted(range(site.k), key=lambda f: -float(site.importances[f]))[:count]
            mixed = other.clone()
            mixed[..., kept] = features[..., kept]
            output = setting.rest(site.mean + mixed @ site.C_pinv, i)
            assert score == pytest.approx(setting.error(output), rel=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_neurons_keep_their_order(name):
    """Otherwise the test above would not see an ablation in the order of the coordinates instead of importance."""
    assert any((site.importances.diff() > 0).any() for site in Setting(name, "neuron").basis.sites[:-1])


def test_without_any_feature_the_output_is_that_of_the_mean():
    setting = Setting("mlp")
    output = setting.rest(setting.basis.sites[0].mean.expand_as(setting.x), 0)
    assert ablate(setting).curves["s0"][0] == pytest.approx(setting.error(output), rel=1e-10)


def test_without_the_constant_the_output_is_zero():
    setting = Setting("mlp")
    assert ablate(setting).without_constant == pytest.approx(float(setting.targets.square().mean()), rel=1e-12)


@pytest.mark.parametrize("how", ["mean", "zero"])
@pytest.mark.parametrize("metric", ["accuracy", squared_error])
def test_batches_do_not_matter(metric, how):
    setting = Setting("attention", "lib")
    truth = ablate(setting, metric, replacement=how)
    found = ablate(setting, metric, (1, 26, 13), replacement=how)
    assert found.samples == truth.samples == (120 if metric == "accuracy" else 40)
    for name, curve in truth.curves.items():
        assert dict(found.curves[name]) == pytest.approx(dict(curve), rel=1e-10)


def test_resampling_is_repeated_by_its_seed_and_leaves_the_random_state_alone():
    setting = Setting("mlp")
    state = torch.get_rng_state()
    one, two, other = (dict(ablate(setting, replacement="resample", seed=s).curves["s0"]) for s in (1, 1, 2))
    assert one == two != other
    assert torch.equal(torch.get_rng_state(), state)


def test_bisect_measures_only_what_it_needs():
    setting = Setting("mlp")
    full = ablate(setting, sites=["s0"])
    allowed = full.curves["s0"][4] - full.base_score + 1e-9
    curve = ablate(setting, sites=["s0"], schedule="bisect", max_drop=allowed).curves["s0"]
    assert dict(curve) == pytest.approx({count: full.curves["s0"][count] for count in curve})
    assert len(curve) < len(full.curves["s0"])
    found = min(count for count in curve if curve[count] - full.base_score <= allowed)
    assert found - 1 in curve  # the search ends beside a count that fails
    assert found <= 4


def test_a_loss_of_exactly_max_drop_is_allowed():
    """Eight samples in ten without ablation, seven with any; 0.8 - 0.7 is a little more than 0.1 in floats."""
    setting = Setting("mlp")

    def metric(outputs, _):
        return torch.arange(10) < (8 if torch.allclose(outputs, setting.output[:10]) else 7)

    found = ablate(setting, metric, (10,), sites=["s0"], schedule="bisect", max_drop=0.1)
    assert dict(found.curves["s0"]) == {0: 0.7, 2: 0.7, 6: 0.8}  # asked: 6, then 2, then 0; all pass


def test_a_graph_is_as_good_as_its_basis():
    setting = Setting("mlp", "lib")
    graph = libasis.interactions(setting.traced, setting.basis, [setting.x], progress=False)
    assert dict(ablate(setting, basis=graph).curves["s1"]) == dict(ablate(setting).curves["s1"])


def test_what_was_done_is_recorded():
    found = ablate(Setting("mlp"), "accuracy", schedule=[1, 3], sites=["s1"], replacement="zero", seed=4)
    assert {name: curve.counts for name, curve in found.curves.items()} == {"s1": [1, 3]}
    assert (found.metric, found.higher_is_better) == ("accuracy", True)
    assert [found.info[k] for k in ("basis", "schedule", "replacement", "seed")] == ["pca", [1, 3], "zero", 4]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"replacement": "median"}, "replacement is 'median'"),
        ({"metric": "f1"}, "metric is 'f1'"),
        ({"schedule": "cubic"}, "schedule is 'cubic'"),
        ({"schedule": [-1]}, r"schedule is \[-1\]"),
        ({"sites": ["s7"]}, r"sites names \['s7'\]"),
        ({"sites": ["output"]}, r"sites names \['output'\]"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
    ],
    ids=str,
)
def test_bad_options_are_told_before_the_data_are_read(options, told):
    setting = Setting("mlp")
    with pytest.raises(OptionError, match=told):
        libasis.ablate_nodes(setting.traced, setting.basis, Unread(), progress=False, **options)


def test_a_basis_of_other_sites_is_refused_before_the_data_are_read():
    setting = Setting("mlp")
    other = libasis.Chain(setting.sections, ["a", "b", "c"])
    with pytest.raises(OptionError, match="fit it on this cut"):
        libasis.ablate_nodes(other, setting.basis, Unread(), progress=False)


def test_missing_targets_are_told():
    setting = Setting("mlp")
    with pytest.raises(BatchError, match='"accuracy" needs targets'):
        libasis.ablate_nodes(setting.traced, setting.basis, [setting.x], progress=False)
