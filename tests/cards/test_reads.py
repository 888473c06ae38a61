"""Cards of tables: sensors that a feature reads, in their units; rows that depend on each other; models that fail."""

import numpy as np
import pytest
import torch
from torch import nn

import libasis
from cards.collecting import approx, collect
from chains import F64, random
from libasis.errors import OptionError

NAMES = ["valve", "temperature", "pressure", "level"]


def plant(n=200, seed=0):
    """Rows of four sensors: fault rows have another valve; the temperature follows the valve and is not read."""
    x = random(n, 4, seed=seed)
    y = (torch.arange(n) % 2).long()
    valve = 41 + 0.5 * x[:, 0] + 4 * y
    return torch.stack([valve, 120 + valve + 0.01 * x[:, 1], 2700 + 6 * x[:, 2], 50 + x[:, 3]], 1), y


def model(weight=(1.0, 0.0, 0.02, 0.0), bias=-43.0):
    """A classifier of one hidden number, of the sensors as they are."""
    layers = nn.Sequential(nn.Linear(4, 3), nn.Identity(), nn.Linear(3, 2)).double().eval()
    with torch.no_grad():
        layers[0].weight.copy_(torch.tensor([weight, (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0)], dtype=F64))
        layers[0].bias.copy_(torch.tensor([bias - 0.02 * 2700, 0.0, 0.0]))
        layers[2].weight.copy_(torch.tensor([[-1.0, 0, 0], [1.0, 0, 0]], dtype=F64))
        layers[2].bias.zero_()
    return layers


def cards_of(layers, x, y, **options):
    traced = libasis.trace(layers, x, ["0:in", "1", "output"])
    basis = libasis.fit(traced, [x], "neuron", progress=False)
    return collect(traced, basis, [(x, y)], **{"columns": NAMES, **options})


def test_a_feature_is_named_after_the_sensor_it_reads_not_after_the_class():
    x, y = plant()
    found = cards_of(model(), x, y, groups={"normal": [x[y == 0]], "fault": [x[y == 1]]}, reference="normal")
    card = found["1:0"]
    first, *more = card["suggestions"]
    assert (first["kind"], first["value"]) == ("column", "valve")  # the temperature goes with it and is not read
    assert {one["kind"] for one in more} == {"class"}
    assert next(iter(card)) == "reads"
    assert [one["column"] for one in card["reads"]] == ["valve"]  # the pressure's part is less than a tenth
    read, calm = card["reads"][0], x[y == 0][:, 0]
    assert (read["mean"], read["std"]) == (approx(float(calm.mean())), approx(float(calm.std(correction=0))))
    hidden = (x @ model()[0].weight.T).detach()[:, 0]
    step = float(x[:, 0].std(correction=0))
    assert (read["step"], read["weight"]) == (approx(step), approx(step / float(hidden.std(correction=0))))
    assert found["0:in:3"]["suggestions"][0]["value"] == "level"  # a feature that is a column
    means = found.groups[1]["columns"]
    assert means["valve"][0] == approx(float(x[y == 1][:, 0].mean()))
    row = next(row for row in found.rows() if row["id"] == "1:0")
    assert (row["reads_column"], row["suggestion_value"]) == ("valve", "valve")
    assert list(row)[:2] == ["id", "reads_column"]


def test_a_feature_of_the_inputs_reads_what_its_column_of_C_says():
    x, y = plant()
    traced = libasis.trace(model(), x, ["0:in", "output"])
    basis = libasis.fit(traced, [x], "pca", progress=False)
    found = collect(traced, basis, [(x, y)], columns=NAMES)
    site, deviation = basis["0:in"], x.std(0, correction=0)
    for i in range(site.k):
        z = ((x - site.mean) @ site.C[:, i]).std(correction=0)
        expected = {n: float(w) for n, w in zip(NAMES, site.C[:, i] * deviation / z, strict=True)}
        for one in found[f"0:in:{i}"]["reads"]:
            assert one["weight"] == pytest.approx(expected[one["column"]], rel=1e-6)
        strongest = max(expected, key=lambda name: abs(expected[name]))
        assert found[f"0:in:{i}"]["reads"][0]["column"] == strongest


def test_examples_say_when_they_were():
    x, y = plant()
    times = [f"2026-01-{1 + i // 24:02} {i % 24:02}:00" for i in range(len(x))]
    found = cards_of(model(), x, y, times=times)
    example = found["1:0"]["top"][0]
    assert example["time"] == times[example["sample"]]
    with pytest.raises(OptionError, match="times has 3 entries, but the data have 200 samples"):
        cards_of(model(), x, y, times=times[:3])


def width(card):
    effect, ablation = card["effects"][0], card["ablation"]
    return effect["high"] - effect["low"], ablation["high"] - ablation["low"]


def curved(x):
    """A model whose effects differ from sample to sample."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double().eval()
    traced = libasis.trace(layers, x, ["0:in", "2:in", "output"])
    return layers, traced, libasis.fit(traced, [x], "neuron", progress=False)


def test_samples_of_one_unit_count_as_one():
    x = random(60, 4, seed=1)
    layers, traced, basis = curved(x)
    y = layers(x).detach() + 0.3 * random(60, 1, seed=2)
    again, goals = x.repeat_interleave(5, 0), y.repeat_interleave(5, 0)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    units = [int(i) // 5 for i in order]
    alone = width(collect(traced, basis, [(x, y)])["0:in:0"])
    known = collect(traced, basis, [(again[order], goals[order])], units=units, groups={"all": [again]})
    assert width(known["0:in:0"]) == pytest.approx(alone, rel=0.05)
    taken = width(collect(traced, basis, [(again[order], goals[order])])["0:in:0"])
    assert all(few < 0.6 * true for few, true in zip(taken, alone, strict=True))
    assert known.info["rows"] == {"independent": "units", "units": 60}


def steady(n, seed):
    """Rows that remember: autoregressive, 0.8 from one to the next."""
    noise, x = np.random.default_rng(seed).normal(size=(n, 4)), np.zeros((n, 4))
    for i in range(1, n):
        x[i] = 0.8 * x[i - 1] + 0.6 * noise[i]
    return torch.from_numpy(x)


def test_rows_that_depend_on_those_before_them_are_taken_in_blocks():
    x = steady(600, 3)
    layers, traced, basis = curved(x)
    y = layers(x).detach() + 0.3 * random(600, 1, seed=2)
    shuffled = torch.randperm(600, generator=torch.Generator().manual_seed(0))
    found = collect(traced, basis, [(x, y)], columns=NAMES, groups={"all": [x]})
    other = collect(traced, basis, [(x[shuffled], y[shuffled])], columns=NAMES, groups={"all": [x[shuffled]]})
    assert found.info["rows"]["independent"] == found.groups[0]["rows"]["independent"] == "blocks"
    assert other.info["rows"] == {"independent": "samples", "block": 1}
    assert width(found["0:in:0"])[0] > 1.4 * width(other["0:in:0"])[0]
    errors = [cards.groups[0]["columns"]["valve"][1] for cards in (found, other)]
    assert errors[0] > 2 * errors[1]


def test_rows_sorted_by_class_do_not_depend_on_each_other_for_that():
    x, y = plant(300)
    order = y.argsort(stable=True)
    assert cards_of(model(), x[order], y[order]).info["rows"] == {"independent": "samples", "block": 1}


def test_of_a_model_no_better_than_one_answer_nothing_is_verified():
    x, y = plant()
    standardised = (x - x.mean(0)) / x.std(0)
    found = cards_of(model(bias=-43.0 - 100), x, y)  # says one class of all rows
    assert {card["ablation"]["untested"] for key, card in found.cards.items() if "output" not in key} == {"no_better"}
    assert not any(card["ablation"]["passed"] for key, card in found.cards.items() if "output" not in key)
    assert found.info["ablation"]["one_answer"] == {"score": 0.5, "constant": 0.5, "no_better": True}
    assert not cards_of(model(), x, y).info["ablation"]["one_answer"]["no_better"]
    _, traced, basis = curved(standardised)
    broken = collect(traced, basis, [(standardised, 100 + random(200, 1, seed=4))], columns=NAMES)
    assert broken["0:in:0"]["ablation"]["untested"] == "no_better"
    assert not broken["0:in:0"]["ablation"]["passed"]
