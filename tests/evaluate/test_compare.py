import pytest
import torch

import libasis
from libasis.demo import digits
from libasis.errors import OptionError
from libasis.evaluate import Bootstrap, Study, compare
from libasis.evaluate.compare import METHODS

SITES = ["fc1:in", "fc2:in", "fc3:in", "output"]


@pytest.fixture(scope="module")
def setting():
    model, train, test = digits.load(), digits.batches_train(), digits.batches_test()
    traced = libasis.trace(model, train[0][0], SITES)
    return traced, libasis.keep(traced, train[:1]), [tuple(part[:96] for part in test[0])]


@pytest.fixture(scope="module")
def comparison(setting):
    study = Study(max_drop=0.02, bootstrap=Bootstrap(50), ablate_nodes={"schedule": [0, 4, 8, 16, 64]})
    return compare(*setting, ["lib", "pca", "random"], study)


@pytest.fixture(scope="module")
def found(comparison):
    return comparison.runs["model"]


def test_counts_agree_with_the_ablations_themselves(setting, found):
    traced, train, test = setting
    graph = libasis.interactions(traced, libasis.fit(traced, train), train)
    alone = libasis.ablate_edges(traced, graph, test, max_drop=0.02)
    for row in found["lib"]["edges"]:
        assert row["edges_required"] == alone.edges_required[row["section"]]
        assert row["edges_required_stable"] == alone.edges_required_stable[row["section"]]
        assert row["edges_total"] == alone.edges_total[row["section"]]
    assert found["lib"]["base_score"] == alone.base_score
    assert found["lib"]["samples"] == 96


def test_a_comparison_is_a_result(comparison, tmp_path):
    back = libasis.load(comparison.save(tmp_path / "comparison"))
    assert back.runs == comparison.runs
    assert back.summary == comparison.summary
    assert repr(back) == "Comparison(lib, pca, random; 1 model)"
    table = back.to_dataframe()
    lib = table[(table.needed == "edges") & (table.method == "lib")]
    assert list(lib.place) == SITES[:-1]
    assert list(lib["mean"]) == [row["edges_required_stable"] for row in comparison.runs["model"]["lib"]["edges"]]
    assert set(table.needed) == {"edges", "features"}


def test_intervals_and_replicates_belong_to_the_counts(found):
    for result in found.values():
        for kind, key in (("edges", "section"), ("nodes", "site")):
            for row in result[kind]:
                replicates = result["replicates"][kind][row[key]]
                assert len(replicates) == 50
                assert row["low"] is None or row["high"] is None or row["low"] <= row["high"]
                assert set(replicates) <= {point[0] for point in row["curve"]} | {None}


def test_a_random_rotation_needs_more_than_lib(found):
    """Of the same space; the first section has 784 edges in both."""
    lib, turned = (found[m]["edges"][0] for m in ("lib", "random"))
    assert lib["edges_total"] == turned["edges_total"]
    assert 2 * lib["edges_required_stable"] < turned["edges_required_stable"]


def test_node_curves_have_bands(found):
    for row in found["pca"]["nodes"]:
        for _, score, low, high in row["curve"]:
            assert low <= score <= high or low == high


def test_what_is_done_is_not_done_again(setting, found):
    told = []
    again = compare(*setting, ["lib", "pca"], done=found, each=lambda m, r: told.append(m))
    assert again.runs["model"] == {m: found[m] for m in ("lib", "pca")}
    assert told == []


def test_each_result_is_told_at_once_and_described(setting):
    told = {}
    study = Study(edges=False, bootstrap=Bootstrap(2), ablate_nodes={"schedule": [0, 64]})
    compare(*setting, ["neuron", "global"], study, each=told.__setitem__, describe=lambda t, b: {"kept": b[0].k})
    assert list(told) == ["neuron", "global"]
    assert told["neuron"]["labels"] == {"kept": 64}
    assert "edges" not in told["neuron"]


def test_unknown_methods_are_refused(setting):
    with pytest.raises(OptionError, match="ica.*lib"):
        compare(*setting, ["ica"])
    assert METHODS[0] == "lib"


def test_scores_of_tokens_are_kept_by_sequence():
    """Targets of -100 count for nothing, so sequences may have different numbers of scores."""
    torch.manual_seed(0)
    chain = libasis.Chain([torch.nn.Linear(4, 4).eval(), torch.nn.Linear(4, 3).eval()], ["a", "b", "c"])
    x, y = torch.randn(5, 6, 4), torch.randint(3, (5, 6))
    y[0, 2:] = -100
    graph = libasis.interactions(chain, libasis.fit(chain, [x]), [x])
    for result in (
        libasis.ablate_nodes(chain, graph, [(x[:2], y[:2]), (x[2:], y[2:])], "cross_entropy", per_sample=True),
        libasis.ablate_edges(chain, graph, [(x[:2], y[:2]), (x[2:], y[2:])], "cross_entropy", per_sample=True),
    ):
        kept = result.per_sample
        assert kept.counts.tolist() == [2, 6, 6, 6, 6]
        assert float(kept.base.sum() / kept.counts.sum()) == pytest.approx(result.base_score, rel=1e-12)
        for name, curve in result.curves.items():
            assert {c: float(s.sum() / 26) for c, s in kept.sums[name].items()} == pytest.approx(dict(curve), rel=1e-12)
    assert libasis.ablate_nodes(chain, graph, [(x, y)], "cross_entropy").per_sample is None


def test_sparse_lib_joins_by_name():
    """Its space and total importance are LIB's."""
    torch.manual_seed(1)
    layers = [torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU()).eval(), torch.nn.Linear(6, 3).eval()]
    chain = libasis.Chain(layers, ["a", "b", "c"])
    x = torch.randn(200, 4)
    y = layers[1](layers[0](x)).argmax(-1)
    found = compare(chain, [(x, y)], [(x[:50], y[:50])], ["lib", "sparse"], Study(bootstrap=Bootstrap(5)))
    found = found.runs["model"]
    for lib, sparse in zip(found["lib"]["sites"], found["sparse"]["sites"], strict=True):
        assert sparse["k"] == lib["k"]
        assert sparse["importance"] == pytest.approx(lib["importance"])
    assert [row["edges_total"] for row in found["lib"]["edges"]] == [r["edges_total"] for r in found["sparse"]["edges"]]
