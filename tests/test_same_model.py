"""A basis, and what was measured with it, belongs to one model: another is refused in one sentence, or named."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

import libasis
from libasis.errors import OptionError
from libasis.report import Results

SITES = ["0:in", "2:in", "output"]


def net(seed=0, act=nn.ReLU):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), act(), nn.Linear(6, 3)).eval()


def data(seed, n=40):
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    return [(x[:25], x[:25, :3].argmax(-1)), (x[25:], x[25:, :3].argmax(-1))]


class Power(nn.Module):
    """A module whose state says nothing of what it computes."""

    def __init__(self, power=2, scale=1.0):
        super().__init__()
        self.power, self.scale = power, torch.tensor(scale)

    def forward(self, x):
        return self.scale * x**self.power


def cut(model, rows=25):
    return libasis.trace(model, torch.randn(rows, 4), SITES)


def fitted(traced, seed=1, method="lib"):
    basis = libasis.fit(traced, data(seed), method, progress=False)
    return libasis.interactions(traced, basis, data(seed), progress=False)


CALLS = {
    "interactions": lambda t, g: libasis.interactions(t, g.basis, data(1), progress=False),
    "ablate_nodes": lambda t, g: libasis.ablate_nodes(t, g, data(2), progress=False),
    "ablate_nodes of a basis": lambda t, g: libasis.ablate_nodes(t, g.basis, data(2), progress=False),
    "ablate_edges": lambda t, g: libasis.ablate_edges(t, g, data(2), progress=False),
    "collect": lambda t, g: libasis.collect(t, g, data(2), features=1, tested=0, samples=8, progress=False),
    "intervene": lambda t, g: libasis.intervene(t, g, data(2), libasis.Intervention("2:in", [0])),
    "diff": lambda t, g: libasis.diff(g, g, traced=t, batches=data(2)),
}


@pytest.fixture(scope="module")
def graph():
    return fitted(cut(net()))


@pytest.mark.parametrize("name", CALLS)
def test_another_model_is_refused_by_every_call(graph, name):
    others = {"weights": net(1), "computation": net(0, nn.Tanh)}
    for what, other in others.items():
        with pytest.raises(OptionError, match=rf"another model: {what} \w{{8}} \(Sequential\) instead of \w{{8}}") as e:
            CALLS[name](cut(other), graph)
        assert "basis.on(traced)" in str(e.value)


@pytest.mark.parametrize("name", CALLS)
def test_the_same_model_is_taken_however_it_was_cut_and_saved(graph, tmp_path, name):
    again = libasis.load(graph.save(tmp_path / "graph"))
    CALLS[name](cut(copy.deepcopy(net()), rows=7).to(dtype="float64"), again)


def test_another_model_can_be_chosen(graph):
    traced = cut(net(1))
    basis = graph.basis.on(traced)
    moved = libasis.interactions(traced, basis, data(1), progress=False)
    assert moved.info["traced"]["fingerprint"] == traced.facts()["fingerprint"]
    assert basis.info["fitted_on"]["fingerprint"] == graph.basis.info["traced"]["fingerprint"]
    assert libasis.ablate_edges(traced, replace(graph, basis=basis), data(2), progress=False).samples == 40
    assert graph.basis.on(cut(net(2))).on(traced).info["fitted_on"] == basis.info["fitted_on"]
    wide = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3)).eval()
    with pytest.raises(OptionError, match="sites and coordinates"):
        graph.basis.on(cut(wide))


@pytest.mark.parametrize("other", [Power(3), Power(2, 1.5)], ids=["a whole number", "a tensor that is no buffer"])
def test_what_stands_outside_the_weights_counts(other):
    with pytest.raises(OptionError, match="another model: computation"):
        libasis.interactions(cut(net(0, lambda: other)), fitted(cut(net(0, Power))).basis, data(1))


def test_sections_of_a_chain_are_compared():
    one, two = nn.Linear(4, 6), nn.Linear(6, 3).eval()

    def chain(linear, act):
        return libasis.Chain([nn.Sequential(linear, act).eval(), two], SITES)

    basis = libasis.fit(chain(one, nn.ReLU()), data(1), progress=False)
    libasis.interactions(chain(one, nn.ReLU()), basis, data(1), progress=False)
    with pytest.raises(OptionError, match="another model: computation"):
        libasis.interactions(chain(one, nn.Tanh()), basis, data(1))
    with pytest.raises(OptionError, match="another model: weights"):
        libasis.interactions(chain(nn.Linear(4, 6), nn.ReLU()), basis, data(1))


def test_a_basis_that_does_not_say_its_model_is_taken(graph):
    bare = libasis.Basis(graph.basis.sites, "lib", {})
    libasis.interactions(cut(net(1)), bare, data(1), progress=False)


def test_data_are_recorded_and_not_refused(graph):
    nodes = CALLS["ablate_nodes"](cut(net()), graph)
    assert nodes.info["data"]["digest"] != graph.info["data"]["digest"] == graph.basis.info["data"]["digest"]


# one page


@pytest.fixture(scope="module")
def measured(graph):
    traced = cut(net())
    return {name: CALLS[name](traced, graph) for name in ("ablate_nodes", "ablate_edges", "collect")}


def joined(graphs, measured):
    edges, nodes = [measured["ablate_edges"]], [measured["ablate_nodes"]]
    return Results(graphs, edges, nodes, measured["collect"])


def test_results_of_one_graph_are_joined(graph, measured, tmp_path):
    again = libasis.load(graph.with_labels({"0:in:0": "first"}).save(tmp_path / "graph"))
    assert joined([again], measured).graph_of(measured["ablate_edges"]) is again


def test_results_of_another_basis_graph_or_model_are_refused_by_name(graph, measured):
    other = fitted(cut(net()), seed=3)
    with pytest.raises(OptionError, match="ablation of the basis 'lib' stands on another basis"):
        joined([other], measured)
    edges = replace(graph, edges=tuple(2 * e for e in graph.edges))
    with pytest.raises(OptionError, match="ablation of the basis 'lib' stands on another graph"):
        joined([edges], measured)
    Results([edges], [], [measured["ablate_nodes"]], measured["collect"])  # these stand on the basis alone
    with pytest.raises(OptionError, match="The cards stand on another basis"):
        Results([other], cards=measured["collect"])
    with pytest.raises(OptionError, match="The cards stand on another basis"):
        other.to_html("never.html", cards=measured["collect"].to_plain())
    with pytest.raises(OptionError, match="'pca' is of another model than the first one: weights"):
        Results([graph, fitted(cut(net(1)), method="pca")])
    moved = replace(graph, basis=graph.basis.on(cut(net(1))))
    with pytest.raises(OptionError, match="ablation of the basis 'lib' stands on another model"):
        Results([graph], [CALLS["ablate_edges"](cut(net(1)), moved)])


def test_an_ablation_finds_its_graph_among_those_of_one_method(graph, measured):
    other = fitted(cut(net()), seed=3)
    assert joined([other, graph], {**measured, "collect": None}).graph_of(measured["ablate_nodes"]) is graph


def test_counts_of_different_data_are_not_put_side_by_side(graph, measured):
    traced, pca = cut(net()), fitted(cut(net()), method="pca")
    same = libasis.ablate_edges(traced, pca, data(2), progress=False)
    Results([graph, pca], [measured["ablate_edges"], same])
    others = libasis.ablate_edges(traced, pca, data(5), progress=False)
    with pytest.raises(OptionError, match=r"different data: 'lib' \(digest \w{8}\), 'pca' \(digest"):
        Results([graph, pca], [measured["ablate_edges"], others])


def test_communities_of_another_graph_are_refused(graph):
    pytest.importorskip("graspologic_native")
    groups = libasis.communities(graph)
    Results([graph], communities=groups)
    edges = replace(graph, edges=tuple(2 * e for e in graph.edges))
    with pytest.raises(OptionError, match="The communities stand on another graph"):
        Results([edges], communities=groups)
