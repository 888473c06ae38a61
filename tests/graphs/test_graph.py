"""Saved results come back whole, or not at all."""

import importlib
import json

import pytest
import torch

import chains
import libasis
from libasis.errors import StoreError


@pytest.fixture(scope="module")
def graph():
    sections, x = chains.SECTIONS["mlp"](), chains.data("mlp")
    traced = chains.chain(sections)
    return libasis.interactions(traced, libasis.fit(traced, [x], progress=False), [x], progress=False)


def test_a_graph_comes_back_equal(graph, tmp_path):
    back = libasis.load(graph.save(tmp_path / "graph"))
    assert isinstance(back, libasis.InteractionGraph)
    assert back.sites == graph.sites
    assert back.info == json.loads(json.dumps(graph.info))
    for one, two in zip([*graph.edges, *graph.signed], [*back.edges, *back.signed], strict=True):
        assert torch.equal(one, two)
    for a, b in zip(graph.basis, back.basis, strict=True):
        assert torch.equal(a.C, b.C)
        assert torch.equal(a.C_pinv, b.C_pinv)
        assert a.rank_report == b.rank_report


def test_a_basis_comes_back_equal(graph, tmp_path):
    back = libasis.load(graph.basis.save(tmp_path / "basis"))
    assert isinstance(back, libasis.Basis)
    assert torch.equal(back.sites[0].importances, graph.basis.sites[0].importances)


def test_nothing_is_overwritten_without_force(graph, tmp_path):
    path = graph.save(tmp_path / "graph")
    before = (path / "tensors.safetensors").read_bytes()
    with pytest.raises(StoreError, match="force=True"):
        graph.save(path)
    graph.save(path, force=True)
    assert (path / "tensors.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["graph"]


def test_a_foreign_directory_is_never_replaced(graph, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="not a saved libasis result"):
        graph.save(tmp_path / "precious", force=True)
    assert (tmp_path / "precious" / "thesis.tex").read_text() == "x"


def test_a_failed_save_leaves_nothing_and_keeps_the_old(graph, tmp_path, monkeypatch):
    path = graph.save(tmp_path / "graph")
    store = importlib.import_module("libasis.graphs.store")
    monkeypatch.setattr(store, "write_bytes", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        graph.save(path, force=True)
    assert [p.name for p in tmp_path.iterdir()] == ["graph"]
    libasis.load(path)


def _truncate(path):
    file = path / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-8])


def _flip(path):
    file = path / "tensors.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(bytes(raw))


def _edit(**changes):
    def edit(path):
        file = path / "manifest.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return edit


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_truncate, "checksum"),
        (_flip, "checksum"),
        (lambda p: (p / "tensors.safetensors").unlink(), "missing"),
        (lambda p: (p / "manifest.json").write_text("{"), "not JSON"),
        (lambda p: (p / "manifest.json").unlink(), "no manifest.json"),
        (_edit(format="other"), "not written by libasis"),
        (_edit(format_version=99), "upgrade libasis"),
        (_edit(sites=[{}]), "lack"),
    ],
)
def test_damage_is_found(graph, tmp_path, damage, words):
    path = graph.save(tmp_path / "graph")
    damage(path)
    with pytest.raises(StoreError, match=words):
        libasis.load(path)


def test_exports(graph, tmp_path):
    network, frame = graph.to_networkx(), graph.to_dataframe()
    nonzero = sum(int((e > 0).sum()) for e in graph.edges)
    assert network.number_of_nodes() == sum(s.k for s in graph.basis)
    assert network.number_of_edges() == len(frame) == nonzero
    data = json.loads(graph.to_json(tmp_path / "graph.json").read_text())
    assert len(data["edges"]) == nonzero
    edge = data["edges"][0]
    assert network.edges[edge["source"], edge["target"]]["strength"] == edge["strength"]
    strongest = float(graph.edges[0].max())
    assert len(graph.to_dataframe(min_strength=strongest)) == sum(int((e > strongest).sum()) for e in graph.edges)
