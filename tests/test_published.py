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


@pytest.fixture(scope="module")
def held_out(traced, arrays):
    """The model runs on them once for all tests."""
    kept = libasis.keep(traced, batches(arrays["test"]))
    kept.facts()
    return kept


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


def test_edges_required(graph, traced, held_out):
    found = libasis.ablate_edges(traced, graph, held_out, max_drop=0.001, stable=False)
    assert tuple(found.edges_required.values()) == REQUIRED[graph.basis.method]
    assert found.samples == 8939


def listed(published):
    """The counts of the published scores, ascending; they count the constant. 0 is without it."""
    return sorted({int(key) for one in published.values() for key in one} - {0})


def ablated(traced, basis, published, held_out, keys):
    """By site, ours minus the published score at some of the counts, in samples."""
    found = libasis.ablate_nodes(traced, basis, held_out, schedule=[key - 1 for key in keys])
    for theirs, one in published.items():
        site = THEIRS[theirs]
        assert found.without_constant == pytest.approx(one["0"], abs=1e-9)
        ours = {key: found.curves[site][min(key - 1, basis[site].k)] for key in keys}
        yield theirs, {key: (ours[key] - one[str(key)]) * found.samples for key in keys}


def test_node_ablation(graph, traced, held_out, expected):
    """At every second count; the others follow below."""
    method, published = graph.basis.method, expected[graph.basis.method]["node_ablation"]
    for theirs, difference in ablated(traced, graph.basis, published, held_out, listed(published)[::2]):
        if (method, theirs) == ("lib", "ln1.0"):  # published at another threshold: see below
            difference = {key: d for key, d in difference.items() if key > 11}
        assert len(difference) > 15
        assert max(map(abs, difference.values())) < 1e-4, theirs


@pytest.mark.parametrize("method", ["lib", "pca"])
def test_node_ablation_as_the_authors_ran_it(method, traced, arrays, held_out, expected):
    """The authors fitted the bases of their node ablations with a threshold of 1e-15.

    For LIB at the first site that matters below 12 features: at 1e-6 up to 7 of 8,939 samples fall otherwise, because
    the small directions of later sites count. At 1e-15 rounding decides whether a 108th direction is kept at the
    second site (with it every score is the published one, without it up to 4 samples differ). The counts are those
    that the test above leaves out.
    """
    published = expected[method]["node_ablation"]
    keys = [key for i, key in enumerate(listed(published)) if i % 2 or key < 12]
    basis = libasis.fit(traced, batches(arrays["train"]), method, truncation="absolute:1e-15")
    allowed = 1e-4 if method == "pca" or basis[SITES[1]].k == 108 else 5
    for theirs, difference in ablated(traced, basis, published, held_out, keys):
        assert max(map(abs, difference.values())) < allowed, theirs
