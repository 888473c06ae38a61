"""Few tokens that carry the variance are told with every fit, and left out by their norm wherever positions count."""

import logging

import pytest
import torch
from torch import nn

import libasis
from cut.cutting import randn
from libasis.errors import OptionError, SiteError

SITES = ["inner:in", "norm:in", "output"]


class Stream(nn.Module):
    """Attention without weights between positions would be no less: position by position, with a norm in front."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.norm, self.head = nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 5)
        self.double().eval()

    def forward(self, x, attention_mask=None):
        return self.head(self.norm(x + torch.tanh(self.inner(x))))


def data(sink=300.0, token=30.0):
    """Of 20 sequences of 12 positions the first ones are massive, and one token elsewhere."""
    x = randn(20, 12, 6)
    x[:, 0] *= sink
    x[7, 5] *= token
    return x


def cut(x, **options):
    return libasis.trace(Stream(), x[:4], SITES, **options)


@pytest.mark.parametrize("share", [0.05, 0.12, 0.3])
def test_a_group_of_massive_tokens_is_told(share):
    x, few = randn(40, 25, 6), torch.rand(40, 25, generator=torch.Generator().manual_seed(1)) < share
    x[few] += 1e4 * randn(6)
    (row, *_) = libasis.fit(cut(x), [x]).info["outliers"]
    assert row["positions"] == pytest.approx(float(few.double().mean()), rel=0.1)


@pytest.mark.parametrize("counted", [1, 2, 3])
def test_the_first_of_few_positions_is_no_outlier(counted):
    x, mask = randn(60, 12, 6), torch.zeros(60, 12, dtype=torch.long)
    mask[:, -counted:] = 1
    traced = libasis.trace(Stream(), {"x": x[:4], "attention_mask": mask[:4]}, SITES, mask="attention_mask")
    assert "outliers" not in libasis.fit(traced, [{"x": x, "attention_mask": mask}]).info
    x[:, :6] = 0  # nor are positions at which nothing is
    assert "outliers" not in libasis.fit(cut(x), [x]).info


def test_outliers_are_told_with_the_fit(caplog, tmp_path):
    x = data()
    with caplog.at_level(logging.WARNING, "libasis"):
        basis = libasis.fit(cut(x), [x])
    assert [row["site"] for row in basis.info["outliers"]] == SITES[:-1]
    row = basis.info["outliers"][0]
    squares = x.square().sum(-1)
    assert row["positions"] == pytest.approx(float(squares.sum() ** 2 / (240 * squares.square().sum())))
    assert row["first"] == pytest.approx(float(squares[:, 0].sum() / squares.sum()))
    vectors = x.flatten(0, 1)
    g, U = torch.linalg.eigh(torch.cov(vectors.T, correction=0))
    assert row["variance"] == pytest.approx(float(g[-1] / g.sum()), rel=1e-3)
    (said,) = [record.message for record in caplog.records if "Outliers" in record.message]
    assert "libasis.without_outliers" in said
    assert said in repr(basis)
    text = libasis.interactions(cut(x), basis, [x]).to_html(tmp_path / "page.html").read_text()
    assert "外れ値" in text
    assert "Outliers: at site" in text


@pytest.mark.parametrize("method", ["pca", "neuron"])
def test_methods_that_look_at_nothing_downstream_tell_them_too(method):
    x = data()
    rows = libasis.fit(cut(x), [x], method).info["outliers"]
    assert [row["sensitivity"] for row in rows] == [None, None]


def test_nothing_is_told_of_ordinary_tokens_or_single_vectors():
    x = data(1.0, 1.0)
    assert "outliers" not in libasis.fit(cut(x), [x]).info
    flat = data()[:, 0]
    assert "outliers" not in libasis.fit(libasis.trace(Stream(), flat[:4], SITES), [flat]).info


def test_what_is_left_out_does_not_depend_on_the_split_and_counts_nowhere():
    x = data()
    traced = cut(x)
    one, two = (libasis.without_outliers(traced, list(x.split(size)), times=4) for size in (20, 7))
    assert one.limits == two.limits
    norms = x.norm(dim=-1)
    assert one.limits.norms[SITES[0]] == pytest.approx(4 * float(norms.flatten().sort().values[119]))
    assert (one.limits.left_out, one.limits.positions) == (21, 240)
    assert "21 of 240 positions" in repr(one)
    far = norms > one.limits.norms[SITES[0]]
    (record,) = one.stream([x])
    assert all(torch.equal(counted, ~far) for counted in record.counted)
    masked = cut(x).to(mask=lambda inputs: inputs[0].norm(dim=-1) < 20)
    basis, same = libasis.fit(one, list(x.split(6))), libasis.fit(masked, [x])
    for a, b in zip(basis, same, strict=True):
        torch.testing.assert_close(a.importances, b.importances, rtol=1e-9, atol=1e-12)
    assert basis.info["traced"]["outliers"]["left_out"] == 21
    assert basis.info["vectors"][SITES[0]] == 219
    assert "outliers" not in basis.info


def test_ablations_interventions_and_cards_leave_them_as_they_are():
    x = data()
    traced = libasis.without_outliers(cut(x), [x])
    graph = libasis.interactions(traced, libasis.fit(traced, [x]), [x])
    (record,), basis, model = list(traced.stream([x])), graph.basis, Stream()
    counted, z = record.counted[0], record.activations[0].clone()
    z[counted] = basis["inner:in"].mean
    p, q = (model(of).detach().log_softmax(-1) for of in (x, z))
    divergence = (p.exp() * (p - q)).sum(-1)
    assert float(divergence[~counted].abs().max()) == 0
    nodes = libasis.ablate_nodes(traced, basis, [x], metric="kl", schedule=[0], sites=["inner:in"], per_sample=True)
    assert nodes.samples == int(counted.sum())
    assert nodes.curves["inner:in"][0] == pytest.approx(float(divergence[counted].mean()))
    each = torch.stack([d[c].mean() for d, c in zip(divergence, counted, strict=True)])
    effect = nodes.per_sample.effects("inner:in")[0]
    assert (effect.value, effect.n) == (pytest.approx(float(each.mean())), 20)
    assert effect.low < effect.value < effect.high
    edges = libasis.ablate_edges(traced, graph, [x], metric="kl", max_drop=1e-9, sections=["inner:in"], stable=False)
    assert edges.curves["inner:in"][edges.edges_total["inner:in"]] == pytest.approx(0, abs=1e-12)
    assert edges.samples == nodes.samples
    cards = libasis.collect(traced, basis, [x], features=2, tested=0, samples=4)
    for card in cards.cards.values():
        assert all(one["position"] != 0 for one in (*card["top"], *card["bottom"]))


def test_of_a_mask_and_of_chains():
    x = data()
    mask = torch.ones(20, 12)
    mask[:, 0] = 0
    batch = {"x": x, "attention_mask": mask}
    traced = libasis.trace(Stream(), batch, SITES, mask="attention_mask")
    assert libasis.without_outliers(traced, [batch]).limits.left_out == 1
    model = Stream()
    chain = libasis.Chain([lambda z: z + torch.tanh(model.inner(z)), lambda z: model.head(model.norm(z))], SITES)
    found = libasis.without_outliers(chain, [x])
    assert found.limits.left_out == 21
    assert libasis.fit(found, [x]).info["traced"]["outliers"]["times"] == 3


def test_what_cannot_be():
    x = data()
    with pytest.raises(OptionError, match="times is 1; give a number above 1"):
        libasis.without_outliers(cut(x), [x], times=1)
    with pytest.raises(SiteError, match="No site is called 'inner'"):
        libasis.without_outliers(cut(x), [x], sites=["inner"])
    with pytest.raises(SiteError, match="several positions"):
        libasis.without_outliers(libasis.trace(Stream(), x[:4, 0], SITES), [x[:, 0]])


def test_in_bfloat16_importances_without_them_are_those_of_float32():
    x = data(1000.0, 1.0)

    def fitted(dtype, *, all_of_them=False):
        own = x.to(dtype)
        traced = libasis.trace(Stream().to(dtype), own[:4], SITES)
        return libasis.fit(traced if all_of_them else libasis.without_outliers(traced, [own]), [own])

    assert "outliers" in fitted(torch.bfloat16, all_of_them=True).info
    found, precise = (fitted(dtype) for dtype in (torch.bfloat16, torch.float32))
    for a, b in zip(found, precise, strict=True):
        assert a.k == b.k
        torch.testing.assert_close(a.importances, b.importances, rtol=0.05, atol=1e-3)
