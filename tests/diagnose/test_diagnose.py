"""Planted causes are found and tested, decoys are not, and nothing is found where there is nothing."""

import math
import re

import numpy as np
import pandas
import pytest
import torch
from torch import nn

import libasis
from diagnose.rows import COLUMNS, FAULT, MEAN, SPREAD, Copy, Margin, either, one, rows
from libasis.errors import BatchError, ModelStateError, OptionError


def diagnosed(model, fault=FAULT, sites=(), **options):
    return libasis.diagnose(model, rows(), rows(shift=fault, seed=1), columns=COLUMNS, sites=sites, **options)


def test_the_cause_is_first_supported_and_in_its_units():
    found = diagnosed(one())
    first = found.inputs.iloc[0]
    assert list(found.inputs.columns[:2]) == ["input", "verdict"]
    assert {"normal", "anomalous", "before", "after", "low", "high"} <= set(found.inputs.columns)
    assert (first.input, first.verdict) == ("valve", "supported")
    assert first.normal == pytest.approx(40, abs=0.2)
    assert first.anomalous == pytest.approx(43, abs=0.2)
    assert first.before > 0.95
    assert first.after < 0.02
    assert first.low <= first.effect <= first.high < -0.9
    assert abs(first.collateral) < 0.02
    assert not found.inputs.verdict[1:].str.startswith("supported").any()


def test_what_differs_and_is_not_used_is_no_cause():
    found = diagnosed(one()).inputs.set_index("input")
    assert found.difference["pressure"] > 8
    assert found.q["pressure"] < 0.01
    assert found.verdict["pressure"] == "no effect above delta"
    assert found.before["pressure"] == found.after["pressure"]


def test_of_two_causes_that_suffice_alone_only_both_together_end_the_alarm():
    found = diagnosed(either(), {"valve": 6, "temperature": 6, "pressure": 9})
    assert not found.inputs.verdict.str.startswith("supported").any()
    assert set(found.inputs.input[:2]) == {"valve", "temperature"}
    pair = next(row for row in found.tested_sets if set(row["members"]) == {"valve", "temperature"})
    assert pair["set"] == "valve and temperature"
    assert pair["verdict"] == "supported"
    assert pair["after"] < 0.02
    assert pair["contrast_high"] < -0.85
    assert pair["confirmed"]


def test_a_model_that_reconstructs_is_scored_by_its_error():
    found = diagnosed(Copy().eval(), {"valve": 12})
    assert found.info["kind"] == "reconstruction"
    assert found.info["normal_before"] <= 0.02
    assert found.inputs.input[0] == "valve"
    assert found.inputs.verdict[0] == "supported"
    assert found.baselines.reconstruction_rank[0] == 1
    wrapped = libasis.AnomalyScore(Copy().eval(), torch.tensor(SPREAD)).eval()
    assert diagnosed(wrapped, {"valve": 12}).inputs.input[0] == "valve"


def test_a_score_and_a_metric_are_compared_as_they_are():
    class Level(nn.Module):
        def forward(self, x):
            return x[:, 3:4]

    found = diagnosed(Level().eval(), {"level": -8})
    assert "below" in found.info["alarm"]
    assert (found.inputs.input[0], found.inputs.verdict[0]) == ("level", "supported")
    found = diagnosed(Level().eval(), {"level": 8}, metric=lambda out, targets: out[:, 0])
    assert not found.info["rates"]
    assert found.inputs.before[0] == pytest.approx(58, abs=0.5)
    assert found.inputs.after[0] == pytest.approx(50, abs=0.5)
    assert (found.inputs.input[0], found.inputs.verdict[0]) == ("level", "supported")
    found = diagnosed(Level().eval(), {"level": -8}, metric=lambda out, targets: out[:, 0])
    first = found.inputs.iloc[0]
    assert (first.before, first.after) == pytest.approx((42, 50), abs=0.5)
    assert 7 < first.low < first.effect < first.high < 9
    assert first.verdict == "supported"


def test_a_soft_sensor_is_asked_by_its_error():
    class Soft(nn.Module):
        def forward(self, x):
            return ((x[:, :1] - 40) / 0.5 + (x[:, 2:3] - 9) / 0.1).float()

    def pairs(x, drift):
        x = torch.tensor(x)
        y = (x[:, :1] - 40) / 0.5 + (x[:, 2:3] - 9) / 0.1
        x[:, 0] += drift
        return [(x, y.float())]

    found = libasis.diagnose(
        Soft().eval(), pairs(rows(), 0), pairs(rows(seed=1), 4), columns=COLUMNS, metric="mse", sites=[]
    )
    first = found.inputs.iloc[0]
    assert (first.input, first.before) == ("valve", pytest.approx(64, abs=1e-3))
    assert first.after < 4
    with pytest.raises(BatchError, match='"mse" needs targets'):
        diagnosed(Soft().eval(), metric="mse")


def test_where_both_groups_are_alike_nothing_is_supported():
    for seed in range(6):
        found = libasis.diagnose(one(), rows(seed=seed), rows(seed=seed + 50), columns=COLUMNS, seed=seed, sites=[])
        assert not found.inputs.verdict.str.startswith("supported").any()
        assert not any(row["verdict"].startswith("supported") for row in found.tested_sets)
        assert "nothing to explain" in found.findings[0]


def test_rows_that_depend_on_each_other_count_as_fewer():
    def slow(seed, shift):
        generator = np.random.default_rng(seed)
        z = generator.normal(size=(300, 6))
        for t in range(1, 300):
            z[t] = 0.8 * z[t - 1] + 0.6 * z[t]
        z[:, 0] += shift
        return z * SPREAD + MEAN

    found = libasis.diagnose(one(), slow(0, 0), slow(1, 6), columns=COLUMNS, sites=[])
    assert found.inputs.units[0] < 100
    assert found.inputs.n[0] == 300
    assert any("depend on those before them" in text for text in found.findings)
    runs = [i // 30 for i in range(300)]
    found = libasis.diagnose(one(), slow(0, 0), slow(1, 6), columns=COLUMNS, units=runs + runs, sites=[])
    assert set(found.inputs.units) == {10}


def slow(seed, n, shift=0.0, memory=0.98):
    """Rows whose columns hardly change from one to the next, the valve shifted."""
    generator = np.random.default_rng(seed)
    z = generator.normal(size=(n, 6))
    for t in range(1, n):
        z[t] = memory * z[t - 1] + np.sqrt(1 - memory**2) * z[t]
    z[:, 0] += shift
    return z * SPREAD + MEAN


def test_of_one_slow_run_it_is_said_how_many_runs_would_do():
    found = libasis.diagnose(one(), slow(0, 200), slow(1, 200, 3.8), columns=COLUMNS, sites=[])
    assert not found.inputs.verdict.str.startswith("supported").any()
    assert found.inputs.units[0] < 7
    assert "at least 7 are needed: 7 runs or more would do" in found.inputs.why[0]
    assert any(
        "Give 7 runs of the fault or more, and name the run of each row (units)" in text for text in found.findings
    )
    runs = [i // 20 for i in range(300)]
    parts = [np.concatenate([slow(20 * k + one, 20, s) for one in range(15)]) for k, s in ((1, 0), (2, 5.5))]
    found = libasis.diagnose(one(), *parts, columns=COLUMNS, units=(runs, runs), sites=[])
    assert (found.inputs.input[0], found.inputs.verdict[0], found.inputs.units[0]) == ("valve", "supported", 15)
    assert not any("Give 7 runs" in text for text in found.findings)


def test_how_far_a_row_is_beyond_the_threshold_makes_no_units_fewer():
    fault = rows(300, {"valve": 12}, seed=1)
    fault[:, 0] += SPREAD[0] * 8 * np.linspace(0, 1, 300)  # ever further, and every row an alarm
    found = libasis.diagnose(one(), rows(300), fault, columns=COLUMNS, sites=[])
    assert (found.inputs.input[0], found.inputs.verdict[0]) == ("valve", "supported")
    assert found.inputs.units[0] > 20


def test_where_few_inputs_do_not_end_the_alarm_that_is_said():
    class Every(nn.Module):
        def forward(self, x):
            margin = x.sum(1) - 20
            return torch.stack([torch.zeros_like(margin), margin], 1)

    normal = np.random.default_rng(0).normal(size=(240, 14))
    found = libasis.diagnose(Every().eval(), normal[:120], normal[120:] + 6, sites=[])
    text = next(text for text in found.findings if "it goes through many inputs at once" in text)
    assert re.search(r"Setting up to \d inputs to normal leaves the alarm on \d+\.\d% of the anomalous rows", text)


def test_a_value_from_elsewhere_is_no_fault():
    class Soft(nn.Module):
        def forward(self, x):
            z = (x - torch.tensor(MEAN)) / torch.tensor(SPREAD)
            return (5 * z[:, 3:4] + z[:, :1]).float()

    def pairs(x, off):
        x = torch.tensor(x)
        y = Soft()(x)
        x[:, 0] += off
        return [(x, y)]

    found = libasis.diagnose(
        Soft().eval(), pairs(rows(), 0), pairs(rows(seed=1), 1), columns=COLUMNS, metric="mse", sites=[]
    ).inputs
    assert found.input[0] == "valve"  # the level is what the model uses most, and nothing is wrong with it
    assert found.importance[1] < 0.3 * found.importance[0]


def test_plain_methods_stand_beside_with_their_ranks():
    table = diagnosed(one()).baselines.set_index("input")
    assert table.mean_z_rank["pressure"] == 1  # it moves most, and is not used
    assert table.permutation_rank["valve"] == 1
    assert table.gradient_x_input_rank["valve"] == 1
    assert table["rank"]["valve"] == 1
    assert table.reconstruction.isna().all()


def test_arrays_tensors_frames_and_batches_give_the_same():
    normal, fault = rows(), rows(shift=FAULT, seed=1)
    wanted = libasis.diagnose(one(), normal, fault, columns=COLUMNS, sites=[]).tested_inputs
    frames = [pandas.DataFrame(x, columns=COLUMNS) for x in (normal, fault)]
    assert libasis.diagnose(one(), *frames, sites=[]).tested_inputs == wanted
    assert libasis.diagnose(one(), frames[0], frames[1][COLUMNS[::-1]], sites=[]).tested_inputs == wanted
    batches = [list(torch.tensor(x).split(50)) for x in (normal, fault)]
    assert libasis.diagnose(one(), *batches, columns=COLUMNS, sites=[]).tested_inputs == wanted


def test_images_are_asked_by_patches():
    class Corner(nn.Module):
        def forward(self, x):
            margin = 4 * (x[:, 0, :2, :2].mean((1, 2)) - 0.5)
            return torch.stack([torch.zeros_like(margin), margin], 1)

    generator = torch.Generator().manual_seed(0)
    normal, defect = (torch.rand(60, 1, 14, 14, generator=generator) * 0.3 for _ in range(2))
    defect[:, :, :2, :2] += 0.7
    found = libasis.diagnose(Corner().eval(), normal, defect, sites=[])
    assert found.inputs.input[0] == "rows 0-1, columns 0-1"
    assert found.inputs.verdict[0] == "supported"
    assert len(found.inputs) == 49
    assert found.info["picture"]["boxes"]["rows 2-3, columns 4-5"] == [2, 4, 2, 2]
    assert found.info["picture"]["anomalous"]["width"] == 14

    class Flat(Corner):
        def forward(self, x):
            return super().forward(x.reshape(-1, 1, 14, 14))

    class Last(Corner):
        def forward(self, x):
            return super().forward(x.movedim(-1, 1))

    same = {"verdict": "supported", "input": "rows 0-1, columns 0-1"}
    flat = [x.flatten(1) for x in (normal, defect)]
    others = libasis.diagnose(Flat().eval(), *flat, sites=[], image_shape=[14, 14])
    assert others.tested_inputs == found.tested_inputs
    colours = [x.movedim(1, -1).repeat(1, 1, 1, 3) for x in (normal, defect)]
    assert same.items() <= libasis.diagnose(Last().eval(), *colours, sites=[]).tested_inputs[0].items()
    with pytest.raises(OptionError, match="image_shape is \\[14, 15\\]"):
        libasis.diagnose(Flat().eval(), *flat, sites=[], image_shape=[14, 15])


def test_of_many_images_some_are_run_and_features_read_the_patches_of_the_defect():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(7), nn.Flatten(), nn.Linear(8, 2)).eval()
    with torch.no_grad():
        net[0].weight.fill_(1 / 9)
        net[4].weight.copy_(torch.cat([torch.zeros(1, 8), torch.tensor([[14.0, 0, 0, 0, 0, 0, 0, 0]])]))
        net[4].bias.copy_(torch.tensor([0.0, -4.0]))
    generator = torch.Generator().manual_seed(0)
    normal, defect = (torch.rand(300, 1, 14, 14, generator=generator) * 0.3 for _ in range(2))
    defect[:, :, 2:4, 2:4] += 0.7
    found = libasis.diagnose(net, normal, defect, sites=["3:in"])
    assert found.info["rows"] == {"normal": 300, "anomalous": 300}
    assert found.info["run"] == {"normal": 256, "anomalous": 256}
    assert found.inputs.input[0] == "rows 2-3, columns 2-3"
    read = [row["reads"][0] for row in found.tested_features if row["reads"]]
    assert set(read) == {"rows 2-3, columns 2-3"}


def test_a_copy_but_for_an_offset_is_no_classifier_and_rounding_is_no_spread():
    class Offset(Copy):
        def forward(self, x):
            return super().forward(x) - 1.2 * self.size

    found = diagnosed(Offset().eval(), {"valve": 12})
    assert found.info["kind"] == "reconstruction"
    assert found.inputs.input[0] == "valve"
    still = rows(), rows(shift={"valve": 12}, seed=1)
    for x in still:
        x[:, 5] = 0.3 + 1e-17 * np.arange(len(x)) + 1e-16 * (np.arange(len(x)) % 2)
    again = libasis.diagnose(Copy().eval(), *still, columns=COLUMNS, sites=[])
    assert again.info["kind"] == "reconstruction"
    assert again.inputs.input[0] == "valve"


def test_what_random_directions_do_as_well_is_said_at_the_corrected_level(tmp_path):
    """Of few inputs some random directions are near the one that acts."""

    class Four(nn.Module):
        def forward(self, x):
            margin = 2 * ((x[:, 0] - MEAN[0]) / SPREAD[0] - 1.2)
            return torch.stack([torch.zeros_like(margin), margin], 1)

    groups = (x[:, :4] for x in (rows(), rows(shift={"valve": 2.4}, seed=1)))
    found = libasis.diagnose(Four().eval(), *groups, columns=COLUMNS[:4], sites=[])
    row = found.tested_inputs[0]
    assert (row["input"], row["verdict"]) == ("valve", "undecided")
    assert 0.05 / 4 < row["p_specific"] < 0.05
    share = f"{row['p_specific']:.1%} of the edits of this size in random directions do as much"
    assert row["why"].startswith(f"{share}, too many to be sure beside 4 that were tested together; take it as a lead")
    page = found.to_html(tmp_path / "page.html").read_text("utf-8")
    assert f"{row['p_specific']:.1%} でも同程度に変わり、4 個を同時に検証した" in page


def test_two_columns_cannot_be_held_against_random_directions():
    two = Margin(lambda z: 2 * (z["valve"] - 3.5), raw=True)
    two.centre, two.size = two.centre[:2], two.size[:2]
    two.of = lambda z: 2 * (z["valve"] - 3.5)
    two.forward = lambda x: torch.stack([x[:, 0] * 0, 2 * ((x[:, 0] - 40) / 0.5 - 3.5)], 1)
    found = libasis.diagnose(two.eval(), rows()[:, :2], rows(shift=FAULT, seed=1)[:, :2], columns=COLUMNS[:2], sites=[])
    assert found.inputs.verdict[0] == "undecided"
    assert "could not be tested" in found.inputs.why[0]


def test_a_diagnosis_is_saved_and_loaded(tmp_path):
    found = diagnosed(one())
    found.save(tmp_path / "d")
    again = libasis.load(tmp_path / "d")
    assert again.tested_inputs == found.tested_inputs
    assert again.findings == found.findings
    assert "valve: 40" in repr(again)


def test_the_model_is_as_before():
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    libasis.diagnose(model, rows(), rows(seed=1))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.training
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize(
    ("normal", "options", "said"),
    [
        (rows()[:3], {}, "3 rows"),
        (np.full((50, 6), np.nan), {}, "300 cells are empty"),
        (np.array([["a"] * 6] * 20), {}, "not of numbers"),
        (rows()[:, :5], {}, "same columns"),
        (rows(), {"columns": ["a"]}, "1 names"),
        (rows(), {"columns": COLUMNS, "metric": "f1"}, "metric is 'f1'"),
        (rows(), {"columns": COLUMNS, "delta": -1.0}, "delta is -1"),
        (rows(), {"columns": COLUMNS, "delta": 5.0}, "delta is 5.0, but an alarm rate is between 0 and 1"),
        (rows(), {"columns": COLUMNS, "threshold": math.nan}, "threshold is nan; give a finite number"),
        (rows(), {"columns": COLUMNS, "threshold": 0.5}, "threshold is 0.5, but the alarm is the most likely class"),
        (rows(), {"columns": COLUMNS, "units": [1, 2]}, "units has"),
        (rows(), {"columns": COLUMNS, "normal_class": 7}, "2 classes"),
    ],
)
def test_what_cannot_be_is_one_sentence(normal, options, said):
    with pytest.raises((BatchError, OptionError), match=said):
        libasis.diagnose(one(), normal, rows(seed=1), **options)


def test_one_number_is_no_class():
    with pytest.raises(OptionError, match='metric is "class", but the model returns 1 number'):
        libasis.diagnose(torch.nn.Linear(6, 1).double().eval(), rows(), rows(seed=1), metric="class")


def test_a_model_in_training_mode_is_refused():
    with pytest.raises(ModelStateError, match=r"model\.eval\(\)"):
        libasis.diagnose(one().train(), rows(), rows(seed=1))


def test_features_inside_are_named_by_what_they_read_and_tested_alike():
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        model[0].running_mean.copy_(torch.tensor(MEAN))
        model[0].running_var.copy_(torch.tensor(SPREAD**2))
        model[1].weight.copy_(torch.eye(4, 6) * 0.3)
        model[1].bias.zero_()
        model[3].weight.copy_(torch.tensor([[0.0, 0, 0, 0], [8, 0.1, 0.2, -0.1]]))
        model[3].bias.copy_(torch.tensor([0.0, -6.5]))
    found = diagnosed(model.eval(), {"valve": 6, "pressure": 9}, sites=["2:in"])
    first = found.tested_features[0]
    assert first["reads"] == ["valve"]
    assert first["verdict"] == "supported"
    assert first["after"] < 0.02 < 0.9 < first["before"]
    assert all(row["verdict"] != "supported" for row in found.tested_features[1:])
    inside = diagnosed(Copy().eval(), {"valve": 12}, sites=["input"])
    assert inside.tested_features
    with pytest.raises(OptionError, match="the alarm itself"):
        diagnosed(model, sites=["output"])


def test_without_sites_those_that_scan_recommends_are_looked_at():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)).eval()
    standard = [(x - torch.tensor(MEAN)) / torch.tensor(SPREAD) for x in map(torch.tensor, (rows(), rows(seed=1)))]
    found = libasis.diagnose(net, *standard)
    assert {row["site"] for row in found.tested_features} <= {"0:in", "1:in", "2:in"}
    assert found.tested_features

    class Listed(nn.Module):
        def forward(self, x):
            return net(torch.from_numpy(x.numpy() * 1))

    found = libasis.diagnose(Listed().eval(), *standard)
    assert not found.tested_features
    assert any("Nothing inside the model was looked at" in text for text in found.findings)
