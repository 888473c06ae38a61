"""Suggestions: what was planted is found, what was not is not."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import libasis
from cards.collecting import approx, collect
from chains import F64, random
from libasis.cards.suggest import associated, correlated, cyclic, periodic, single_output

stats = pytest.importorskip("scipy.stats")


def identity(x, out=2):
    """A cut at the inputs, its basis the coordinates themselves, so that a feature is what the test makes it."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Identity(), nn.Linear(x.shape[-1], out)).to(F64).eval()
    traced = libasis.trace(model, x, ["0", "output"])
    return traced, libasis.fit(traced, [x], "neuron", progress=False)


def of(cards, feature, kind):
    return [s for s in cards[feature]["suggestions"] if s["kind"] == kind]


@given(st.integers(0, 10**6))
def test_the_area_under_the_curve_and_its_p_value(seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 12, (60, 2), generator=generator).to(F64)  # with ties
    labels = torch.randint(0, 2, (60,), generator=generator)
    if not 5 <= int(labels.sum()) <= 55:
        return
    found = associated(torch.arange(60), labels, values)
    assert (found.candidates, found.n) == (2, 60)
    for f in range(2):
        a, b = values[labels == found.best[f], f], values[labels != found.best[f], f]
        auc = ((a[:, None] > b).double() + (a[:, None] == b).double() / 2).mean()
        assert found.effect[f] == approx(float(auc))
        test = stats.mannwhitneyu(a.numpy(), b.numpy(), use_continuity=False, method="asymptotic")
        assert found.p[f] == pytest.approx(test.pvalue, rel=1e-8)


def test_rare_labels_are_no_candidates():
    values = torch.arange(20, dtype=F64)[:, None]
    labels = torch.zeros(20, dtype=torch.long)
    labels[-4:] = 1
    assert associated(torch.arange(20), labels, values) is None


@given(st.integers(0, 10**6))
def test_the_correlation_and_its_p_value(seed):
    generator = torch.Generator().manual_seed(seed)
    columns = torch.randn(30, 4, dtype=F64, generator=generator)
    columns[:, 3] = 7.0  # a constant goes with nothing
    values = columns[:, :1] + torch.randn(30, 1, dtype=F64, generator=generator)
    found = correlated(columns, values)
    tests = [stats.pearsonr(columns[:, c].numpy(), values[:, 0].numpy()) for c in range(3)]
    best = max(range(3), key=lambda c: abs(tests[c].statistic))
    assert found.best == [best]
    assert found.effect[0] == approx(tests[best].statistic)
    assert found.p[0] == pytest.approx(tests[best].pvalue, rel=1e-7)


def test_a_frequency_is_found_in_one_and_two_variables():
    a, b = (t.flatten() for t in torch.meshgrid(torch.arange(13), torch.arange(13), indexing="ij"))
    waves = [
        torch.cos(2 * math.pi * 3 * (a + b) / 13 + 0.4),
        torch.sin(2 * math.pi * 5 * (a - b) / 13),
        torch.cos(2 * math.pi * 2 * a / 13) + torch.cos(2 * math.pi * 6 * b / 13) / 2,
    ]
    values = torch.stack(waves, 1).to(F64)
    both = torch.stack([a, b], 1)
    found = periodic(both, 13, values)
    assert found.best == [3, 5, 2]
    assert found.effect == pytest.approx([1, 1, 0.79], abs=0.02)  # (1/2) / (1/2 + 1/8) = 0.8, less eight terms' chance
    single = periodic(a[:, None], 13, torch.cos(2 * math.pi * 4 * a / 13).to(F64)[:, None])
    assert (single.best, single.effect) == ([4], [pytest.approx(1)])
    noise = periodic(both, 13, random(169, 200, seed=3))
    assert min(noise.p) * noise.candidates * 200 > 0.01
    assert max(noise.effect) < 0.3


def test_the_p_value_of_a_frequency_is_that_of_the_regression():
    a = torch.arange(60)[:, None] % 12
    values = random(60, 1, seed=5)
    found = periodic(a, 12, values)
    phase = a.to(F64) * (2 * math.pi * found.best[0] / 12)
    design = torch.cat([torch.ones(60, 1, dtype=F64), phase.cos(), phase.sin()], 1)
    fitted = design @ torch.linalg.lstsq(design, values).solution
    rest, total = (values - fitted).square().sum(), (values - values.mean()).square().sum()
    assert found.effect[0] == approx(float(1 - (rest / 57) / (total / 59)))
    assert found.p[0] == pytest.approx(stats.f.sf(float(((total - rest) / 2) / (rest / 57)), 2, 57), rel=1e-7)


def test_which_tokens_are_cyclic():
    numbers = torch.cartesian_prod(torch.arange(7), torch.arange(7), torch.tensor([7]))
    assert cyclic(numbers) == ([0, 1], 7)
    assert cyclic(numbers[:, :1]) == ([0], 7)
    assert cyclic(numbers[:-1] + 1) is None  # does not start at 0
    assert cyclic(numbers[numbers[:, 0] != 3]) is None  # a number is missing
    assert cyclic(torch.cartesian_prod(*[torch.arange(4)] * 3)) is None  # three vary
    assert cyclic(numbers, most=6) is None


def test_one_output_takes_most_of_the_effect():
    found = single_output(torch.tensor([[0.1, 3.0, 0.1], [1.0, 1.0, 1.0]], dtype=F64), 9)
    kept = found.suggestions("output", "share of squared effect", 1, str)
    assert (kept[0]["value"], kept[0]["p"], kept[0]["n"]) == ("1", None, 9)
    assert kept[1] is None
    assert single_output(torch.ones(2, 2), 9) is None


def test_a_planted_class_is_found_and_a_random_one_is_not():
    x = random(300, 4, seed=1)
    y = torch.randint(0, 3, (300,), generator=torch.Generator().manual_seed(2))
    x[:, 1] += 3.0 * (y == 2)
    x[:, 2] -= 3.0 * (y == 0)
    cards = collect(*identity(x, out=3), [(x[:100], y[:100]), (x[100:], y[100:])], outputs=["cat", "dog", "<b>eel</b>"])
    (found,) = of(cards, "0:1", "class")
    others = x[y != 2, 1]
    auc = (x[y == 2, 1][:, None] > others).double().mean()
    assert (found["value"], found["statistic"], found["n"]) == ("<b>eel</b>", "AUC", 300)
    assert found["effect"] == approx(float(auc))
    assert found["p"] < 1e-10
    (low,) = of(cards, "0:2", "class")
    assert low["value"] == "cat"
    assert low["effect"] < 0.05
    assert not of(cards, "0:0", "class")
    assert not of(cards, "0:3", "class")


def test_a_planted_column_is_found_and_a_random_one_is_not():
    columns = random(200, 5, seed=4)
    model = nn.Sequential(nn.Linear(5, 3), nn.Identity(), nn.Linear(3, 2)).to(F64).eval()
    model[0].weight.data = torch.zeros(3, 5, dtype=F64)
    model[0].weight.data[0, 3] = -2.0
    model[0].weight.data[1] = 1.0  # of all columns alike: none of them alone
    model[0].weight.data[2, :2] = torch.tensor([1.0, 0.2], dtype=F64)
    traced = libasis.trace(model, columns, ["1", "output"])
    basis = libasis.fit(traced, [columns], "neuron", progress=False)
    names = ["a", "b", "c", "d", "e"]
    cards = collect(traced, basis, [columns], columns=names)
    (found,) = of(cards, "1:0", "column")
    assert (found["value"], found["statistic"], found["effect"]) == ("d", "correlation", approx(-1.0))
    assert of(cards, "1:2", "column")[0]["value"] == "a"
    noise = collect(traced, basis, [columns], kind="table")  # without names the number of the column
    assert of(noise, "1:0", "column")[0]["value"] == "3"


def test_classes_of_a_single_output_keep_their_numbers():
    x = random(100, 3, seed=1)
    y = (torch.arange(100) % 2).bool()
    x[:, 0] += 4.0 * y
    (found,) = of(collect(*identity(x, out=1), [(x, y)], outputs=["risk"], metric=None), "0:0", "class")
    assert found["value"] in ("0", "1")


@pytest.mark.parametrize("seed", range(3))
def test_of_noise_nothing_is_suggested(seed):
    x = random(150, 6, seed=seed)
    y = torch.randint(0, 5, (150,), generator=torch.Generator().manual_seed(seed + 50))
    cards = collect(*identity(x, out=5), [(x, y)])
    assert not any(s["kind"] == "class" for card in cards.cards.values() for s in card["suggestions"])


class Tokens(nn.Module):
    """Embedding, a hook at each token, and at a mean over them."""

    def __init__(self, table):
        super().__init__()
        self.embed = nn.Embedding.from_pretrained(table)
        self.token, self.mean = nn.Identity(), nn.Identity()
        self.out = nn.Linear(table.shape[1], 3)

    def forward(self, ids):
        return self.out(self.mean(self.token(self.embed(ids)).mean(1)))


def test_a_planted_token_is_found_and_a_random_one_is_not():
    table = random(9, 3, seed=6) * 0.3
    table[4, 0] = 5.0
    torch.manual_seed(0)
    model = Tokens(table).to(F64).eval()
    ids = torch.randint(9, (120, 12), generator=torch.Generator().manual_seed(1))
    traced = libasis.trace(model, ids, ["token", "mean", "output"])
    basis = libasis.fit(traced, [ids], "neuron", progress=False)
    cards = collect(traced, basis, [ids[:50], ids[50:]], vocabulary=[f"w{t}" for t in range(9)])
    (found,) = of(cards, "token:0", "token")
    assert (found["value"], found["effect"], found["n"]) == ("w4", 1.0, 1440)
    (found,) = of(cards, "mean:0", "token")  # the texts that have it
    has = (ids == 4).any(1)
    values = table[ids][..., 0].mean(1)
    assert found["value"] == "w4"
    assert found["effect"] == approx(float((values[has][:, None] > values[~has]).double().mean()))
    assert found["n"] == 120


def test_tokens_of_short_texts_are_told_apart_by_their_place():
    table = torch.zeros(5, 1, dtype=F64)
    model = nn.Sequential(nn.Embedding.from_pretrained(table), nn.Flatten(), nn.Identity(), nn.Linear(3, 3))
    model = model.to(F64).eval()
    ids = torch.randint(5, (200, 3), generator=torch.Generator().manual_seed(1))

    class Second(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.hook, self.out = (
                nn.Embedding.from_pretrained(torch.eye(5)[:, 2:3]),
                nn.Identity(),
                nn.Linear(1, 3),
            )

        def forward(self, ids):
            noise = torch.sin(1000.0 * (ids * torch.tensor([1.0, 7.0, 31.0])).sum(1, keepdim=True))
            return self.out(self.hook(self.embed(ids[:, 1]) + 0.1 * noise))

    model = Second().eval()
    traced = libasis.trace(model, ids, ["hook", "output"])
    basis = libasis.fit(traced, [ids], "neuron", progress=False)
    names = lambda own: [f"{place}={t}" for place, t in zip("abc", own, strict=True)]  # noqa: E731
    (found,) = of(collect(traced, basis, [ids], vocabulary=names), "hook:0", "token")
    assert found["value"] == "b=2"
    assert found["effect"] == 1.0


def test_a_planted_frequency_is_found_and_a_random_one_is_not():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.hook, self.out = nn.Identity(), nn.Linear(2, 3)
            self.noise = nn.Embedding.from_pretrained(random(11 * 11, 1, seed=9))

        def forward(self, ids):
            a, b = ids[:, 0], ids[:, 1]
            wave = torch.cos(2 * math.pi * 4 * (a + b).to(F64) / 11)[:, None]
            return self.out(self.hook(torch.cat([wave, self.noise(11 * a + b)], 1)))

    ids = torch.cartesian_prod(torch.arange(11), torch.arange(11), torch.tensor([11]))
    traced = libasis.trace(Sum().to(F64).eval(), ids, ["hook", "output"])
    basis = libasis.fit(traced, [ids], "neuron", progress=False)
    cards = collect(traced, basis, [ids])
    (found,) = of(cards, "hook:0", "frequency")
    assert (found["value"], found["statistic"], found["effect"]) == ("4 of 11", "share of variance", approx(1.0))
    assert not of(cards, "hook:1", "frequency")


def test_suggestions_stand_strongest_first_and_say_how_they_were_corrected():
    x = random(300, 3, seed=1)
    y = torch.randint(0, 3, (300,), generator=torch.Generator().manual_seed(2))
    x[:, 1] += 3.0 * (y == 2)
    cards = collect(*identity(x, out=3), [(x, y)], columns=["a", "b", "c"])
    kinds = [s["kind"] for s in cards["0:1"]["suggestions"]]
    assert kinds[:2] == ["column", "class"]
    assert "Bonferroni" in cards.info["suggestions"]["correction"]
    assert cards.info["suggestions"]["samples"] == 300
