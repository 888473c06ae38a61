"""What two graphs have in common is found whatever features are called, and what differs is what was changed."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

import chains
import libasis
from chains import F64, random
from libasis.basis import Basis
from libasis.errors import BatchError, OptionError

X = [random(60, 3, 6, seed=s) @ random(6, 6, seed=20) for s in range(4)]


@pytest.fixture(scope="module")
def traced():
    return chains.chain(chains.SECTIONS["mlp"]())


@pytest.fixture(scope="module")
def graph(traced):
    return libasis.interactions(traced, libasis.fit(traced, X, progress=False), X, progress=False)


def turned(graph, traced, l, R):
    """The same model's graph with the features of site l turned by R."""
    sites = list(graph.basis.sites)
    one = sites[l]
    sites[l] = replace(one, C=one.C @ R, C_pinv=R.T @ one.C_pinv)
    return libasis.interactions(traced, Basis(tuple(sites), "lib"), X, progress=False)


def test_a_graph_does_not_differ_from_itself(graph, traced):
    for options in ({}, {"traced": traced, "batches": X, "progress": False}):
        found = libasis.diff(graph, graph, **options)
        assert (found.only_a, found.only_b, found.edges) == ([], [], [])
        assert all(row["a"] == row["b"] and row["similarity"] == pytest.approx(1) for row in found.features)
        assert all(row["compared"] == row["same"] > 0 for row in found.sections)


@pytest.mark.parametrize("data", [False, True])
def test_features_are_matched_by_what_they_are(graph, traced, data):
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    P = torch.eye(6, dtype=F64)[:, order] * torch.tensor([1, -1, 1, -1, -1, 1])
    options = {"traced": traced, "batches": X, "progress": False} if data else {}
    found = libasis.diff(graph, turned(graph, traced, 0, P), **options)
    pairs = {row["a"][0]: row["b"][0] for row in found.features if row["site"] == "s0"}
    assert pairs == {f"s0:{i}": f"s0:{order.tolist().index(i)}" for i in range(6)}
    assert found.edges == []


def test_features_of_nearly_equal_importance_match_as_one_subspace(graph, traced):
    """They are only defined up to a rotation, so a rotation is no difference."""
    site = graph.basis[0]
    importances = site.importances.clone()
    importances[2] = importances[1] * 0.99
    basis = Basis((replace(site, importances=importances), *graph.basis.sites[1:]), "lib")
    one = replace(graph, basis=basis)
    angle = torch.tensor(0.7, dtype=F64)
    R = torch.eye(6, dtype=F64)
    R[1:3, 1:3] = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    other = turned(graph, traced, 0, R)
    other = replace(
        other, basis=Basis((replace(other.basis[0], importances=importances), *other.basis.sites[1:]), "lib")
    )
    found = libasis.diff(one, other, traced=traced, batches=X, least=0.9, progress=False)
    group = next(row for row in found.features if len(row["a"]) > 1)
    assert (group["a"], group["b"]) == (["s0:1", "s0:2"], ["s0:1", "s0:2"])
    assert group["similarity"] == pytest.approx(1)
    assert (found.only_a, found.only_b) == ([], [])
    strict = libasis.diff(one, other, traced=traced, batches=X, least=0.9, tolerance=1e-6, progress=False)
    assert {row["id"] for row in strict.only_a} == {"s0:1", "s0:2"}


def small(times):
    """A small network, with each hidden neuron so many times and a weight divided by as much."""
    model = nn.Sequential(nn.Linear(6, 5 * times), nn.Tanh(), nn.Linear(5 * times, 4)).to(F64).eval()
    parts = (random(5, 6, seed=1).repeat(times, 1), random(5, seed=2).repeat(times))
    parts += (random(4, 5, seed=3).repeat(1, times) / times, random(4, seed=4))
    for parameter, value in zip(model.parameters(), parts, strict=True):
        parameter.data = value
    return model


def built(model):
    batches = [x[:, 0] for x in X]
    sites = ["input", "2:in", "output"]
    return libasis.trace(model, batches[0], sites), libasis.build(model, batches, sites, progress=False)


def test_models_of_other_widths_are_compared_by_values():
    """Every hidden neuron twice: another width, the same function, the same features."""
    (t1, one), (t2, two) = built(small(1)), built(small(2))
    with pytest.raises(OptionError, match="5 coordinates in A and 10 in B"):
        libasis.diff(one, two)
    found = libasis.diff(one, two, traced=(t1, t2), batches=[x[:, 0] for x in X], progress=False)
    assert (found.only_a, found.only_b, found.edges) == ([], [], [])
    assert min(row["similarity"] for row in found.features) > 0.999


class Cross(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.fc = nn.Linear(3, 3, bias=False, dtype=F64)
        self.fc.weight = nn.Parameter(torch.tensor(weight, dtype=F64))

    def forward(self, x):
        return self.fc(x)


def neurons(weight, n=4000, seed=0):
    model = Cross(weight).eval()
    batches = list(random(n, 3, seed=seed).split(n // 8))
    traced = libasis.trace(model, batches[0], ["input", "output"])
    return traced, libasis.build(model, batches, ["input", "output"], basis="neuron", progress=False), batches


def test_edges_that_changed_are_named():
    one = neurons([[1.0, 0.0, 0.0], [0.0, 2.0, 1.0], [0.0, 0.5, 1.0]])
    two = neurons([[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    for options in ({}, {"traced": (one[0], two[0]), "batches": one[2], "progress": False}):
        found = libasis.diff(one[1], two[1], **options)
        kinds = {(row["source_a"][0], row["target_a"][0]): row["kind"] for row in found.edges}
        assert kinds == {
            ("input:1", "output:0"): "gained",
            ("input:2", "output:1"): "lost",
            ("input:1", "output:2"): "changed",  # from a fifth of the input to a half
        }
        changes = [abs(row["b"] - row["a"]) for row in found.edges]
        assert changes == sorted(changes, reverse=True)
        assert all((row["noise"] is None) == (not options) for row in found.edges)
    gained = next(row for row in found.edges if row["kind"] == "gained")
    assert (gained["a"], gained["b"]) == pytest.approx((0, 0.2), abs=0.03)


def test_noise_of_the_sample_is_no_difference():
    """The same model on two small samples: without noise estimate chance differences count, with it hardly any."""
    generator = torch.Generator().manual_seed(1)
    weight = (0.35 * torch.randn(3, 3, generator=generator, dtype=F64)).tolist()
    bare = noisy = 0
    for seed in range(6):
        one, two = neurons(weight, 80, 2 * seed), neurons(weight, 80, 2 * seed + 1)
        bare += len(libasis.diff(one[1], two[1], factor=1.05).edges)
        found = libasis.diff(one[1], two[1], factor=1.05, traced=one[0], batches=one[2], progress=False)
        assert "8 parts" in found.info["noise"]
        noisy += len(found.edges)
    assert bare > 20
    assert noisy < bare / 4


def test_one_batch_gives_no_noise(graph, traced):
    found = libasis.diff(graph, graph, traced=traced, batches=X[:1], progress=False)
    assert found.info["noise"] == "not measured"


def test_features_that_one_graph_lacks(graph, traced):
    site = graph.basis[1]
    less = replace(site, **{k: getattr(site, k)[:4] for k in ("C_pinv", "importances", "variances")}, C=site.C[:, :4])
    sites = (graph.basis[0], less, graph.basis[2])
    other = libasis.interactions(traced, Basis(sites, "lib"), X, progress=False)
    found = libasis.diff(graph, other)
    assert [row["id"] for row in found.only_a] == ["s1:4"]
    assert found.only_b == []
    row = found.sites()[1]
    assert (row["matched"], row["only_a"], row["only_b"]) == (4, 1, 0)
    assert row["importance_matched_a"] == pytest.approx(float(site.importances[:4].sum() / site.importances.sum()))
    expected = float(graph.edges[0][4:].sum() / graph.edges[0].sum())
    assert found.sections[0]["unmatched_a"] == pytest.approx(expected)


def test_sparse_graphs(traced, graph):
    one, two = (libasis.interactions(traced, graph.basis, X, top_k=k, progress=False) for k in (2, 2))
    found = libasis.diff(one, two, traced=traced, batches=X, progress=False)
    assert found.edges == []


def test_it_is_written_as_json(graph, tmp_path):
    found = libasis.diff(graph, graph.with_labels({"s0:0": "x"}))
    written = json.loads(found.to_json(tmp_path / "diff.json").read_text())
    assert written == found.to_plain()
    assert written["info"]["labels_b"] == {"s0:0": "x"}
    back = libasis.load(found.save(tmp_path / "diff"))
    assert back.to_plain() == found.to_plain()
    assert repr(back) == repr(found)
    assert len(back.to_dataframe()) == len(found.edges)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"least": 0}, "least is 0"),
        ({"factor": 1}, "factor is 1"),
        ({"threshold": "x"}, "threshold is 'x'"),
        ({"batches": X}, "belong together"),
    ],
)
def test_wrong_options_are_told(graph, options, words):
    with pytest.raises(OptionError, match=words):
        libasis.diff(graph, graph, **options)


def test_wrong_data_are_told(graph, traced):
    with pytest.raises(BatchError, match="one-shot"):
        libasis.diff(graph, graph, traced=traced, batches=iter(X))
    fewer = replace(graph, basis=Basis(graph.basis.sites[:2], "lib"), edges=graph.edges[:1], signed=graph.signed[:1])
    with pytest.raises(OptionError, match="same number of sites"):
        libasis.diff(graph, fewer)
