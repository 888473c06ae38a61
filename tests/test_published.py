"""The authors' own numbers on their own model: importances, edges, edges required, node ablation."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import libasis

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # the experiments stand outside the package

from experiments.modadd import published_model  # noqa: E402

FOLDER = ROOT.parent / "shared" / "data" / "modadd113"
SITES = ["blocks.0.ln1:in", "blocks.0.ln2:in", "unembed:in", "output"]
THEIRS = {"ln1.0": SITES[0], "ln2.0": SITES[1], "unembed": SITES[2]}
REQUIRED = {"lib": (133, 82, 633), "pca": (142, 114, 682)}

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason=f"the published results are not at {FOLDER}")


def model():
    return published_model(str(FOLDER / "model.safetensors"))


@pytest.fixture(scope="module")
def arrays():
    return np.load(FOLDER / "expected.npz")


@pytest.fixture(scope="module")
def expected():
    return json.loads((FOLDER / "expected.json").read_text())


def batches(codes):
    a, b = torch.from_numpy(codes).long() // 113, torch.from_numpy(codes).long() % 113
    prompts, answers = torch.stack([a, b, torch.full_like(a, 113)], 1), (a + b) % 113
    return list(zip(prompts.split(512), answers.split(512), strict=True))


@pytest.fixture(scope="module")
def traced(arrays):
    return libasis.trace(model(), batches(arrays["train"])[0][0], SITES, dtype="float64")


@pytest.fixture(scope="module", params=["lib", "pca"])
def graph(request, traced, arrays):
    train = batches(arrays["train"])
    basis = libasis.fit(traced, train, request.param, truncation="absolute:1e-6")
    return libasis.interactions(traced, basis, train)


def relative(ours, theirs):
    theirs = torch.from_numpy(theirs)
    return float(torch.linalg.vector_norm(ours - theirs) / torch.linalg.vector_norm(theirs))


def test_importances_and_edges(graph, arrays):
    for l, site in enumerate(graph.basis.sites[:-1]):
        if graph.basis.method == "lib":
            published = torch.from_numpy(arrays[f"lib_lambda_{l}"])
            torch.testing.assert_close(site.importances, published, rtol=1e-6, atol=0)
        assert relative(graph.edges[l], arrays[f"{graph.basis.method}_edges_{l}"]) < 1e-4


def test_edges_required(graph, traced, arrays):
    found = libasis.ablate_edges(traced, graph, batches(arrays["test"]), max_drop=0.001, stable=False)
    assert tuple(found.edges_required.values()) == REQUIRED[graph.basis.method]
    assert found.samples == 8939


def ablated(traced, basis, site, published, arrays):
    """Ours minus the published score at every listed count, in samples. Their keys count the constant."""
    counts = {key: min(int(key) - 1, basis[site].k) for key in published if key != "0"}
    test = batches(arrays["test"])
    found = libasis.ablate_nodes(traced, basis, test, sites=[site], schedule=sorted(set(counts.values())))
    assert found.without_constant == pytest.approx(published["0"], abs=1e-9)
    return {int(key): (found.curves[site][n] - published[key]) * found.samples for key, n in counts.items()}


def test_node_ablation(graph, traced, arrays, expected):
    for theirs, published in expected[graph.basis.method]["node_ablation"].items():
        difference = ablated(traced, graph.basis, THEIRS[theirs], published, arrays)
        if (graph.basis.method, theirs) == ("lib", "ln1.0"):  # published at another threshold: see below
            difference = {key: d for key, d in difference.items() if key > 11}
        assert max(map(abs, difference.values())) < 1e-4, theirs


@pytest.mark.parametrize("method", ["lib", "pca"])
def test_node_ablation_as_the_authors_ran_it(method, traced, arrays, expected):
    """The authors fitted the bases of their node ablations with a threshold of 1e-15.

    For LIB at the first site that matters below 12 features: at 1e-6 up to 7 of 8,939 samples fall otherwise, because
    the small directions of later sites count. At 1e-15 rounding decides whether a 108th direction is kept at the
    second site (with it every score is the published one, without it up to 4 samples differ).
    """
    basis = libasis.fit(traced, batches(arrays["train"]), method, truncation="absolute:1e-15")
    allowed = 1e-4 if method == "pca" or basis[SITES[1]].k == 108 else 5
    for theirs, published in expected[method]["node_ablation"].items():
        difference = ablated(traced, basis, THEIRS[theirs], published, arrays)
        assert max(map(abs, difference.values())) < allowed, theirs
