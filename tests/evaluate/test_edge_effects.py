"""Edges held against interventions: known answers, paths by hand, positions, units and bad questions."""

import numpy as np
import pytest
import torch

import chains
import libasis
from ablation.setting import Setting, squared_error
from chains import F64, random
from libasis.errors import BatchError, OptionError
from libasis.evaluate.calibration import spearman


@pytest.fixture(scope="module")
def linear():
    torch.manual_seed(0)
    model = chains.Linear3().to(F64).eval()
    x = random(40, 5) @ random(5, 5, seed=1)
    traced = libasis.trace(model, x, ["layers.0:in", "layers.1:in", "layers.2:in", "output"])
    basis = libasis.fit(traced, [x], progress=False)
    return model, x, traced, libasis.interactions(traced, basis, [x], progress=False)


def test_a_linear_section_changes_by_what_its_edges_say(linear):
    _, x, traced, graph = linear
    found = libasis.edge_effects(traced, graph, x.split(9), to=["mean"], strongest=2, progress=False)
    for edges, measured, sources in zip(graph.edges, found.measured, found.sources, strict=True):
        assert sources == list(range(edges.shape[1]))
        torch.testing.assert_close(measured[0], edges.T, rtol=1e-9, atol=1e-12)
    for row in found.calibration:
        assert row["spearman"] >= 0.75  # what is nothing up to rounding has any rank
        assert row["ratio"] == pytest.approx(1.0)
    for row in found.tested:
        assert row["measured"] == pytest.approx(row["edge"], rel=1e-9)
        assert row["measured_low"] < row["measured"] < row["measured_high"]
        assert row["path"] > 0


def test_the_signed_change_is_what_the_feature_would_have_added(linear):
    _, x, traced, graph = linear
    found = libasis.edge_effects(traced, graph, [x[:30]], edges=[("layers.0:in:1", "layers.1:in:2")], progress=False)
    basis = graph.basis
    through = basis[0].C_pinv @ traced.model.layers[0].weight.detach().T @ basis[1].C
    expected = -(basis[0].encode(x[:30])[:, 1] * through[1, 2]).mean()
    row = next(row for row in found.tested if row["to"] == "mean")
    assert row["signed"] == pytest.approx(float(expected), rel=1e-9)
    assert (row["source"], row["target"]) == ("layers.0:in:1", "layers.1:in:2")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ["mlp", "causal"])
def test_paths_by_hand(name, masked):
    """Only the target feature changes, at the positions that count, and the rest of the model runs on."""
    setting = Setting(name, "lib", masked)
    graph = libasis.interactions(setting.traced, setting.basis, [setting.x], progress=False)
    names = graph.sites
    batches = list(zip(setting.x.split(11), setting.targets.split(11), strict=True))
    found = libasis.edge_effects(
        setting.traced, graph, batches, edges=[(f"{names[0]}:1", f"{names[1]}:0")], to=["mean"],
        metric=squared_error, progress=False,
    )  # fmt: skip
    one, two = setting.basis[0], setting.basis[1]
    z = (setting.x - one.mean) @ one.C
    moved = setting.x - z[..., 1:2] * one.C_pinv[1] * setting.counted[..., None]
    with torch.no_grad():
        y, there = (setting.sections[0](a) for a in (setting.x, moved))
    change = ((there - y) @ two.C)[..., 0] * setting.counted[:, : y.shape[1]]
    outputs = [setting.rest(a, 1) for a in (y, y + change[..., None] * two.C_pinv[0], there)]
    base, path, whole = (squared_error(out, setting.targets) for out in outputs)
    row = found.tested[0]
    assert row["path"] == pytest.approx(float((path - base).mean()), rel=1e-8)
    assert row["whole"] == pytest.approx(float((whole - base).mean()), rel=1e-8)
    count = int(setting.counted.sum())
    assert row["measured"] == pytest.approx(float(change.square().sum() / count), rel=1e-8)
    assert float(found.measured[0][0, found.sources[0].index(1), 0]) == pytest.approx(row["measured"], rel=1e-8)


def test_parts_of_the_data_and_memory_make_no_difference():
    setting = Setting("mlp", "lib", masked=True)
    graph = libasis.interactions(setting.traced, setting.basis, [setting.x], progress=False)
    found = [
        libasis.edge_effects(
            setting.traced, graph, setting.x.split(size), seed=3, strongest=1, memory=memory, progress=False
        )
        for size, memory in ((40, 2**30), (13, 2**14))
    ]
    for a, b in zip(found[0].measured, found[1].measured, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-14)
    for a, b in zip(found[0].tested, found[1].tested, strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            assert value == (pytest.approx(b[key], rel=1e-6) if isinstance(value, float) else b[key])


def test_random_directions_and_their_rank(linear):
    """A direction that alone leads to a target lies beyond random ones; units widen what is known."""
    x = random(200, 6)
    A = torch.zeros(6, 6, dtype=F64)
    A[0, 3] = 1.0
    traced = libasis.Chain([lambda a: a @ A.T + 0.1 * torch.tanh(a), lambda a: torch.tanh(a)], ["a", "b", "output"])
    basis = libasis.fit(traced, [x], "neuron", progress=False)
    graph = libasis.interactions(traced, basis, [x], progress=False)
    options = {"edges": [("a:3", "b:0"), ("a:2", "b:0")], "controls": 39, "to": ["mean"], "progress": False}
    strong, weak = libasis.edge_effects(traced, graph, [x], **options).tested
    assert strong["p_random"] == 1 / 40
    assert strong["random"] < 0.5 * strong["measured"]
    assert weak["p_random"] > 0.5
    assert strong["p_random_path"] == 1 / 40  # nothing else moves b:0 as much, so nothing moves the output by it
    assert 0 < strong["random_path"] < 0.5 * abs(strong["path"])
    assert weak["p_random_path"] > 0.5
    units = [n // 20 for n in range(200)]
    few = libasis.edge_effects(traced, graph, [x], units=units, **options).tested[0]
    assert (few["n"], few["units"]) == (200, 10)
    with pytest.raises(OptionError, match="units has 3 ids, but the data have 200"):
        libasis.edge_effects(traced, graph, [x], units=[0, 1, 2], **options)


def test_sources_are_drawn_evenly_and_the_result_comes_back(linear, tmp_path):
    _, x, traced, graph = linear
    found = libasis.edge_effects(traced, graph, [x], sources=2, strongest=1, progress=False)
    assert all(2 <= len(own) <= 3 for own in found.sources)
    assert [row["low"] for row in found.calibration] == [None] * 6  # too few source features
    back = libasis.load(found.save(tmp_path / "one"))
    assert type(back) is libasis.EdgeEffects
    assert back.rows() == found.rows()
    assert back.calibration == found.calibration
    assert repr(back) == repr(found)
    assert back.info["seed"] == 0
    assert list(back.to_dataframe().columns)[:4] == ["source", "target", "to", "edge"]


def test_the_rank_correlation_is_that_of_scipy():
    from scipy.stats import spearmanr

    generator = np.random.default_rng(0)
    a, b = generator.integers(0, 6, (5, 7)), generator.normal(size=(5, 7))
    assert spearman(a, b) == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic)
    assert np.isnan(spearman(np.ones(4), np.arange(4)))


def test_sparse_edges_are_as_good(linear):
    _, x, traced, graph = linear
    sparse = libasis.interactions(traced, graph.basis, [x], top_k=2, progress=False)
    found = libasis.edge_effects(traced, sparse, [x], strongest=2, progress=False)
    assert len(found.tested) == 3 * 2 * 2
    assert int((found.strengths[0] > 0).sum()) == 2 * graph.basis[1].k


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"edges": [("layers.0:in:0", "output:0")]}, OptionError, "two neighbouring sites"),
        ({"edges": [("layers.0:in:99", "layers.1:in:0")]}, OptionError, "two neighbouring sites"),
        ({"edges": [("layers.0:in:0",)]}, OptionError, "two neighbouring sites"),
        ({"to": ["median"]}, OptionError, r"to is \['median'\]"),
        ({"to": []}, OptionError, "to is"),
        ({"controls": 0}, OptionError, "controls is 0"),
        ({"sources": 0}, OptionError, "sources is 0"),
        ({"metric": "accuracy"}, BatchError, "needs targets"),
    ],
)
def test_what_is_no_question_is_told(linear, options, error, said):
    _, x, traced, graph = linear
    with pytest.raises(error, match=said):
        libasis.edge_effects(traced, graph, [x], progress=False, **options)
