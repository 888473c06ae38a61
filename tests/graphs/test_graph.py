"""The graph and its basis come back whole, or not at all."""

import json
import sys
from dataclasses import replace

import pytest
import torch

import chains
import libasis
from libasis.errors import OptionError, StoreError
from libasis.pages import frame, write_page
from store.results import forge


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


def renamed(plain):
    plain["content"]["basis"]["sites"][0]["name"] = "s1"


def swapped(plain):
    sites = plain["content"]["basis"]["sites"]
    sites[0], sites[1] = sites[1], sites[0]


def swapped_edges(plain):
    edges = plain["content"]["edges"]
    edges[0], edges[1] = edges[1], edges[0]


def fewer(plain):
    plain["content"]["edges"].pop()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (renamed, "same name"),
        (swapped, "have the shapes"),
        (swapped_edges, "have the shapes"),
        (fewer, "have the shapes"),
        (lambda plain: plain["content"]["basis"].update(sites=[]), "have the shapes"),
        (lambda plain: plain["content"]["basis"]["sites"][0].update(name=3), "must be of type str"),
        (lambda plain: plain["content"]["basis"]["sites"][0].pop("C"), "lacks 'C'"),
        (lambda plain: plain["content"].pop("basis"), "lacks 'basis'"),
        (lambda plain: plain["content"].update(labels={"s0:99": {"label": "x", "note": ""}}), "s0:99"),
        (lambda plain: plain["content"].update(modules={"s0:0": 3}), "must be of type str"),
    ],
)
def test_a_graph_that_does_not_fit_together_is_damaged(graph, tmp_path, change, words):
    """Also where the checksum is right; where it isn't, any change is found (tests/store)."""
    path = graph.save(tmp_path / "graph")
    forge(path, change)
    with pytest.raises(StoreError, match="is damaged") as caught:
        libasis.load(path)
    assert words in str(caught.value)


def with_site(graph, **changes):
    sites = (replace(graph.basis.sites[0], **changes), *graph.basis.sites[1:])
    return replace(graph, basis=replace(graph.basis, sites=sites))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: with_site(g, C=g.basis[0].C * torch.nan), "C of site 's0' is not finite"),
        (lambda g: with_site(g, mean=g.basis[0].mean[1:]), "mean of site 's0' has the shape"),
        (lambda g: with_site(g, variances=g.basis[0].variances[None]), "variances of site 's0' has the shape"),
        (lambda g: with_site(g, name="s1"), "same name"),
        (lambda g: replace(g, edges=tuple(e.T for e in g.edges)), "edges have the shapes"),
        (lambda g: replace(g, signed=g.signed[:1]), "signed have the shapes"),
        (lambda g: replace(g, signed=tuple(s * torch.inf for s in g.signed)), "signed are not finite"),
        (lambda g: replace(g, edges=tuple(-e - 1 for e in g.edges)), "below 0"),
        (lambda g: replace(g, labels={"s9:0": libasis.Label("x")}), "'s9:0'"),
        (lambda g: replace(g, basis=libasis.Basis((), "lib"), edges=(), signed=()), "no sites"),
    ],
)
def test_a_broken_graph_is_not_saved(graph, tmp_path, change, words):
    with pytest.raises(StoreError, match="This graph is not saved") as caught:
        change(graph).save(tmp_path / "graph")
    assert words in str(caught.value)
    assert not (tmp_path / "graph").exists()


def test_sparse_edges_stay_sparse(graph, tmp_path):
    sparse = replace(
        graph, edges=tuple(e.to_sparse() for e in graph.edges), signed=tuple(s.to_sparse() for s in graph.signed)
    )
    back = libasis.InteractionGraph.load(sparse.save(tmp_path / "graph"))
    for one, two in zip([*sparse.edges, *sparse.signed], [*back.edges, *back.signed], strict=True):
        assert two.is_sparse
        assert two.is_coalesced()
        assert torch.equal(one.to_dense(), two.to_dense())


def test_a_basis_is_a_table_too(graph):
    table = graph.basis.to_dataframe()
    assert len(table) == sum(site.k for site in graph.basis)
    assert table.importance[1] == float(graph.basis[0].importances[1])
    assert repr(graph.basis[0]) == "SiteBasis('s0': 6 of 6 directions kept)"
    assert "tensor" not in repr(graph) + repr(graph.basis)
    many = repr(libasis.Basis(graph.basis.sites * 50, "lib"))
    assert many.startswith("Basis(method='lib', 150 sites)\n  s0: 6 of 6")
    assert many.endswith("\n  and 138 more")
    assert many.count("\n") == 13


def test_pages_are_found_where_they_are_registered(graph, tmp_path):
    class Other(libasis.InteractionGraph):
        pass

    other = Other(**vars(graph))
    told = []
    write_page.register(Other, lambda *args, **options: told.append((args, options)) or tmp_path)
    frame.register(Other, lambda result: "<iframe>")
    assert other.to_html(tmp_path / "page.html", "ja", title="x") == tmp_path
    assert told[0][0] == (other, tmp_path / "page.html", "ja")
    assert told[0][1]["title"] == "x"
    assert other._repr_html_() == "<iframe>"
    with pytest.raises(OptionError, match="no page for a result of type Basis"):
        write_page(graph.basis, tmp_path / "page.html")


def test_a_missing_package_is_named(graph, tmp_path, monkeypatch):
    for name in ("pandas", "networkx"):
        monkeypatch.setitem(sys.modules, name, None)
    for call in (graph.to_dataframe, graph.basis.to_dataframe, graph.to_networkx):
        with pytest.raises(OptionError, match=r"libasis\[graph\]"):
            call()
    with pytest.raises(OptionError, match=r"libasis\[graph\]"):
        graph.to_graphml(tmp_path / "g.graphml")


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
