"""With top_k the strongest edges into each feature are kept, the same as among all, and nothing dense is made."""

import json

import pytest
import torch
from torch import nn

import chains
import libasis
from ablation.setting import Setting, Unread
from interactions.allocations import peak
from libasis.ablation.ranking import Ranking
from libasis.errors import OptionError
from libasis.interactions.strongest import passes
from libasis.report.layout import arrange

NAMES = ["pointwise", "gated", "causal", "affine", "affine at the last position", *chains.SECTIONS]
"""Sections in closed form, affine ones, and (of plain callables) by forward and reverse mode."""


def measured(name, top_k=None, **options):
    setting = Setting(name)
    batches = list(setting.x.split(17))
    return libasis.interactions(setting.traced, setting.basis, batches, top_k=top_k, progress=False, **options)


def strongest(edges, k):
    """Column indices of the k strongest of each row, ties by index, ascending."""
    return torch.sort(edges, descending=True, stable=True).indices[:, :k].sort().values


@pytest.mark.parametrize("memory", [1, 500, 20_000, 2**30])
@pytest.mark.parametrize("name", NAMES)
def test_kept_are_the_strongest_of_all(name, memory):
    dense, kept = measured(name), measured(name, 2, memory=memory)
    rows = sum(len(edges) for edges in dense.edges)
    assert kept.info["top_k"]["passes"] == {1: rows, 2**30: 1}.get(memory, kept.info["top_k"]["passes"])
    assert kept.info["rules"] == dense.info["rules"]
    for l, (all_, some) in enumerate(zip(dense.edges, kept.edges, strict=True)):
        assert some.is_sparse
        assert some.shape == all_.shape
        sources = strongest(all_, 2)
        places, strengths, signed = (some.indices(), some.values(), kept.signed[l].values())
        assert torch.equal(places, kept.signed[l].indices())
        assert torch.equal(places[0], torch.arange(len(all_)).repeat_interleave(2))
        assert torch.equal(places[1], sources.flatten())
        torch.testing.assert_close(strengths, all_.gather(1, sources).flatten(), rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(signed, dense.signed[l].gather(1, sources).flatten(), rtol=1e-9, atol=1e-12)
        share = float(all_.gather(1, sources).sum() / all_.sum())
        assert kept.info["top_k"]["kept_share"][l] == pytest.approx(share, rel=1e-12)
        assert kept.strength(l) == pytest.approx(float(all_.sum()), rel=1e-12)


@pytest.mark.parametrize("top_k", [6, 100])
def test_more_than_there_are_keep_all(top_k):
    dense, kept = measured("pointwise"), measured("pointwise", top_k)
    for all_, some in zip([*dense.edges, *dense.signed], [*kept.edges, *kept.signed], strict=True):
        torch.testing.assert_close(some.to_dense(), all_, rtol=1e-14, atol=0)
    assert kept.info["top_k"]["kept_share"] == [1.0, 1.0]


def test_integrated_edges_and_masks_too():
    setting = Setting("causal")
    mask = torch.ones(40, 3, dtype=torch.bool)
    mask[::3, 0] = False
    traced = libasis.trace(setting.sections[0], setting.x, ["input", "output"], mask=lambda _: mask)
    basis = libasis.fit(traced, [setting.x], "pca", progress=False)
    options = {"method": "integrated", "n_steps": 2, "progress": False}
    dense = libasis.interactions(traced, basis, [setting.x], **options)
    kept = libasis.interactions(traced, basis, [setting.x], top_k=1, memory=1, **options)
    strengths, sources = dense.edges[0].max(1)
    assert torch.equal(kept.edges[0].indices()[1], sources)
    torch.testing.assert_close(kept.edges[0].values(), strengths, rtol=1e-12, atol=0)


def test_passes_cover_every_output_feature_once_within_the_memory():
    shapes = [(5, 10), (1, 400), (7, 3)]
    plan = passes(shapes, 2000)
    rows = [(l, j) for jobs in plan for l, outputs in jobs for j in range(outputs.start, outputs.stop)]
    assert rows == [(l, j) for l, (k_out, _) in enumerate(shapes) for j in range(k_out)]
    bytes_ = [sum(32 * shapes[l][1] * (outputs.stop - outputs.start) for l, outputs in jobs) for jobs in plan]
    assert all(held <= 2000 for held in bytes_ if held != 32 * 400)
    assert len(passes(shapes, 2**30)) == 1


@pytest.mark.parametrize("top_k", [0, -1, 2.0, "3", True])
def test_bad_top_k_is_told_before_the_data_are_read(top_k):
    setting = Setting("mlp")
    with pytest.raises(OptionError, match=rf"top_k is {top_k!r}; .*number .*or None"):
        libasis.interactions(setting.traced, setting.basis, Unread(), top_k=top_k)


def test_rows_and_exports_are_those_of_the_kept_edges(tmp_path):
    dense, kept = measured("causal"), measured("causal", 3)
    among = {(row["source"], row["target"]): row for row in dense.rows()}
    rows = list(kept.rows())
    order = [(r["section"], *(int(r[end].rpartition(":")[2]) for end in ("target", "source"))) for r in rows]
    assert order == sorted(order)
    assert len(rows) == 3 * sum(len(e) for e in kept.edges)
    for row in rows:
        truth = among[row["source"], row["target"]]
        assert (row["strength"], row["signed"]) == pytest.approx((truth["strength"], truth["signed"]), rel=1e-9)
    middle = sorted(row["strength"] for row in rows)[len(rows) // 2]
    strong = [row for row in rows if row["strength"] > middle]
    assert list(kept.rows(min_strength=middle)) == strong
    assert kept.to_networkx().number_of_edges() == len(kept.to_dataframe()) == len(rows)
    assert json.loads(kept.to_json(tmp_path / "graph.json").read_text())["edges"] == rows
    assert "top_k=3" in repr(kept)


def test_saved_and_loaded(tmp_path):
    kept = measured("mlp", 2)
    back = libasis.load(kept.save(tmp_path / "graph"))
    assert isinstance(back, libasis.InteractionGraph)
    assert back.info == json.loads(json.dumps(kept.info))
    for one, two in zip([*kept.edges, *kept.signed], [*back.edges, *back.signed], strict=True):
        assert two.is_sparse
        assert one.shape == two.shape
        assert torch.equal(one.indices(), two.indices())
        assert torch.equal(one.values(), two.values())


def test_the_picture_is_that_of_all_edges_where_none_of_them_was_dropped():
    dense, kept = arrange(measured("causal")), arrange(measured("causal", 6))
    assert [(e.source, e.target) for e in dense.edges] == [(e.source, e.target) for e in kept.edges]
    some = arrange(measured("causal", 2))
    assert [s.total for s in some.sections] == [s.total for s in dense.sections]
    assert all(a.share < b.share for a, b in zip(some.sections, dense.sections, strict=True))


def test_build_passes_it_on():
    x = chains.data("mlp")
    graph = libasis.build(nn.Linear(6, 4).double().eval(), [x], ["input", "output"], top_k=2, progress=False)
    assert graph.info["top_k"]["k"] == 2


WIDE = 1200


def test_nothing_dense_is_made_of_many_features():
    """1,200 features make dense edges of 11 MiB; neither the edges' computation nor their readers hold half of that."""
    dense = WIDE**2 * 8
    torch.manual_seed(0)
    model, x = nn.Linear(WIDE, WIDE).double().eval(), torch.randn(8, WIDE, dtype=torch.float64)
    traced = libasis.trace(model, x, ["input", "output"])
    basis = libasis.fit(traced, [x], "neuron", progress=False)
    graphs = []

    def measure():
        graphs.append(libasis.interactions(traced, basis, [x], top_k=4, memory=2**20, progress=False))

    measure()  # reads the anatomy, which is as large as the weights
    assert peak(measure) < dense / 2
    graph = graphs[-1]
    assert graph.info["top_k"]["passes"] == -(-WIDE // (2**20 // (32 * WIDE)))
    assert peak(lambda: list(graph.rows())) < dense / 10
    assert peak(lambda: arrange(graph)) < dense / 10
    ranking = Ranking(graph.edges[0])
    assert peak(lambda: arrange(graph, masks={"input": ranking.mask(500)})) < dense / 10
