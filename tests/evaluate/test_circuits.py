"""Faithfulness curves and the tests of circuits, on models whose circuits are known."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import libasis
from libasis.errors import OptionError
from libasis.numerics import hsic, ratio

F64 = torch.float64
CAUSES = (1, 3, 4)
SAMPLES = 150


class Planted(nn.Module):
    """Six numbers pass a site; the output is the sum of three of them, the others vary ten times as much."""

    def __init__(self, weights=(0.0, 1.0, 0.0, 1.0, 1.0, 0.0)):
        super().__init__()
        self.mid, self.late = nn.Identity(), nn.Identity()
        self.first, self.head = nn.Linear(6, 6, bias=False), nn.Linear(6, 1, bias=False)
        self.first.weight.data = torch.eye(6, dtype=F64)
        self.head.weight.data = torch.tensor([weights], dtype=F64)

    def forward(self, x):
        return self.head(self.late(self.first(self.mid(x))))


def score(outputs, targets):
    return -(outputs[:, 0] - targets).square()


@pytest.fixture(scope="module")
def planted():
    model = Planted().eval()
    x = torch.randn(SAMPLES, 6, dtype=F64, generator=torch.Generator().manual_seed(0))
    x[:, [0, 2, 5]] *= 10
    noise = torch.randn(SAMPLES, dtype=F64, generator=torch.Generator().manual_seed(1)) / 10
    traced = libasis.trace(model, x, ["mid", "late", "output"])
    targets = x[:, list(CAUSES)].sum(1) + noise
    batches = list(zip(x.split(60), targets.split(60), strict=True))
    return traced, {m: libasis.fit(traced, [x], m, progress=False) for m in ("neuron", "lib")}, batches


def of(planted, circuit, **options):
    traced, bases, batches = planted
    return libasis.circuit_tests(traced, bases["neuron"], batches, circuit, score, progress=False, **options)


@pytest.mark.parametrize("circuit", [{"mid": CAUSES}, {"mid": CAUSES, "late": CAUSES}, {"late": CAUSES}])
def test_a_whole_circuit_is_equivalent_and_nothing_is_left_and_all_is_needed(planted, circuit):
    found = of(planted, circuit)
    assert found.equivalence == "equivalent"
    assert found.difference.value == pytest.approx(0, abs=1e-12)
    assert found.difference.low < 0 < found.difference.high
    assert found.kept.value == pytest.approx(1)
    assert found.lost.value == pytest.approx(1)
    assert found.independence == "not shown"
    assert not found.superfluous
    assert [one.needed for one in found.members] == [True] * sum(map(len, circuit.values()))


def test_half_a_circuit_differs_and_something_is_left(planted):
    found = of(planted, {"mid": CAUSES[:1]})
    assert found.equivalence == "differs"
    assert found.equivalence_p < 1e-3
    assert found.better.high < 0.4
    assert found.kept.high < 0.9
    assert found.lost.high < 0.9
    assert 0 < found.kept.value < found.kept.high


def test_a_superfluous_member_is_named(planted):
    found = of(planted, {"mid": (*CAUSES, 5)})
    assert found.superfluous == ["mid:5"]
    assert found.equivalence == "equivalent"
    assert found.members[-1].change == 0
    assert found.members[-1].p == 1


def test_what_is_left_goes_with_the_model_where_another_path_does_the_same():
    """Two copies of one number: without the first the second still follows the model's score."""
    x = torch.randn(SAMPLES, 6, dtype=F64, generator=torch.Generator().manual_seed(2))
    model = Planted((1.0, 1.0, 0.0, 0.0, 0.0, 0.0)).eval()
    traced = libasis.trace(model, x, ["mid", "output"])
    basis = libasis.fit(traced, [x], "neuron", progress=False)
    output = lambda outputs, targets: outputs[:, 0]  # noqa: E731
    found = libasis.circuit_tests(traced, basis, [(x, x[:, 0])], {"mid": [0]}, output, progress=False)
    assert found.independence == "dependent"
    assert found.independence_p == 1 / 1000


def test_nothing_to_compare_with_is_said(planted):
    found = of(planted, {"mid": range(6)})
    assert [one.needed for one in found.members] == [None] * 6
    assert not found.superfluous


def test_units_widen_the_intervals_and_decide_the_test(planted):
    units = np.arange(SAMPLES) // 10
    alone, together = (of(planted, {"mid": CAUSES[:1]}, units=u) for u in (None, units))
    assert together.kept.units == 15
    assert together.kept.value == pytest.approx(alone.kept.value)
    assert alone.kept.units == SAMPLES


def test_a_circuit_of_edges(planted):
    traced, bases, batches = planted
    graph = libasis.interactions(traced, bases["neuron"], [b[0] for b in batches], progress=False)
    pairs = [(i, i) for i in CAUSES]
    found = libasis.circuit_tests(traced, graph, batches, {"mid": pairs}, score, edges=True, progress=False)
    assert found.equivalence == "equivalent"
    assert found.lost.value == pytest.approx(1)
    assert found.members[0].member == "1<-1"
    assert [one.needed for one in found.members] == [None] * 3  # three other edges show nothing
    half = libasis.circuit_tests(traced, graph, batches, {"mid": pairs[:1]}, score, edges=True, progress=False)
    assert half.equivalence == "differs"
    extra = [*pairs, (0, 0)]
    more = libasis.circuit_tests(traced, graph, batches, {"mid": extra}, score, edges=True, progress=False)
    assert more.equivalence == "equivalent"
    assert more.members[0].change == 0  # the edge into a number that the output does not read


@pytest.mark.parametrize("edges", [False, True])
def test_faithfulness_of_a_ranking_that_knows_the_causes(planted, edges):
    """LIB finds one direction that the output reads: with it all is there, without it nothing."""
    traced, bases, batches = planted
    what = bases["lib"]
    if edges:
        what = libasis.interactions(traced, what, [b[0] for b in batches], progress=False)
    found = libasis.faithfulness(traced, what, batches, score, edges=edges, progress=False)
    for place in ("mid", "late"):
        assert found.totals[place] == 1
        assert [row[1] for row in found.curves[place]["keep"]] == pytest.approx([0, 1])
        assert [row[1] for row in found.curves[place]["remove"]] == pytest.approx([1, 0])
        assert found.areas[place]["keep"].value == pytest.approx(0.5)


def test_faithfulness_is_the_share_between_all_and_nothing(planted):
    """By hand, for neurons, whose ranking is by variance: what varies most carries nothing."""
    traced, bases, batches = planted
    found = libasis.faithfulness(traced, bases["neuron"], batches, score, places=["mid"], progress=False)
    x, y = (torch.cat(part) for part in zip(*batches, strict=True))
    mean = bases["neuron"]["mid"].mean
    order = bases["neuron"]["mid"].importances.argsort(descending=True).tolist()
    shares = []
    for count in range(7):
        kept = torch.isin(torch.arange(6), torch.tensor(order[:count], dtype=torch.int64))
        shares.append(float(score(traced_output(torch.where(kept, x, mean)), y).mean()))
    base = float(score(traced_output(x), y).mean())
    expected = [(s - shares[0]) / (base - shares[0]) for s in shares]
    keep = found.curves["mid"]["keep"]
    assert [row[0] for row in keep] == list(range(7))
    assert [row[1] for row in keep] == pytest.approx(expected)
    assert found.areas["mid"]["keep"].value == pytest.approx(np.trapezoid(expected, dx=1 / 6))
    assert found.areas["mid"]["keep"].value < 0.3 < 0.7 < found.areas["mid"]["remove"].value
    assert all(low <= share <= high and low < high for _, share, low, high in keep)


def traced_output(x):
    return x[:, list(CAUSES)].sum(1, keepdim=True)


def test_they_are_kept_and_read_again(planted, tmp_path):
    traced, bases, batches = planted
    for made in (
        of(planted, {"mid": CAUSES}),
        libasis.faithfulness(traced, bases["neuron"], batches, score, progress=False),
    ):
        read = libasis.load(made.save(tmp_path / type(made).__name__))
        assert read.rows() == made.rows()
        assert repr(read) == repr(made)


@pytest.mark.parametrize(
    ("circuit", "options", "words"),
    [
        ({"nowhere": [0]}, {}, "nowhere"),
        ({}, {}, "circuit names the sites"),
        ({"mid": []}, {}, "no features"),
        ({"mid": [6]}, {}, "6"),
        ({"mid": [0]}, {"replacement": "median"}, "median"),
        ({"mid": [0]}, {"epsilon": 0.5}, "epsilon"),
        ({"mid": [0]}, {"edges": True}, "InteractionGraph"),
    ],
)
def test_what_is_refused(planted, circuit, options, words):
    with pytest.raises(OptionError, match=words):
        of(planted, circuit, **options)


def test_a_share_is_not_defined_where_the_whole_is_nothing():
    rng = np.random.default_rng(0)
    found = ratio(rng.normal(size=50), rng.normal(size=50))
    assert math.isnan(found.value)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_intervals_of_shares_hold_the_truth():
    """In 200 studies of 40 units of unequal size whose parts are 0.6 of wholes that vary; and 0/1 parts."""
    rng, hits, binary = np.random.default_rng(1), 0, 0
    for _ in range(200):
        wholes = rng.lognormal(0, 0.5, 40)
        found = ratio(0.6 * wholes + rng.normal(0, 0.3, 40), wholes)
        hits += found.low <= 0.6 <= found.high
        whole = (rng.random(200) < 0.8).astype(float)
        found = ratio(whole * (rng.random(200) < 0.98), whole)
        binary += found.low <= 0.98 <= found.high
        assert found.low < found.high
    assert 0.91 <= hits / 200 <= 0.985
    assert binary / 200 >= 0.93


def test_hsic_holds_its_level_and_sees_what_no_correlation_does():
    rng, found = np.random.default_rng(2), []
    for n in range(100):
        found.append(hsic(rng.normal(size=30), rng.normal(size=30), seed=n))
    assert np.mean(np.array(found) <= 0.05) <= 0.11
    x = rng.normal(size=150)
    assert hsic(x, x**2) == 1 / 1000


def test_counts_of_a_curve_above_what_a_place_has_are_named_or_refused(planted, caplog):
    traced, bases, batches = planted
    x = torch.cat([inputs for inputs, _ in batches])
    x[:, 0] = 0
    narrow = libasis.fit(traced, [x], "pca", progress=False)
    assert narrow.sites[0].k == 5
    found = libasis.faithfulness(traced, narrow, batches, score, counts=[2, 6], progress=False)
    assert [row[0] for row in found.curves["mid"]["keep"]] == [0, 2, 5]
    assert "counts has counts that are not measured, since there are not so many features: 6 at 'mid'" in caplog.text
    for basis, edges in ((bases["neuron"], False), (libasis.interactions(traced, bases["lib"], [x]), True)):
        with pytest.raises(OptionError, match="counts has 37, but no place here can have more than"):
            libasis.faithfulness(traced, basis, batches, score, counts=[2, 37], edges=edges, progress=False)
