"""Samples keep their identity between passes, whatever order they come in; data that change are refused."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

import libasis
from cut.cutting import randn
from libasis.errors import BatchError
from libasis.measure import Records

N, D = 23, 4
X = randn(N, D, seed=1)
CHANGED = (
    r"^The data changed between two passes: .*; give the same samples in every pass \(no random augmentation, no "
    r"sampling with replacement\), or have them read once: more memory, a folder as spill, or libasis\.keep\.$"
)
AGAIN = 1  # byte of memory: every pass runs the model


@pytest.fixture(scope="module")
def traced():
    return libasis.trace(nn.Linear(D, 3).double().eval(), X[:2], ["input", "output"])


def own(seed=0):
    """A generator of the loader's own, which goes on from pass to pass."""
    return torch.Generator().manual_seed(seed)


def passes(records, count=3):
    """Numbers and inputs of all samples, in the order of each pass."""
    for _ in range(count):
        batches = list(records.stream())
        yield torch.cat([r.numbers for r in batches]), torch.cat([r.activations[0][:, 0] for r in batches])


class Batches:
    """A re-iterable whose passes are what ``make(pass)`` returns."""

    def __init__(self, make):
        self.make, self.passes = make, 0

    def __iter__(self):
        self.passes += 1
        return iter(self.make(self.passes - 1))


def test_samples_in_the_same_order_keep_it(traced):
    for memory in (AGAIN, 2**30):
        for numbers, x in passes(Records(traced, list(X.split(7)), memory)):
            assert torch.equal(numbers, torch.arange(N))
            assert torch.equal(x, X)


def test_a_shuffled_loader_gives_each_pass_the_order_of_the_first(traced):
    """Its seed is drawn from the global generator, which every pass finds as the first did."""
    records = Records(traced, DataLoader(TensorDataset(X), batch_size=5, shuffle=True), AGAIN)
    (_, first), *others = passes(records)
    assert not torch.equal(first, X)
    for numbers, x in others:
        assert torch.equal(numbers, torch.arange(N))
        assert torch.equal(x, first)


def test_samples_are_found_again_in_another_order(traced):
    loader = DataLoader(TensorDataset(X), batch_size=5, shuffle=True, generator=own())
    (start, first), *others = passes(Records(traced, loader, AGAIN))
    assert torch.equal(start, torch.arange(N))
    for numbers, x in others:
        assert not torch.equal(x, first)
        assert torch.equal(first[numbers], x)
        assert torch.equal(numbers.sort().values, torch.arange(N))


def test_samples_are_found_again_in_other_batches(traced):
    cuts = [7, 5, 23]
    records = Records(traced, Batches(lambda i: X.flip(0).split(cuts[i]) if i else X.split(7)), AGAIN)
    (_, first), *others = passes(records)
    for numbers, x in others:
        assert torch.equal(first[numbers], x)


def test_equal_samples_share_their_numbers(traced):
    x = torch.cat([X[:4], X[:4], X[2:3]])
    loader = DataLoader(TensorDataset(x), batch_size=3, shuffle=True, generator=own())
    (_, first), *others = passes(Records(traced, loader, AGAIN))
    for numbers, again in others:
        assert torch.equal(numbers.sort().values, torch.arange(9))
        assert torch.equal(first[numbers], again)


def test_targets_tell_samples_apart(traced):
    """Equal inputs of several classes: each keeps its target."""
    targets = torch.arange(N) % 5
    loader = DataLoader(TensorDataset(X[:1].expand(N, -1), targets), batch_size=6, shuffle=True, generator=own())
    records, found = Records(traced, loader, AGAIN), []
    for _ in range(2):
        batches = list(records.stream())
        by_number = torch.empty(N, dtype=torch.long)
        by_number[torch.cat([r.numbers for r in batches])] = torch.cat([r.targets for r in batches])
        found.append(by_number)
    assert torch.equal(*found)


def noisy(generator):
    return lambda x: x + 0.01 * torch.randn(x.shape, dtype=x.dtype, generator=generator)


def augmented(generator):
    return Batches(lambda _: map(noisy(generator), X.split(7)))


def test_augmentation_by_the_global_generator_is_drawn_again(traced):
    (_, first), *others = passes(Records(traced, augmented(None), AGAIN))
    assert not torch.equal(first, X)
    assert all(torch.equal(x, first) for _, x in others)


DRAWN = WeightedRandomSampler(torch.rand(N, generator=own()), N, generator=own(1))
CHANGING = {
    "augmented by a generator of its own": lambda: augmented(own()),
    "drawn with replacement": lambda: DataLoader(TensorDataset(X), batch_size=5, sampler=DRAWN),
    "shrinking": lambda: Batches(lambda i: X[: N - i].split(7)),
    "growing": lambda: Batches(lambda i: X[: N - 5 + i].split(7)),
    "fewer doubles": lambda: Batches(lambda i: [torch.cat([X[:3], X[2 - i : 3 - i]])]),
}


@pytest.mark.parametrize("name", CHANGING)
def test_data_that_change_are_refused(traced, name):
    records = Records(traced, CHANGING[name](), AGAIN)
    list(records.stream())
    with pytest.raises(BatchError, match=CHANGED):
        list(records.stream())


@pytest.mark.parametrize("name", CHANGING)
def test_data_that_change_may_be_read_once(traced, name, tmp_path):
    for options in ({}, {"memory": AGAIN, "spill": tmp_path}):
        with Records(traced, CHANGING[name](), **options) as records:
            (_, first), *others = passes(records)
            assert all(torch.equal(x, first) and torch.equal(n, torch.arange(len(x))) for n, x in others)


def test_a_fit_says_so_too(traced):
    with pytest.raises(BatchError, match=CHANGED):
        libasis.fit(traced, augmented(own()), memory=AGAIN, progress=False)


def states():
    return torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002


def same(one, two):
    return torch.equal(one[0], two[0]) and np.array_equal(one[1], two[1]) and one[2] == two[2]


def jittered(i):
    """Batches that draw from all three global generators."""
    for x in X.split(7):
        yield x + torch.rand(()) + np.random.rand() + random.random()  # noqa: NPY002


@pytest.mark.parametrize("memory", [AGAIN, 2**30])
def test_the_processs_generators_are_left_alone(traced, memory):
    before = states()
    records = Records(traced, Batches(jittered), memory)
    records.first()
    assert same(states(), before)
    for _ in records.stream():
        assert same(states(), before)  # between batches, too
        break
    (_, first), (_, second) = passes(records, 2)
    assert torch.equal(first, second)
    assert records.facts()["samples"] == N
    assert same(states(), before)


def test_what_others_draw_between_batches_changes_nothing(traced):
    records = Records(traced, Batches(jittered), AGAIN)
    found = []
    for _ in range(2):
        x = []
        for record in records.stream():
            torch.rand(3), np.random.rand(), random.random()  # noqa: NPY002
            x.append(record.activations[0])
        found.append(torch.cat(x))
    assert torch.equal(*found)


def test_what_is_said_of_the_data(traced):
    whole, parts = (Records(traced, list(X.split(size))).facts() for size in (N, 4))
    turned, others = Records(traced, [X.flip(0)]).facts(), Records(traced, [X + 1]).facts()
    assert whole["samples"] == N
    assert (whole["digest"], whole["order"]) == (parts["digest"], parts["order"])
    assert whole["digest"] == turned["digest"] != others["digest"]
    assert whole["order"] != turned["order"]
    assert whole["source"] == "list of 1 batches"


def test_the_longest_batch_is_known():
    model = nn.Linear(D, 3).double().eval()
    batches = [randn(2, 3, D), randn(2, 5, D)]
    records = Records(libasis.trace(model, batches[0], ["input", "output"]), batches)
    assert records.positions == (5, 5)


def test_some_records_keep_their_numbers(traced):
    records = Records(traced, list(X.split(7)))
    batches = list(records.stream())
    some = records.some([batches[2].select(torch.tensor([3, 0])), batches[0]])
    assert some.samples == 9
    assert torch.cat([r.numbers for r in some.stream()]).tolist() == [17, 14, *range(7)]
    assert torch.equal(next(some.stream()).vectors(0), X[[17, 14]])
    assert records.samples == N
