"""`intervene` as a whole: scores by sample, effects, errors, and what stays as it was."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import libasis
from ablation.setting import Setting, Unread, squared_error
from chains import F64, random
from cut.cutting import everything
from libasis.errors import BatchError, OptionError
from libasis.intervene import Intervention, intervene


def tokens(masked=False):
    """A model of tokens with targets of which some don't count, none at all in one sample."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 7)).to(F64).eval()
    ids = torch.randint(7, (20, 6))
    targets = ids.roll(-1, 1)
    targets[:, -1] = -100
    targets[3] = -100
    mask = (lambda args: args[0] > 0) if masked else None
    traced = libasis.trace(model, ids, ["1:in", "3:in", "output"], mask=mask)
    return model, ids, targets, traced, libasis.fit(traced, [ids], progress=False)


def one_score(outputs, targets):
    """One number for each sample, whatever its targets."""
    return outputs[:, 0, 0]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("metric", ["accuracy", "cross_entropy", one_score])
def test_scores_belong_to_their_samples(metric, masked):
    """Where targets are -100 or masked nothing counts; a function gives one score for each sample all the same."""
    model, ids, targets, traced, basis = tokens(masked)
    counts = (targets >= 0) & (ids > 0) if masked else targets >= 0
    batches = list(zip(ids.split(7), targets.split(7), strict=True))
    found = intervene(traced, basis, batches, [Intervention("1:in", [0])], metric, progress=False)
    with torch.no_grad():
        x = model[0](ids)
        z = (x - basis[0].mean) @ basis[0].C
        without = x - z[..., :1] * basis[0].C_pinv[0]
        without = torch.where((ids > 0)[..., None], without, x) if masked else without
        outputs = [model[1:](a) for a in (x, without)]
    for scores, output in zip((found.base, found.scores[0]), outputs, strict=True):
        for n in range(20):
            if metric is one_score:
                assert scores[n] == pytest.approx(float(output[n, 0, 0]))
                continue
            counted = counts[n]
            if not counted.any():
                assert scores[n].isnan()
                continue
            logits, labels = output[n][counted], targets[n][counted]
            each = (logits.argmax(1) == labels).double() if metric == "accuracy" else None
            each = nn.functional.cross_entropy(logits, labels, reduction="none") if each is None else each
            assert scores[n] == pytest.approx(float(each.mean()), rel=1e-9)
    expected = torch.ones(20) if metric is one_score else counts.sum(1)
    assert found.counts.tolist() == expected.tolist()
    assert found.effects[0].n == int((expected > 0).sum())
    changed = (found.scores[0] - found.base)[expected > 0]
    assert found.effects[0].value == pytest.approx(float(changed.mean()))


def test_a_shuffled_loader_gives_the_order_of_its_first_pass():
    setting = Setting("mlp", "lib", masked=True)
    shuffled = DataLoader(
        TensorDataset(setting.x, setting.targets), 7, shuffle=True, generator=torch.Generator().manual_seed(1)
    )
    kept = libasis.keep(setting.traced, shuffled)
    asked = [Intervention("s0", [1], "shift", 1.0), Intervention("s1", [0, 2], "keep_only")]
    plain = intervene(setting.traced, setting.basis, setting.batches("mse"), asked, squared_error, progress=False)
    for batches, memory in ((kept, 2**30), (shuffled, 1)):
        found = intervene(setting.traced, setting.basis, batches, asked, squared_error, progress=False, memory=memory)
        order = torch.cdist(found.base[:, None], plain.base[:, None]).argmin(1)
        assert sorted(order.tolist()) == list(range(40))
        torch.testing.assert_close(found.scores, plain.scores[:, order], rtol=1e-10, atol=0)


def test_many_run_together_within_memory():
    """Their number is bounded by memory and the batch, and it changes nothing."""
    sizes = []
    setting = Setting("mlp", "pca")
    first, second = setting.sections
    traced = libasis.Chain([lambda x: sizes.append(len(x)) or first(x), second], ["s0", "s1", "output"])
    asked = [Intervention("s0", [i], "set", float(v)) for i in range(6) for v in range(5)]
    batches = setting.batches("mse", (8,) * 5)
    alone, together = (
        intervene(traced, setting.basis, batches, asked, squared_error, progress=False, memory=memory)
        for memory in (1, 2**30)
    )
    torch.testing.assert_close(alone.scores, together.scores, rtol=1e-12, atol=0)
    assert sizes.count(8) == 5 + 5 * 30 + 5
    assert max(sizes) == 8 * 30


def test_a_graph_is_as_good_as_its_basis_and_one_as_good_as_a_list():
    setting = Setting("mlp", "lib")
    graph = libasis.interactions(setting.traced, setting.basis, [setting.x], progress=False)
    one = Intervention("s0", [1])
    found = [
        intervene(setting.traced, what, setting.batches("mse"), asked, "mse", progress=False)
        for what, asked in ((graph, one), (setting.basis, [one]))
    ]
    assert torch.equal(found[0].scores, found[1].scores)


def test_without_targets_the_change_of_the_output_is_a_metric():
    setting = Setting("mlp", "lib", masked=True)
    found = intervene(setting.traced, setting.basis, [setting.x], [Intervention("s0", [0])], "output_mse")
    assert (found.base == 0).all()
    basis = setting.basis[0]
    z = (setting.x - basis.mean) @ basis.C
    output = setting.replaced(0, setting.x - z[..., :1] * basis.C_pinv[0])
    each, counted = (output - setting.output).square().mean(-1), setting.counted
    expected = (each * counted).sum(1) / counted.sum(1)
    torch.testing.assert_close(found.scores[0], expected, rtol=1e-9, atol=1e-15)
    assert not found.higher_is_better


def test_the_last_site_can_be_changed():
    setting = Setting("mlp", "lib")
    found = intervene(
        setting.traced, setting.basis, setting.batches("mse"), [Intervention("output", [2], "set", 0.0)], "mse"
    )
    output = setting.output.clone()
    output[..., 2] = setting.basis[2].mean[2]
    torch.testing.assert_close(found.scores[0], squared_error(output, setting.targets), rtol=1e-9, atol=1e-15)


def test_the_result_is_plain_data():
    setting = Setting("mlp", "lib")
    asked = [Intervention("s0", [0]), Intervention("s1", [1], "shift", 1, name="more of one")]
    found = intervene(setting.traced, setting.basis, setting.batches("mse"), asked, "mse", progress=False)
    assert found.interventions == tuple(asked)
    assert repr(found).startswith("InterventionResult(2 interventions, 40 samples, metric='mse', base=0.")
    assert "\n" not in repr(found)
    rows = found.rows()
    assert [row["intervention"] for row in rows] == ["s0:0 to mean", "more of one"]
    assert [row["value"] for row in rows] == [effect.value for effect in found.effects]
    assert rows[0]["low"] < rows[0]["value"] < rows[0]["high"]
    assert list(found.to_dataframe()["to"]) == ["mean", "shift"]
    assert found.info["data"]["samples"] == 40
    assert found.info["basis"] == "lib"


def test_a_saved_result_says_the_same(tmp_path):
    setting = Setting("mlp", "lib")
    asked = [
        Intervention("s0", directions=setting.basis[0].C_pinv[:2]),
        Intervention("s0", [1, 0], "set", [0.1, 0.2]),
        Intervention("s1", [1], "swap", donors=[3, 5]),
        Intervention("s1", [1], "keep_only", "zero", where="all", name="one"),
    ]
    found = intervene(setting.traced, setting.basis, setting.batches("mse"), asked, "mse", progress=False)
    again = libasis.load(found.save(tmp_path / "found"))
    assert again.interventions == found.interventions == tuple(asked)
    assert torch.equal(again.scores, found.scores)
    assert again.effects == found.effects


@pytest.mark.parametrize(
    ("asked", "options", "told"),
    [
        ([], {}, "interventions is an empty list"),
        (["s0"], {}, "interventions is a list of str; intervene takes .*Intervention"),
        ([Intervention("s7", [0])], {}, r"names the site 's7', but the sites are \['s0', 's1', 'output'\]"),
        ([Intervention("s0", [6])], {}, "names the feature 6 of 's0', which has 6, from 0 to 5"),
        ([Intervention("s0", directions=[[1.0]])], {}, "have 1 coordinates, but the site has 6"),
        ([Intervention("s0", [0])], {"metric": "f1"}, "metric is 'f1'"),
        ([Intervention("s0", [0])], {"memory": 0}, "memory is 0"),
    ],
    ids=str,
)
def test_bad_options_are_told_before_the_data_are_read(asked, options, told):
    setting = Setting("mlp")
    with pytest.raises(OptionError, match=told):
        intervene(setting.traced, setting.basis, Unread(), asked, progress=False, **options)


def test_other_objects_than_a_basis_and_a_basis_of_other_sites_are_told():
    setting = Setting("mlp")
    with pytest.raises(OptionError, match="need a basis or a graph, but got str"):
        intervene(setting.traced, "lib", Unread(), [Intervention("s0", [0])])
    other = libasis.Chain(setting.sections, ["s0", "t", "output"])
    with pytest.raises(OptionError, match="fit it on this cut"):
        intervene(other, setting.basis, Unread(), [Intervention("s0", [0])])


def test_missing_targets_and_no_target_that_counts_are_told():
    _, ids, targets, traced, basis = tokens()
    with pytest.raises(BatchError, match='"accuracy" needs targets'):
        intervene(traced, basis, [ids], [Intervention("1:in", [0])], progress=False)
    with pytest.raises(BatchError, match="the target is -100"):
        intervene(traced, basis, [(ids, torch.full_like(targets, -100))], [Intervention("1:in", [0])], progress=False)


def test_the_model_and_the_random_state_stay_as_they_are():
    model, ids, targets, traced, basis = tokens()
    given = copy.deepcopy([(ids, targets)])
    before, state = everything(model), torch.get_rng_state()
    asked = [Intervention("1:in", [0], "resample"), Intervention("3:in", [0], "set", "q0.5")]
    intervene(traced, basis, given, asked, progress=False)

    def broken(outputs, targets):
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        intervene(traced, basis, given, asked, broken, progress=False)
    assert everything(model) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(given[0][0], ids)


def test_a_sample_of_padding_alone_stays_as_it_is_and_gives_nothing():
    x = random(9, 3, 6, seed=5)
    x[4] = 100.0
    setting = Setting("mlp", "lib")
    traced = setting.traced.to(mask=lambda args: (args[0] != 100.0).all(-1))
    basis = libasis.fit(traced, [x], progress=False)
    asked = [Intervention("s0", [0, 1], "resample", seed=seed) for seed in range(4)]
    found = intervene(traced, basis, [x], [*asked, Intervention("s0", [0], "set", "q1")], "output_mse", progress=False)
    assert found.counts[4] == 0
    assert found.scores[:, 4].isnan().all()  # it has no score
    assert (found.scores[:, [0, 1, 2, 3, 5, 6, 7, 8]] > 0).all()
    assert found.scores.nan_to_num().amax() < 100  # nothing of the padding
