"""The first dimension is the batch only if samples have their values for themselves, wherever they stand."""

import pytest
import torch
from torch import nn

import libasis
from cut.cutting import F64, calls, randn, refused
from libasis.errors import BatchError

EDGES = torch.tensor([[1, 2, 3, 4], [2, 3, 4, 5]])


def recurrent(kind, **options):
    return calls(lambda m, x: m.o(m.r(x)[0]), r=kind(4, 5, **options), o=nn.Linear(5, 3))


def attention(mask, **options):
    def run(m, x):
        hidden = torch.ones(len(x), len(x), dtype=torch.bool).triu(1) if mask else None
        return m.o(m.r(x, x, x, attn_mask=hidden, need_weights=False)[0])

    return calls(run, r=nn.MultiheadAttention(4, 2, **options), o=nn.Linear(4, 3))


def after(function):
    return calls(lambda m, x: m.o(function(m.r(x))), r=nn.Linear(4, 5), o=nn.Linear(5, 3))


MIXED = {
    "LSTM": lambda: recurrent(nn.LSTM),
    "GRU": lambda: recurrent(nn.GRU),
    "RNN, both ways": lambda: calls(
        lambda m, x: m.o(m.r(x)[0]), r=nn.RNN(4, 5, bidirectional=True), o=nn.Linear(10, 3)
    ),
    "causal attention": lambda: attention(mask=True),
    "attention": lambda: attention(mask=False),
    "cumsum": lambda: after(lambda h: h.cumsum(0)),
    "cumsum from the end": lambda: after(lambda h: h.flip(0).cumsum(0).flip(0)),
    "the mean": lambda: after(lambda h: h - h.mean(0)),
    "the largest": lambda: after(lambda h: h - 0.1 * h.max(0).values),
    "the number of the sample": lambda: after(lambda h: h * torch.arange(len(h)).to(h).view(-1, 1, 1)),
    "the neighbour": lambda: after(lambda h: h + h.roll(1, 0)),
    "how many there are": lambda: after(lambda h: h / h.shape[0]),
    "only some": lambda: after(lambda h: torch.cat([h[:3], h[3:] + h[2:3]])),
}


@pytest.mark.parametrize("kind", MIXED)
def test_samples_that_see_one_another(kind):
    words = ["read as the batch", "'o:in'", "depends on the other samples or on its place", "batch_first=True"]
    with refused(BatchError, *words):
        libasis.trace(MIXED[kind](), randn(6, 3, 4), ["input", "o:in", "output"])


@pytest.mark.parametrize("example", [torch.zeros(6, 3, 4, dtype=F64), randn(1, 3, 4).expand(6, 3, 4), randn(1, 3, 4)])
def test_samples_that_are_alike_hide_nothing(example):
    with refused(BatchError, "depends on the other samples"):
        libasis.trace(MIXED["cumsum"](), example, ["input", "o:in", "output"])


def test_a_graph_network_on_the_nodes_of_one_graph():
    def run(m, x, edges):
        h = m.r(x)
        return m.o(h.index_add(0, edges[1], h[edges[0]]))

    model = calls(lambda m, x: run(m, x, EDGES), r=nn.Linear(4, 5), o=nn.Linear(5, 3))
    with refused(BatchError, "depends on the other samples", "graph"):  # node 0 has no neighbour
        libasis.trace(model, randn(6, 4), ["input", "o:in", "output"])


def test_a_chain_is_checked_too():
    layer = nn.LSTM(4, 5).to(F64).eval()
    chain = libasis.Chain([lambda x: layer(x)[0], torch.tanh])
    for _ in range(2):
        with refused(BatchError, "'site1'", "depends on the other samples"):
            libasis.fit(chain, [randn(6, 3, 4)])
    layer = nn.LSTM(4, 5, batch_first=True).to(F64).eval()
    libasis.fit(libasis.Chain([lambda x: layer(x)[0], torch.tanh]), [randn(6, 3, 4)])


FINE = {
    "LSTM with the batch first": lambda: recurrent(nn.LSTM, batch_first=True),
    "attention with the batch first": lambda: attention(mask=False, batch_first=True),
    "one that transposes": lambda: calls(
        lambda m, x: m.o(m.r(x.transpose(0, 1))[0].transpose(0, 1)), r=nn.GRU(4, 5), o=nn.Linear(5, 3)
    ),
    "running statistics and dropout": lambda: calls(
        lambda m, x: m.o(m.d(m.n(m.r(x).transpose(1, 2))).transpose(1, 2)),
        r=nn.Linear(4, 5), n=nn.BatchNorm1d(5), d=nn.Dropout(0.5), o=nn.Linear(5, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 17])
@pytest.mark.parametrize("kind", FINE)
def test_no_false_alarm(kind, size):
    traced = libasis.trace(FINE[kind](), randn(size, 3, 4), ["input", "o:in", "output"])
    assert traced.record(randn(size, 3, 4)).size == size


def test_no_false_alarm_in_low_precision():
    model = nn.Sequential(nn.Linear(4, 64), nn.GELU(), nn.Linear(64, 3)).to(torch.bfloat16).eval()
    libasis.trace(model, randn(40, 4).to(torch.bfloat16), ["input", "2:in", "output"])
    mixed = calls(lambda m, x: m.a(x).cumsum(0), a=nn.Linear(4, 3)).to(torch.bfloat16)
    with refused(BatchError, "depends on the other samples"):
        libasis.trace(mixed, randn(6, 4).to(torch.bfloat16), ["input", "output"])


@pytest.mark.parametrize("batch", [3, 4])
def test_an_input_of_all_samples_that_is_as_long_as_the_batch(batch):
    """Position ids [4], also with 4 samples."""
    parts = {"a": nn.Linear(4, 5), "e": nn.Embedding(9, 5), "o": nn.Linear(5, 3)}
    model = calls(lambda m, x: m.o((m.a(x["x"]) + m.e(x["places"])).tanh()), **parts)
    wrapped = Named(model)
    inputs = {"x": randn(batch, 4, 4), "places": torch.arange(4)}
    traced = libasis.trace(wrapped, inputs, ["o:in", "output"])
    both = [inputs, {**inputs, "x": randn(7 - batch, 4, 4, seed=2)}]
    importances = libasis.fit(traced, both, moments="exact")[0].importances
    split = [{**inputs, "x": x[None]} for item in both for x in item["x"]]
    torch.testing.assert_close(libasis.fit(traced, split, moments="exact")[0].importances, importances)


class Named(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.a, self.e, self.o = inner.a, inner.e, inner.o
        self.inner = inner
        self.eval()

    def forward(self, x, places):
        return self.inner({"x": x, "places": places})


def test_a_value_that_depends_on_how_many_samples_there_are():
    with refused(BatchError, "'o:in'", "depends on the other samples"):
        libasis.trace(MIXED["how many there are"](), randn(3, 3, 4), ["input", "o:in", "output"])


@pytest.mark.parametrize("batch", [3, 8])
def test_an_answer_that_depends_on_how_many_samples_there_are_where_the_graph_is_of_one_batch_size(batch):
    def run(m, x):
        return m.o((m.r(x) / len(x)).reshape(batch, -1) if len(x) == batch else m.r(x) / len(x))

    with refused(BatchError, "depends on"):
        libasis.trace(calls(run, r=nn.Linear(4, 5), o=nn.Linear(5, 3)), randn(batch, 4), ["input", "output"])
    with refused(BatchError, "depends on"):
        divided = calls(lambda m, x: m.o(m.r(x) / len(x)), r=nn.Linear(4, 5), o=nn.Linear(5, 3))
        libasis.trace(divided, randn(batch, 4), ["r:in", "output"])


@pytest.mark.parametrize("offset", [1e4, 1e5])
def test_rounding_is_not_taken_for_other_samples(offset):
    """A first layer that takes a large mean off again: its digits depend on how products are summed."""
    model = calls(lambda m, x: m.o(m.r(x).tanh()), r=nn.Linear(6, 8), o=nn.Linear(8, 3)).float()
    with torch.no_grad():
        model.r.bias -= model.r.weight.sum(1) * offset
    traced = libasis.trace(model, (randn(3, 6) + offset).float(), ["input", "o:in", "output"])
    assert [site.features for site in traced.sites] == [6, 8, 3]
