"""Planted modules are found; where there are none, none are claimed."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics
import torch

import libasis
from interactions.planted import planted
from libasis.errors import OptionError, StoreError
from libasis.graphs.network import network_of, rand_index, shuffled
from report.synthetic import make_graph


def index(found, truth):
    """Adjusted Rand index over the features that are clearly in one block."""
    return rand_index(np.array([found.modules[key] for key in truth]), np.array(list(truth.values())))


@pytest.mark.parametrize(
    ("widths", "options"),
    [
        ([6] * 4, {"seed": 0}),
        ([6] * 4, {"seed": 1}),
        ([5] * 6, {"seed": 2}),
        ([8, 8], {"seed": 3}),
        ([3, 5, 7, 9], {"seed": 1}),
        ([6] * 4, {"layers": 6, "n": 40_000}),
        ([6] * 4, {"leak": 0.003}),
        ([6] * 4, {"leak": 0.01, "seed": 3}),
        ([6] * 4, {"seed": 1, "top_k": 8}),
    ],
    ids=str,
)
def test_planted_modules_are_recovered(widths, options):
    """No neuron shows them: LIB has to find the directions, and only its edges tell the blocks."""
    graph, truth = planted(widths, **options)
    total = sum(site.k for site in graph.basis)
    assert len(truth) > 0.85 * total
    found = libasis.communities(graph)
    assert found.modular
    assert index(found, truth) >= 0.95
    assert found.count == len(widths) == len(found.stability)
    assert found.agreement >= 0.9
    assert min(found.stability) > 0.8
    assert len(found.modules) + len(found.info["alone"]) == total


def test_neurons_do_not_show_them():
    graph, _ = planted([6] * 4, seed=0, basis="neuron", n=5000)
    assert not libasis.communities(graph).modular


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("width", [5, 24])
def test_a_network_without_modules_is_said_to_have_none(width, seed, caplog):
    graph, _ = planted([width], seed=seed, n=2000)
    found = libasis.communities(graph)
    assert not found.modular
    assert set(found.modules.values()) == {0}
    assert found.count == 1
    assert "No groups to speak of" in found.info["finding"]
    assert found.info["finding"] in caplog.text
    assert found.info["count_found"] > 1  # Leiden alone would have said so


@pytest.fixture(scope="module")
def graph():
    return planted([4] * 3, seed=2)[0]


def test_the_same_seed_gives_the_same_result(graph):
    one, two = libasis.communities(graph, seed=5), libasis.communities(graph, seed=5)
    assert one.to_plain() == two.to_plain()
    assert libasis.communities(graph, seed=6).modules == one.modules


def test_units_do_not_matter(graph):
    """Every feature may have its own scale: nothing changes when the edges into it are multiplied by its square."""
    generator = torch.Generator().manual_seed(0)
    scales = [torch.rand(len(e), 1, generator=generator).double().mul(9).exp() for e in graph.edges]
    scaled = replace(graph, edges=tuple(e * s for e, s in zip(graph.edges, scales, strict=True)))
    assert libasis.communities(scaled).modules == libasis.communities(graph).modules


def test_a_resolution_can_be_given(graph):
    few, many = (libasis.communities(graph, resolution=r) for r in (0.7, 3.0))
    assert few.info["resolution"] == 0.7
    assert few.count < many.info["count_found"]
    assert few.info["chosen"] == "given"


def test_groups_are_numbered_by_size_and_written(graph, tmp_path):
    found = libasis.communities(graph)
    sizes = [len(members) for members in found.members()]
    assert sizes == sorted(sizes, reverse=True)
    written = json.loads(found.to_json(tmp_path / "communities.json").read_text())
    assert written == found.to_plain()
    back = libasis.load(found.save(tmp_path / "communities"))
    assert back.to_plain() == found.to_plain()
    assert repr(back) == repr(found)
    frame = found.to_dataframe()
    assert dict(zip(frame.id, frame.group, strict=True)) == found.modules
    assert frame.stability[0] == found.stability[found.modules[frame.id[0]]]
    with pytest.raises(StoreError, match="in the group 7"):
        replace(found, modules={"a:0": 7}).save(tmp_path / "broken")
    named = graph.with_labels({"modules": {key: f"group {m}" for key, m in found.modules.items()}})
    assert set(named.modules) == set(found.modules)


def test_random_networks_keep_degrees_and_strengths():
    edges = [torch.rand(9, 7).double() ** 8, torch.rand(6, 9).double() ** 8]
    network = network_of(make_graph((7, 9, 6), ("a", "b", "c"), edges=edges), 0.01)
    random = shuffled(network, np.random.default_rng(0))
    moved = 0
    for one, two in zip(network.sections, random.sections, strict=True):
        for ends in ("sources", "targets"):
            a, b = getattr(one, ends), getattr(two, ends)
            assert np.array_equal(np.bincount(a), np.bincount(b))
            np.testing.assert_allclose(np.bincount(a, one.weights), np.bincount(b, two.weights), rtol=1e-3)
        pairs = [set(zip(s.sources.tolist(), s.targets.tolist(), strict=True)) for s in (one, two)]
        assert len(pairs[0]) == len(pairs[1]) == len(one.weights)  # no edge twice
        moved += len(pairs[0] - pairs[1])
    assert moved > 10


def test_weights_are_as_defined():
    edges = torch.tensor([[8.0, 2.0], [1.0, 0.0]]).double()
    (section,) = network_of(make_graph((2, 2), ("a", "b"), edges=[edges]), 0.01).sections
    share = np.array([0.8, 0.2, 1.0])
    relative = share / np.sqrt(np.array([0.8, 0.8, 1.0]) * np.array([1.0, 0.2, 1.0]))
    weights = 1 - np.log(relative) / np.log(0.01)
    np.testing.assert_allclose(section.weights, weights * 4 / weights.sum())
    assert section.sources.tolist() == [0, 1, 0]
    assert section.targets.tolist() == [2, 2, 3]


def test_features_without_edges_are_in_no_group():
    edges = torch.zeros(3, 3).double()
    assert libasis.communities(make_graph((3, 3), ("a", "b"), edges=[edges])).modules == {}
    edges[0, 0] = edges[1, 0] = 1.0
    found = libasis.communities(make_graph((3, 3), ("a", "b"), edges=[edges]))
    assert set(found.info["alone"]) == {"a:1", "a:2", "b:2"}


def test_the_rand_index_is_the_known_one():
    generator = np.random.default_rng(0)
    for _ in range(20):
        one, two = generator.integers(0, 4, (2, 30))
        assert rand_index(one, two) == pytest.approx(sklearn.metrics.adjusted_rand_score(one, two))
    assert rand_index(np.zeros(5, int), np.zeros(5, int)) == 1


@pytest.mark.parametrize(
    "options", [{"resolution": 0}, {"resolution": "high"}, {"seeds": 1}, {"nulls": True}, {"floor": 1}, {"floor": "x"}]
)
def test_wrong_options_are_told(graph, options):
    with pytest.raises(OptionError, match=next(iter(options))):
        libasis.communities(graph, **options)


def test_the_missing_package_is_named(graph, monkeypatch):
    monkeypatch.setitem(sys.modules, "graspologic_native", None)
    with pytest.raises(OptionError, match=r"libasis\[graph\]"):
        libasis.communities(graph)
