import json

import pytest
import torch

from libasis.report import Results
from libasis.report.bundle import bundle
from libasis.report.view import graph_view, share_out
from report.decide.cards import as_cards, make_cards
from report.synthetic import make_edge_ablation, make_graph


@pytest.mark.parametrize(
    ("budget", "demands", "shares"),
    [(10, [3, 4], [3, 4]), (10, [20, 20], [5, 5]), (10, [1, 20, 20], [1, 4, 5]), (0, [3], [0]), (7, [], [])],
)
def test_a_budget_is_shared_out_and_never_exceeded(budget, demands, shares):
    found = share_out(budget, demands)
    assert sorted(found) == sorted(shares)
    assert all(a <= d for a, d in zip(found, demands, strict=True))


def test_every_edge_is_there_once_with_its_numbers():
    graph = make_graph((5, 4, 3), ("a", "b", "c"))
    view = graph_view(graph)
    names = [f"{s['name']}" for s in view["sites"] for _ in range(s["held"])]
    ids = [f"{name}:{i}" for name, i in zip(names, view["nodes"]["index"], strict=True)]
    edges = view["edges"]
    found = {
        (ids[a], ids[b]): (strength, signed)
        for a, b, strength, signed in zip(*(edges[k] for k in ("source", "target", "strength", "signed")), strict=True)
    }
    truth = {(r["source"], r["target"]): (r["strength"], r["signed"]) for r in graph.rows()}
    assert found.keys() == truth.keys()
    assert all(found[key] == pytest.approx(value, rel=1e-4) for key, value in truth.items())


def test_the_needed_edges_are_the_first_of_their_section(lib, edge_ablations):
    view, at = graph_view(lib, edge_ablations[0]), 0
    first = [0, 65, 95, 146]
    for number, (section, mask) in enumerate(zip(view["sections"], edge_ablations[0].masks.values(), strict=True)):
        needed = section["needed"]["required"]
        rows = [view["edges"][k][at : at + needed["held"]] for k in ("target", "source")]
        drawn = {(j - first[number + 1], i - first[number]) for j, i in zip(*rows, strict=True)}
        assert drawn == {tuple(pair) for pair in mask.nonzero().tolist()}
        assert needed["weakest"] == pytest.approx(float(lib.edges[number][mask].min()), rel=1e-4)
        at += section["held"]


def test_limits_are_kept_and_what_they_cost_is_counted(lib):
    needed = make_edge_ablation(lib, (133, 82, 633), (133, 82, 633))
    view = graph_view(lib, needed, max_edges=600, max_features=100)
    assert sum(s["held"] for s in view["sites"]) == len(view["nodes"]["index"]) == 100
    assert sum(s["held"] for s in view["sections"]) == len(view["edges"]["source"]) == 600
    last = view["sections"][2]
    assert last["needed"]["stable"]["count"] == 633
    assert last["needed"]["stable"]["held"] < 633
    assert 0 < last["held_share"] < 1
    assert [s["total"] for s in view["sections"]] == [e.numel() for e in lib.edges]


def test_sparse_edges_give_the_view_of_the_same_dense_ones():
    dense = make_graph((6, 5), ("a", "b"))
    mask = torch.rand(5, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    plain = make_graph((6, 5), ("a", "b"), edges=[dense.edges[0] * mask])
    sparse = make_graph((6, 5), ("a", "b"), edges=[dense.edges[0] * mask])
    object.__setattr__(sparse, "edges", (sparse.edges[0].to_sparse(),))
    object.__setattr__(sparse, "signed", (sparse.signed[0].to_sparse(),))
    assert graph_view(plain) == graph_view(sparse)


@pytest.mark.parametrize("sizes", [(5,), (0, 3), (3, 0)])
def test_graphs_without_edges(sizes):
    view = graph_view(make_graph(sizes, ("a", "b")[: len(sizes)]))
    assert view["edges"]["source"] == []
    json.dumps(view, allow_nan=False)


def test_cards_too_large_lose_examples_and_say_so():
    """Cards of more than six megabytes; the user's own stay whole."""
    graph = make_graph((3, 2), ("a", "b"))
    cards = as_cards(make_cards(graph, "text"))
    for card in cards.cards.values():
        for example in (*card["top"], *card["bottom"]):
            example["content"] = {**example["content"], "tokens": ["x" * 300_000]}
    data = bundle(Results([graph], cards=cards))
    assert data["cards_cut"] == {"examples": 2}
    assert all(len(card["top"]) == 2 for card in data["graphs"][0]["cards"]["cards"].values())
    assert all(len(card["top"]) == 4 for card in cards.cards.values())
