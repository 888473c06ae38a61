"""What is shown together belongs together; said once, when the value is made."""

import dataclasses

import pytest

from libasis import Communities, FeatureCards
from libasis.errors import OptionError
from libasis.report import Results
from report.decide.cards import make_cards
from report.synthetic import make_edge_ablation, make_graph, make_node_ablation


def test_all_results_of_two_graphs(lib, pca, edge_ablations, node_ablations):
    results = Results([lib, pca], edge_ablations, node_ablations, make_cards(lib))
    assert results.graph is lib
    assert [results.graph_of(a) for a in (*edge_ablations, *node_ablations)] == [lib, pca, lib, pca]
    assert isinstance(results.cards, FeatureCards)
    assert isinstance(results.graphs, tuple)


def test_no_graph_one_graph_and_something_else_are_refused(lib, edge_ablations):
    with pytest.raises(OptionError, match="no graph"):
        Results([])
    with pytest.raises(OptionError, match="graphs is of type InteractionGraph; Results takes a list"):
        Results(lib)
    with pytest.raises(OptionError, match="node_ablations is a (list|tuple) of EdgeAblation"):
        Results([lib], node_ablations=edge_ablations)


def test_an_ablation_of_another_basis_is_refused(lib, pca, edge_ablations, node_ablations):
    with pytest.raises(OptionError, match="of the basis 'pca', the graphs are of \\['lib'\\]"):
        Results([lib], edge_ablations)
    with pytest.raises(OptionError, match="of the basis 'lib', the graphs are of \\['pca'\\]"):
        Results([pca], node_ablations=node_ablations[:1])


def test_an_ablation_of_another_graph_is_refused(lib):
    other = make_graph((5, 4, 3), ("a", "b", "output"))
    larger = make_graph((65, 30, 52, 114))
    with pytest.raises(OptionError, match="20 edges at 'a' and its graph has only the sites"):
        Results([lib], [make_edge_ablation(other, (1, 1), (1, 1))])
    with pytest.raises(OptionError, match="1,560 edges at 'blocks.0.ln2:in' and its graph has 1,530"):
        Results([lib], [make_edge_ablation(larger, (1, 1, 1), (1, 1, 1))])
    with pytest.raises(OptionError, match="52 features at 'unembed:in' and its graph has 51"):
        Results([lib], node_ablations=[make_node_ablation(larger)])


def test_an_ablation_that_names_no_basis_is_of_the_first_graph(lib, pca):
    unnamed = dataclasses.replace(make_node_ablation(lib), info={})
    assert Results([lib, pca], node_ablations=[unnamed]).graph_of(unnamed) is lib


def test_cards_and_groups_of_another_graph_are_refused():
    graph, other = make_graph((3, 2), ("a", "b")), make_graph((3, 2), ("a", "elsewhere"))
    with pytest.raises(OptionError, match="card for 'elsewhere:0'"):
        Results([graph], cards=make_cards(other))
    with pytest.raises(OptionError, match="cards has no 'kind'"):
        Results([graph], cards={"a:0": {}})
    with pytest.raises(OptionError, match="group for 'a:3'"):
        Results([graph], communities=Communities({"a:3": 0}, [1.0], 1.0, True))
