"""The laws of node ablation."""

import numpy as np
import pytest
import torch

import libasis
from ablation.setting import CASES, Setting, Unread, squared_error
from libasis.ablation.schedules import bisect_kept
from libasis.errors import BatchError, OptionError


def ablate(setting, metric=squared_error, sizes=(40,), basis=None, batches=None, **options):
    batches = batches or setting.batches(metric, sizes)
    return libasis.ablate_nodes(setting.traced, basis or setting.basis, batches, metric, progress=False, **options)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("method", ["pca", "neuron"])
@pytest.mark.parametrize("name", ["mlp", "attention", "pooled"])
def test_with_all_features_of_a_complete_basis_nothing_changes(name, method, masked):
    setting = Setting(name, method, masked)
    exact, close = ablate(setting, "accuracy"), ablate(setting)
    direct = (setting.output.argmax(-1) == setting.classes)[setting.scored].double().mean()
    assert exact.base_score == pytest.approx(float(direct), rel=1e-12)
    assert exact.base_score < 1
    assert close.base_score == pytest.approx(setting.error(setting.output), rel=1e-12)
    for site in setting.basis.sites[:-1]:
        assert site.k == site.d
        assert exact.curves[site.name][site.k] == exact.base_score
        assert close.curves[site.name][site.k] == pytest.approx(close.base_score, rel=1e-10)


def stand_in(setting, i, how, seed):
    """The features that stand in the place of those that are not kept, by definition."""
    site, x = setting.basis.sites[i], setting.activation(i)
    if how == "zero":  # the activation 0, in features
        return (-site.mean @ site.C).expand(*x.shape[:2], -1)
    if how == "mean":
        return x.new_zeros(*x.shape[:2], site.k)
    order = np.random.default_rng((seed, 2)).random(len(x)).argsort()
    others, counted = torch.empty_like(x), setting.counted
    for sample, donor in zip(order, np.roll(order, -1), strict=True):  # no sample keeps its own value
        if x.shape[1] != counted.shape[1]:
            others[sample] = x[donor]
            continue
        values = x[donor][counted[donor]]
        places = counted[sample].nonzero()[:, 0]
        others[sample, places] = values[torch.arange(len(places)) % len(values)]
    return (others - site.mean) @ site.C


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("how", ["mean", "zero", "resample"])
@pytest.mark.parametrize("method", ["lib", "neuron"])
@pytest.mark.parametrize("name", CASES)
def test_the_curve_is_the_direct_computation(name, method, how, masked):
    setting = Setting(name, method, masked)
    found = ablate(setting, replacement=how, seed=5)
    assert list(found.curves) == [site.name for site in setting.basis.sites[:-1]]
    for i, site in enumerate(setting.basis.sites[:-1]):
        features, other = (setting.activation(i) - site.mean) @ site.C, stand_in(setting, i, how, seed=5)
        assert found.curves[site.name].counts == list(range(site.k + 1))
        for count, score in found.curves[site.name].items():
            kept = sorted(range(site.k), key=lambda f: -float(site.importances[f]))[:count]
            mixed = other.clone()
            mixed[..., kept] = features[..., kept]
            output = setting.replaced(i, site.mean + mixed @ site.C_pinv)
            assert score == pytest.approx(setting.error(output), rel=1e-9)


def test_positions_that_do_not_count_are_replaced_on_request():
    setting = Setting("attention", "lib", masked=True)
    site = setting.basis.sites[0]
    output = setting.rest(site.mean.expand_as(setting.x), 0)
    assert ablate(setting, where="all").curves["s0"][0] == pytest.approx(setting.error(output), rel=1e-9)
    assert ablate(setting).curves["s0"][0] != pytest.approx(setting.error(output), rel=1e-3)


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


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("how", ["mean", "zero", "resample"])
@pytest.mark.parametrize("metric", ["accuracy", squared_error])
def test_batches_and_their_order_do_not_matter(metric, how, masked):
    setting = Setting("attention", "lib", masked)
    truth = ablate(setting, metric, replacement=how)
    assert truth.samples == (setting.scored.sum() if metric == "accuracy" else 40)
    for batches in (setting.batches(metric, (1, 26, 13)), setting.reshuffled(metric)):
        found = ablate(setting, metric, batches=batches, replacement=how, memory=1, per_sample=True)
        assert found.samples == truth.samples
        for name, curve in truth.curves.items():
            assert dict(found.curves[name]) == pytest.approx(dict(curve), rel=1e-10)
            again = {c: float(sums.sum() / found.samples) for c, sums in found.per_sample.sums[name].items()}
            assert again == pytest.approx(dict(curve), rel=1e-10)


def test_scores_by_sample_stand_in_the_order_of_the_data():
    setting = Setting("mlp", masked=True)
    found = ablate(setting, batches=setting.reshuffled(squared_error), memory=1, per_sample=True).per_sample
    assert found.counts.tolist() == [1.0] * 40
    torch.testing.assert_close(found.base, squared_error(setting.output, setting.targets))
    site = setting.basis.sites[0]
    output = setting.replaced(0, site.mean.expand_as(setting.x))
    torch.testing.assert_close(found.sums["s0"][0], squared_error(output, setting.targets))


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


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("schedule", ["linear", "bisect", [0, 2, 3, 6]])
def test_features_required_keep_the_score(schedule, masked):
    """The bisection over the counts measured, and the smallest count from which every larger one measured passes."""
    setting = Setting("mlp", masked=masked)
    for drop in (0.02, 0.5, 5.0):
        found = ablate(setting, schedule=schedule, max_drop=drop)
        assert found.max_drop == found.info["max_drop"] == drop
        for site, curve in found.curves.items():
            passing = [c for c in curve if curve[c] - found.base_score <= drop + 1e-12]
            stable, required = found.features_required_stable[site], found.features_required[site]
            assert required in passing
            assert stable == min(c for c in passing if all(larger in passing for larger in curve if larger > c))
            asked = list(range(7)) if schedule == "bisect" else curve.counts
            place = bisect_kept(lambda p, asked=asked, passing=passing: asked[p] in passing, len(asked) - 1)
            assert required == asked[place]
        assert found.rows()[0]["features_required"] == found.features_required["s0"]
        assert [row["site"] for row in found.rows()] == ["s0", "s1"]


def test_no_features_are_required_where_not_even_all_pass():
    found = ablate(Setting("mlp"), max_drop=-1.0)
    assert set(found.features_required.values()) == set(found.features_required_stable.values()) == {None}


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


def test_counts_above_what_a_site_has_are_named_and_all_its_features_are_kept(caplog):
    """How many features a basis keeps is not known before the fit; the width is."""
    setting = Setting("mlp")
    x = setting.x.clone()
    x[..., 0] = 0
    basis = libasis.fit(setting.traced, [x], "pca", progress=False)
    assert [(site.k, site.d) for site in basis.sites[:-1]] == [(5, 6), (6, 6)]
    found = ablate(setting, basis=basis, schedule=[2, 6, 5, 6])
    assert {name: curve.counts for name, curve in found.curves.items()} == {"s0": [2, 5], "s1": [2, 5, 6]}
    assert found.curves["s0"][5] == ablate(setting, basis=basis).curves["s0"][5]
    (told,) = [record.getMessage() for record in caplog.records]
    assert ": 6 at 's0', which has 5;" in told
    assert "s1" not in told
    caplog.clear()
    ablate(setting, basis=basis, schedule=torch.tensor([2, 5]))
    assert not caplog.records
    with pytest.raises(OptionError, match="schedule has 7, but no place here can have more than 6 features"):
        ablate(setting, basis=basis, schedule=[2, 7], sites=["s0"])


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
        ({"schedule": [1, 99, 98]}, "schedule has 98, 99, but no place here can have more than . features"),
        ({"sites": ["s7"]}, r"sites names \['s7'\]"),
        ({"sites": ["output"]}, r"sites names \['output'\]"),
        ({"where": "some"}, "where is 'some'"),
        ({"seed": -1}, "seed is -1"),
        ({"max_drop": "little"}, "max_drop is 'little'"),
        ({"dtype": "float64"}, "ablate_nodes has no option 'dtype' any more: give dtype to libasis.trace"),
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


def test_one_sample_has_no_other_to_take_values_from():
    with pytest.raises(BatchError, match="1 samples with a counted position are there to take values from"):
        ablate(Setting("mlp"), sizes=(1,), replacement="resample")
