"""The parts of the pass, each against its definition: histogram, extremes, draws, means."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chains import F64, random
from libasis.cards.extremes import Extremes, extreme_positions
from libasis.cards.histogram import BINS, Histogram
from libasis.cards.means import Mean
from libasis.cards.sample import Drawn, Row, batches_of
from libasis.data.batches import Batch

numbers = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=40)


@given(numbers, st.integers(0, 40), st.integers(-9, 9).map(lambda k: 2.0**k), st.randoms(use_true_random=False))
def test_a_histogram_is_the_same_however_the_values_come(values, cut, scale, shuffler):
    x = torch.tensor(values, dtype=F64)[:, None]
    mixed = values.copy()
    shuffler.shuffle(mixed)
    pieces = torch.tensor(mixed, dtype=F64)[:, None].tensor_split([cut])
    one, two = Histogram(torch.tensor([scale], dtype=F64)), Histogram(torch.tensor([scale], dtype=F64))
    one.add(x)
    for piece in pieces:
        two.add(piece)
    facts = one.facts(0)
    assert facts == two.facts(0)
    low, high, counts = facts["low"], facts["high"], facts["counts"]
    assert low <= min(values) <= max(values) < high
    assert 1 <= len(counts) <= BINS
    assert counts[0] > 0
    assert counts[-1] > 0
    edges = low + (high - low) / len(counts) * np.arange(len(counts) + 1)
    assert counts == [sum(a <= v < b for v in values) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def test_each_feature_has_its_own_bins():
    x = torch.stack([torch.linspace(-1, 1, 100), torch.linspace(0, 1e9, 100), torch.full((100,), 5.0)], 1).to(F64)
    found = Histogram(torch.tensor([0.5, 0.5, 0.0], dtype=F64))
    found.add(x)
    for f in range(3):
        facts = found.facts(f)
        assert sum(facts["counts"]) == 100
        assert facts["low"] <= float(x[:, f].min()) <= float(x[:, f].max()) < facts["high"]
    assert found.facts(2)["counts"] == [100]
    assert len(found.facts(0)["counts"]) >= BINS // 2


@given(
    st.lists(st.one_of(st.integers(-3, 3).map(float), st.just(float("nan"))), min_size=1, max_size=30),
    st.lists(st.integers(0, 30), max_size=3),
    st.sampled_from([1, -1]),
)
def test_extremes_are_those_of_a_stable_sort(values, cuts, sign):
    found = Extremes(1, 4, sign)
    start = 0
    for piece in torch.tensor(values, dtype=F64)[:, None].tensor_split(sorted(cuts)):
        found.add(piece, lambda row, feature, start=start: (start + row, feature))
        start += len(piece)
    known = [i for i, v in enumerate(values) if v == v]
    assert found.entries[0] == [(i, 0) for i in sorted(known, key=lambda i: -sign * values[i])[:4]]


def test_the_first_of_equal_positions_is_taken_and_padding_is_not():
    z = torch.tensor([[[1.0], [3.0], [3.0], [9.0]], [[5.0], [5.0], [1.0], [1.0]], [[0.0]] * 4], dtype=F64)
    counted = torch.tensor([[True, True, True, False], [True] * 4, [False] * 4])
    values, where = extreme_positions(z, counted, 1)
    assert values[:2, 0].tolist() == [3.0, 5.0]
    assert values[2].isnan()
    assert where[:2, 0].tolist() == [1, 0]
    assert extreme_positions(z, None, -1)[1].flatten().tolist() == [0, 2, 0]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(1, 30))
def test_a_draw_depends_on_the_number_of_samples_alone(sizes, capacity):
    def drawn(parts, capacity=capacity):
        draw, first = Drawn(capacity, 3), 0
        for size in parts:
            draw.add(first, size, lambda row, first=first: first + row)
            first += size
        assert all(number == item for number, item in draw.items())
        return [number for number, _ in draw.items()]

    total = sum(sizes)
    assert drawn(sizes) == drawn([total]) == drawn([1] * total)
    assert len(drawn(sizes)) == min(total, capacity)
    assert set(drawn(sizes)) <= set(drawn(sizes, capacity + 5))


def test_a_draw_is_uniform():
    counts = np.zeros(40)
    for seed in range(400):
        draw = Drawn(10, seed)
        draw.add(0, 40, lambda row: row)
        counts[[number for number, _ in draw.items()]] += 1
    assert abs(counts - 100).max() < 5 * (400 * 0.25 * 0.75) ** 0.5


@given(numbers, st.lists(st.integers(0, 40), max_size=3))
def test_means_do_not_depend_on_the_pieces(values, cuts):
    x = torch.tensor(values, dtype=F64)[:, None] + 1e3
    found = Mean()
    for piece in x.tensor_split(sorted(cuts)):
        found.add(piece)
    assert found.n == len(x)
    assert found.mean.tolist() == pytest.approx(x.mean(0).tolist(), rel=1e-12)
    assert found.deviation().tolist() == pytest.approx(x.std(0, correction=0).tolist(), rel=1e-9, abs=1e-6)
    expected = x.std(0) / len(x) ** 0.5 if len(x) > 1 else torch.zeros(1)
    assert found.error().tolist() == pytest.approx(expected.tolist(), rel=1e-9, abs=1e-6)


def test_a_constant_has_no_deviation():
    found = Mean()
    for _ in range(5):
        found.add(torch.full((7, 1), 1e8 / 3, dtype=F64))
    assert float(found.deviation()) < 1e-6
    assert float(found.error()) < 1e-6


def test_samples_are_put_together_as_they_were():
    x, ids, shared = random(5, 3), torch.arange(5), torch.arange(7)
    batch = Batch((x,), {"ids": ids, "table": shared, "flag": True}, ["a", "b", "c", "d", "e"], 0)
    rows = [Row.of(batch, i, 5) for i in (3, 0, 4)]
    (one,) = batches_of(rows, 9)
    assert torch.equal(one.args[0], x[[3, 0, 4]])
    assert one.kwargs["ids"].tolist() == [3, 0, 4]
    assert torch.equal(one.kwargs["table"], shared)
    assert one.kwargs["flag"] is True
    assert one.targets == ["d", "a", "e"]
    assert [len(b.args[0]) for b in batches_of(rows, 2)] == [2, 1]


def test_samples_of_other_shapes_go_apart():
    rows = [Row.of(Batch((random(2, n),), {}, torch.arange(2), 0), 1, 2) for n in (3, 4, 3)]
    shapes = [tuple(b.args[0].shape) for b in batches_of(rows, 8)]
    assert shapes == [(2, 3), (1, 4)]


def test_a_held_sample_does_not_hold_its_batch():
    x = random(1000, 3)
    row = Row.of(Batch((x,), {}, None, 0), 2, 1000)
    assert row.leaves[0].untyped_storage().nbytes() == 3 * 8
    assert row.target is None
