"""The parts of the pass, each against its definition: histogram, extremes, means, samples put together again."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chains import F64, random
from libasis.cards.drawn import DrawnSamples
from libasis.cards.extremes import Extremes, extreme_positions
from libasis.cards.histogram import BINS, Histogram
from libasis.cut import Record
from libasis.data import Batch
from libasis.numerics.means import Mean, Range

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
    apart = [Histogram(torch.tensor([scale], dtype=F64)) for _ in pieces]
    for histogram, piece in zip(apart, pieces, strict=True):
        histogram.add(piece)
    apart[0].merge(apart[1])
    facts = one.facts(0)
    assert facts == two.facts(0) == apart[0].facts(0)
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
    found, start, apart = Extremes(1, 4, sign), 0, []
    for piece in torch.tensor(values, dtype=F64)[:, None].tensor_split(sorted(cuts)):
        numbers = torch.arange(start, start + len(piece))
        apart.append(Extremes(1, 4, sign))
        for extremes in (found, apart[-1]):
            extremes.add(piece, numbers, lambda row, feature, n=numbers: {"number": n[row]})
        start += len(piece)
    for other in apart[:-1]:
        apart[-1].merge(other)
    known = [i for i, v in enumerate(values) if v == v]
    for extremes in (found, apart[-1]):
        expected = sorted(known, key=lambda i: -sign * values[i])[:4]
        assert [int(item["number"]) for item in extremes.entries[0]] == expected


def test_the_first_of_equal_positions_is_taken_and_padding_is_not():
    z = torch.tensor([[[1.0], [3.0], [3.0], [9.0]], [[5.0], [5.0], [1.0], [1.0]], [[0.0]] * 4], dtype=F64)
    counted = torch.tensor([[True, True, True, False], [True] * 4, [False] * 4])
    values, where = extreme_positions(z, counted, 1)
    assert values[:2, 0].tolist() == [3.0, 5.0]
    assert values[2].isnan()
    assert where[:2, 0].tolist() == [1, 0]
    assert extreme_positions(z, None, -1)[1].flatten().tolist() == [0, 2, 0]


@given(numbers, st.lists(st.integers(0, 40), max_size=3))
def test_means_do_not_depend_on_the_pieces(values, cuts):
    x = torch.tensor(values, dtype=F64)[:, None] + 1e3
    found, reach = Mean(), Range()
    for piece in x.tensor_split(sorted(cuts)):
        found.add(piece)
        reach.add(piece)
    assert found.n == len(x)
    assert (reach.low.tolist(), reach.high.tolist()) == (x.amin(0).tolist(), x.amax(0).tolist())
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


def drawn(*batches, count=99):
    """The samples of some batches, drawn and put together again."""
    rows, first = None, 0
    for batch in batches:
        size = len(batch.args[0])
        numbers = torch.arange(first, first + size)
        record = Record((batch.args[0][:, None],), (), None, (None,), batch.targets, batch, numbers)
        rows = rows or DrawnSamples(batch, size, count, 0)
        rows.add(record)
        first += size
    return rows, list(rows.batches())


def test_samples_are_put_together_as_they_were():
    x, ids, shared = random(5, 3), torch.arange(5), torch.arange(7)
    kwargs = {"ids": ids, "table": shared, "flag": True}
    rows, (one,) = drawn(Batch((x,), kwargs, ["a", "b", "c", "d", "e"], 0), count=3)
    which = rows.numbers
    assert len(which) == 3
    assert torch.equal(one.args[0], x[which])
    assert one.kwargs["ids"].tolist() == which.tolist()
    assert torch.equal(one.kwargs["table"], shared)
    assert one.kwargs["flag"] is True
    assert one.targets == ["abcde"[i] for i in which]
    _, several = drawn(*(Batch((part,), {}, None, i) for i, part in enumerate(x.split([2, 2, 1]))))
    assert [len(b.args[0]) for b in several] == [2, 2, 1]
    assert torch.equal(torch.cat([b.args[0] for b in several]), x)


def test_samples_of_other_shapes_go_apart():
    _, found = drawn(*(Batch((random(2, n),), {}, torch.arange(2), 0) for n in (3, 4, 3)))
    assert [tuple(b.args[0].shape) for b in found] == [(2, 3), (2, 3), (2, 4)]


def test_a_held_sample_does_not_hold_its_batch():
    rows, _ = drawn(Batch((random(1000, 3),), {}, None, 0), count=1)
    ((_, item),) = rows.draw.items()
    assert item["0"].untyped_storage().nbytes() == 3 * 8
    assert rows.shared == [None]
    assert "target" not in item


def test_drawn_samples_are_those_of_a_merge_and_of_what_was_written_down():
    batches = [Batch((random(4, 2, seed=i),), {"flag": 3}, torch.arange(4) + i, 0) for i in range(3)]
    whole, (again, *_) = drawn(*batches, count=5)
    parts = []
    for i, batch in enumerate(batches):
        rows = DrawnSamples(batches[0], 4, 5, 0)
        numbers = torch.arange(4) + 4 * i
        rows.add(Record((batch.args[0][:, None],), (), None, (None,), batch.targets, batch, numbers))
        resumed = DrawnSamples(batches[0], 4, 5, 0)
        resumed.load(rows.state())
        parts.append(resumed)
    parts[2].merge(parts[0])
    parts[2].merge(parts[1])
    assert torch.equal(parts[2].numbers, whole.numbers)
    one = next(parts[2].batches())
    assert torch.equal(one.args[0], again.args[0])
    assert torch.equal(one.targets, again.targets)
