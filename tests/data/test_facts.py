"""Digests of data without a model: the same as those of a call that goes through them."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import libasis
from libasis.data import data_facts, size_of, structure_of_example
from libasis.errors import BatchError
from libasis.measure import Records


def facts(batches):
    example = batches[0][0] if isinstance(batches[0], tuple) else batches[0]
    return data_facts(batches, structure_of_example(example))


@pytest.fixture
def pairs():
    x, y = torch.randn(20, 3), torch.randint(2, (20,))
    return [(x[:12], y[:12]), (x[12:], y[12:])]


class Shifted(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x, shift):
        return self.second(torch.relu(self.first(x + shift)))


def test_they_are_those_of_a_call(pairs):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    traced = libasis.trace(model, pairs[0][0], ["0:in", "2:in", "output"])
    assert facts(pairs) == Records(traced, pairs).facts() == libasis.fit(traced, pairs, progress=False).info["data"]


def test_inputs_by_name_and_what_all_samples_share():
    batches = [({"x": torch.randn(n, 3), "shift": torch.tensor(0.5)}, list("ab" * n)[:n]) for n in (4, 3)]
    traced = libasis.trace(Shifted().eval(), batches[0][0], ["first:in", "second:in", "output"])
    assert facts(batches) == Records(traced, batches).facts()


def test_batches_do_not_matter_and_order_shows(pairs):
    x, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    known = facts(pairs)
    split = facts([(x[i : i + 3], y[i : i + 3]) for i in range(0, 20, 3)])
    assert (split["digest"], split["order"]) == (known["digest"], known["order"])
    turned = facts([(x.flip(0), y.flip(0))])
    assert turned["digest"] == known["digest"]
    assert turned["order"] != known["order"]


@pytest.mark.parametrize("change", ["input", "target", "fewer", "twice", "dtype"])
def test_any_change_shows(pairs, change):
    (x, y), last = pairs
    other = {
        "input": lambda: (x + torch.eye(12, 3) * 1e-6, y),
        "target": lambda: (x, torch.cat([1 - y[:1], y[1:]])),
        "fewer": lambda: (x[:-1], y[:-1]),
        "twice": lambda: (torch.cat([x, x[:1]]), torch.cat([y, y[:1]])),
        "dtype": lambda: (x, y.float()),
    }[change]()
    assert facts([other, last])["digest"] != facts(pairs)["digest"]


def test_a_shuffled_loader_is_drawn_as_the_next_call_draws_it():
    data = TensorDataset(torch.randn(30, 3), torch.randint(2, (30,)))
    loader = DataLoader(data, batch_size=8, shuffle=True)
    before = torch.get_rng_state()
    known = data_facts(loader, structure_of_example(torch.zeros(1, 3)))
    assert torch.equal(torch.get_rng_state(), before)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    traced = libasis.trace(model, torch.zeros(2, 3), ["0:in", "2:in", "output"])
    torch.set_rng_state(before)
    assert Records(traced, loader).facts() == known


def test_what_is_no_data_is_refused(pairs):
    with pytest.raises(BatchError, match="one-shot"):
        data_facts(iter(pairs), structure_of_example(pairs[0][0]))
    with pytest.raises(BatchError, match="empty"):
        data_facts([], structure_of_example(pairs[0][0]))
    with pytest.raises(BatchError, match="no tensor with a batch dimension"):
        size_of({"x": torch.tensor(1.0), "y": "text"})
