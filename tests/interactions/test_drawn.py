"""Edges estimated from output positions drawn at random: unbiased, with errors that hold, the same however cut."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

import libasis
from libasis.errors import OptionError
from libasis.interactions.cost import ERROR, estimated
from libasis.interactions.drawn import Strengths, draw
from libasis.interactions.drawn_sums import DrawnEdgeSums
from libasis.interactions.effects import GradientPath
from libasis.measure import Records
from measure.laws import assert_merges, assert_resumes

SAMPLES, T = 60, 24


def mlp():
    return nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Linear(8, 4))


class Attention(nn.Module):
    """x + causal attention of the normed x."""

    def __init__(self):
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(6), nn.Linear(6, 18), nn.Linear(6, 6)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1))
        mixed = nn.functional.scaled_dot_product_attention(2 * q, k, v, is_causal=True)
        return x + self.out(mixed.transpose(1, 2).flatten(2))


class Setting:
    """A section, its basis and data; "alone" has one position a sample, "derived" no closed form."""

    def __init__(self, name):
        torch.manual_seed(0)
        model = Attention() if name == "attention" else mlp()
        model = model.double().eval()
        width, shape = (6, (SAMPLES, T)) if name == "attention" else (5, (SAMPLES, T))
        shape = (SAMPLES * T, 1) if name == "alone" else shape
        self.x = torch.randn(*shape, width, dtype=torch.float64) * torch.rand(*shape, 1, dtype=torch.float64).exp() ** 2
        mask = None if name == "alone" else self.mask
        if name == "derived":
            self.traced = libasis.Chain([model], ["input", "output"], mask=mask)
        else:
            self.traced = libasis.trace(model, self.x, ["input", "output"], mask=mask)
        self.basis = libasis.fit(self.traced, [self.x], "pca", progress=False)

    def mask(self, args):
        """By content, so that the data may be cut anyhow."""
        return args[0][..., 0] > -2.0

    def edges(self, batches=None, **options):
        batches = [self.x] if batches is None else batches
        return libasis.interactions(self.traced, self.basis, batches, progress=False, **options)


KINDS = ["mlp", "attention", "alone", "derived"]


@pytest.fixture(scope="module")
def settings():
    return {name: Setting(name) for name in KINDS}


@pytest.fixture(scope="module")
def seeds(settings):
    """Of each kind the exact edges, and estimates by many seeds."""

    def of(name):
        exact = settings[name].edges(relative_error=0).edges[0]
        return exact, [settings[name].edges(relative_error=0.3, seed=seed) for seed in range(24)]

    return {name: of(name) for name in ("mlp", "attention", "alone")}


@pytest.mark.parametrize("name", ["mlp", "attention", "alone"])
def test_unbiased_and_errors_hold(seeds, name):
    exact, graphs = seeds[name]
    found = torch.stack([graph.edges[0] for graph in graphs])
    errors = torch.stack([graph.stderr["input"] for graph in graphs])
    mean, spread = found.mean(0), found.std(0)
    assert ((mean - exact).abs() <= 4.5 * spread / len(graphs) ** 0.5).all()
    assert 0.8 <= float((spread / errors.square().mean(0).sqrt()).mean()) <= 1.1
    assert 0.9 <= float(((found - exact).abs() <= 2 * errors).double().mean()) <= 0.99


def test_it_stops_at_the_error_and_says_what_was_drawn(settings):
    loose, tight = (settings["mlp"].edges(relative_error=e) for e in (0.3, 0.08))
    for graph, error in ((loose, 0.3), (tight, 0.08)):
        facts = graph.info["estimate"]["sections"]["input"]
        assert facts["reached"] <= facts["relative_error"] == error
        strengths, order = graph.edges[0].flatten().sort(descending=True)
        leading = (graph.stderr["input"].flatten()[order] / strengths)[: facts["edges"]]
        assert float((leading <= error).double().mean()) >= 0.95 - 1 / facts["edges"]
        assert graph.info["rules"] == ["closed form, positions drawn"]
    drawn = [g.info["estimate"]["sections"]["input"]["drawn"] for g in (loose, tight)]
    assert 200 < drawn[0] < drawn[1] < int(settings["mlp"].mask((settings["mlp"].x,)).sum())


@pytest.mark.parametrize("name", KINDS)
def test_a_very_small_error_takes_all_positions_and_is_exact(settings, name):
    exact, drawn = (settings[name].edges(relative_error=e) for e in (0, 1e-6))
    torch.testing.assert_close(drawn.edges[0], exact.edges[0], rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(drawn.signed[0], exact.signed[0], rtol=1e-9, atol=1e-12)
    assert not drawn.stderr["input"].any()
    assert drawn.info["rules"] == exact.info["rules"]
    assert exact.stderr == {}


def test_by_derivatives_too(settings):
    """Plain callables, in forward mode and (one draw in a sample at most, few output features) in reverse mode."""
    setting = settings["derived"]
    exact, found = setting.edges(relative_error=0).edges[0], setting.edges(relative_error=0.3)
    assert found.info["rules"] == ["derivatives, positions drawn"]
    assert float(((found.edges[0] - exact) / found.stderr["input"]).abs().max()) < 5
    x = torch.randn(1200, 1, 5, dtype=torch.float64)
    chain = libasis.Chain([lambda x: x[..., :1] * x[..., 1:2].tanh()], ["input", "output"])
    basis = libasis.fit(chain, [x], "pca", progress=False)
    exact, found = (libasis.interactions(chain, basis, [x], relative_error=e, progress=False) for e in (0, 0.3))
    assert found.info["rules"] == ["derivatives, positions drawn"]
    assert float(((found.edges[0] - exact.edges[0]) / found.stderr["input"]).abs().max()) < 5


@pytest.mark.parametrize("name", ["attention", "alone"])
def test_the_same_however_the_data_are_cut(settings, name):
    setting = settings[name]
    one = setting.edges(relative_error=0.3, seed=3)
    for size in (7, 13):
        other = setting.edges(list(setting.x.split(size)), relative_error=0.3, seed=3)
        torch.testing.assert_close(other.edges[0], one.edges[0], rtol=1e-9, atol=1e-14)
        torch.testing.assert_close(other.stderr["input"], one.stderr["input"], rtol=1e-7, atol=1e-14)
    assert not torch.equal(setting.edges(relative_error=0.3, seed=4).edges[0], one.edges[0])


def test_small_memory_integrated_and_top_k(settings):
    setting = settings["attention"]
    options = {"relative_error": 0.3, "method": "integrated", "n_steps": 2}
    dense, small = setting.edges(**options), setting.edges(**options, memory=2**14)
    torch.testing.assert_close(small.edges[0], dense.edges[0], rtol=1e-9, atol=1e-14)
    kept = setting.edges(**options, top_k=2)
    assert torch.equal(kept.stderr["input"].indices(), kept.edges[0].indices())
    places = kept.edges[0].indices()
    torch.testing.assert_close(kept.stderr["input"].values(), dense.stderr["input"][places[0], places[1]])
    torch.testing.assert_close(kept.errors(0, places[:, 1:3]), kept.stderr["input"].values()[1:3])


@pytest.mark.parametrize("name", ["mlp", "derived"])
def test_parts_merge_and_states_go_on(settings, name):
    setting = settings[name]
    records = list(libasis.keep(setting.traced, list(setting.x[:28].split(7))).stream())
    path = GradientPath.parse("gradient", 1, "mean")

    def make():
        return DrawnEdgeSums(setting.basis, 0, slice(0, 4), path, 2**24, relative_error=0.25, seed=0)

    def close(a, b):
        torch.testing.assert_close(a[0][0], b[0][0], rtol=1e-10, atol=1e-14)

    assert_merges(make, records, close)
    assert_resumes(make, records, close)


def test_chances_are_kept_and_every_sequence_gets_its_share():
    chance = torch.rand(1, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 4
    chance[0, 7], chance[0, 9] = 1.0, 0.0
    counted = torch.ones(1, 50, dtype=torch.bool)
    counted[0, 3] = False
    many = torch.arange(4000)
    drawn = draw(chance.expand(4000, -1), counted.expand(4000, -1), many, (0, 1))
    share, expected = drawn.double().mean(0), (chance * counted)[0]
    assert ((share - expected).abs() <= 4 * (expected * (1 - expected) / 4000).sqrt()).all()
    assert set(drawn.sum(1).tolist()) <= {int(expected.sum()), int(expected.sum()) + 1}
    shifted = draw(nn.functional.pad(chance, (2, 0)), nn.functional.pad(counted, (2, 0)), many[:1] + 11, (0, 1))
    assert torch.equal(shifted[:, 2:], drawn[11:12])  # padding in front moves nothing


def test_the_ranking_is_about_as_sure_as_it_says(seeds):
    exact, graphs = seeds["attention"]
    for count in (3, 10, 20):
        top = set(exact.flatten().argsort(descending=True)[:count].tolist())
        right = [len(top & set(g.edges[0].flatten().argsort(descending=True)[:count].tolist())) / count for g in graphs]
        said = [graph.sure(0, count) for graph in graphs]
        assert sum(said) / len(said) == pytest.approx(sum(right) / len(right), abs=0.12)
    assert graphs[0].sure(0, exact.numel()) == 1.0
    ranking = graphs[0].info["estimate"]["sections"]["input"]["ranking"]
    assert {"edges": 10, "right": graphs[0].sure(0, 10)} in ranking


def test_errors_are_stored_and_written(settings, tmp_path):
    setting = settings["mlp"]
    graph = setting.edges(relative_error=0.3)
    graph.save(tmp_path / "graph")
    loaded = libasis.load(tmp_path / "graph")
    assert torch.equal(loaded.stderr["input"], graph.stderr["input"])
    assert loaded.info["estimate"] == graph.info["estimate"]
    table = graph.to_dataframe()
    assert table["stderr"].tolist() == [float(graph.stderr["input"].flatten()[e]) for e in range(20)]
    exact = setting.edges(relative_error=0)
    assert "stderr" not in exact.to_dataframe()
    for one in (exact, graph, exact):  # each replaces the other's file
        head = one.to_csv(tmp_path / "edges.csv").read_text("utf-8-sig").splitlines()[0]
        assert ("stderr" in head.split(",")) == (one is graph)
    rows = json.loads(graph.to_json(tmp_path / "graph.json").read_text())["edges"]
    assert rows[3]["stderr"] == float(graph.stderr["input"].flatten()[3])
    with pytest.raises(libasis.errors.StoreError, match="errors at 'input' have the shape"):
        type(graph)(graph.basis, graph.edges, graph.signed, stderr={"input": torch.ones(2, 2)}).save(tmp_path / "wrong")


def test_exact_where_it_is_cheap(settings):
    setting = settings["mlp"]
    assert torch.equal(setting.edges().edges[0], setting.edges(relative_error=0).edges[0])
    assert "estimate" not in setting.edges().info
    model = nn.Linear(4, 4).double().eval()
    x = torch.randn(600, 4, dtype=torch.float64)
    graph = libasis.build(model, [x], ["input", "output"])
    affine = libasis.interactions(libasis.trace(model, x, ["input", "output"]), graph.basis, [x], relative_error=0.1)
    assert (affine.info["rules"], affine.stderr) == (["closed form"], {})


def test_what_keep_returned_stays_kept(settings):
    setting = settings["mlp"]
    with libasis.keep(setting.traced, [setting.x]) as kept:
        setting.edges(kept)
        assert kept.lasting


@pytest.mark.parametrize("wrong", [-0.1, 1.5, "exact", True])
def test_an_error_that_is_none_is_refused(settings, wrong):
    with pytest.raises(OptionError, match="relative_error"):
        settings["mlp"].edges(relative_error=wrong)


def test_auto_estimates_what_is_dear():
    """Judged before anything is measured: 300 features, each with a pass of its own."""
    chain = libasis.Chain([torch.tanh], ["input", "output"])
    few, many = ([torch.randn(500, 300)] * count for count in (2, 40))
    basis = libasis.fit(chain, few, "neuron", progress=False)
    assert estimated(Records.of(chain, few), basis, "auto") == {}
    assert estimated(Records.of(chain, many), basis, "auto") == {0: ERROR}
    assert estimated(Records.of(chain, many), basis, 0.0) == {}


def test_two_estimates_of_one_graph_differ_by_no_more_than_their_draws(settings):
    one, other = (settings["mlp"].edges(relative_error=0.3, seed=seed) for seed in range(2))
    with_errors = libasis.diff(one, other, threshold=1e-4, factor=1.001)
    without = libasis.diff(*(replace(graph, stderr={}) for graph in (one, other)), threshold=1e-4, factor=1.001)
    assert len(without.edges) > 10
    assert not with_errors.edges
    assert with_errors.info["noise"] == "standard error of the draw"
    assert without.info["noise"] == "not measured"
    data = {"traced": settings["mlp"].traced, "batches": list(settings["mlp"].x.split(20)), "progress": False}
    assert not libasis.diff(one, other, threshold=1e-4, factor=1.001, **data).edges


def test_where_one_graph_is_another_the_draw_does_not_hide_it(settings):
    graph = settings["mlp"].edges(relative_error=0.1)
    edges = graph.edges[0].clone()
    edges[0, 0] = 0
    found = libasis.diff(graph, replace(graph, edges=(edges,)))
    assert [row["kind"] for row in found.edges if row["source_a"] == ["input:0"]][0] == "lost"
    assert all(row["noise"] > 0 for row in found.edges)


def test_build_estimates_as_interactions_do(settings):
    model, x = mlp().double().eval(), settings["mlp"].x
    graph = libasis.build(model, [x], ["input", "output"], relative_error=0.3, seed=3, progress=False)
    traced = libasis.trace(model, x, ["input", "output"])
    alone = libasis.interactions(traced, graph.basis, [x], relative_error=0.3, seed=3, progress=False)
    assert graph.info["estimate"]["sections"]
    assert torch.equal(graph.edges[0], alone.edges[0])


def test_strengths_are_kept_in_one_piece_up_to_a_bound():
    kept, batches = Strengths(100), [torch.rand(4, 5 + i % 2, dtype=torch.float64) for i in range(8)]
    for key, batch in enumerate(batches):
        kept.put(key, batch)
    found = [kept.get(key) for key in range(8)]
    assert [x is not None for x in found] == [True] * 4 + [False] * 4  # 88 numbers, the fifth makes 108
    assert all(torch.equal(x, batch) for x, batch in zip(found[:4], batches, strict=False))
    assert len({x.untyped_storage().data_ptr() for x in found[:4]}) == 1
