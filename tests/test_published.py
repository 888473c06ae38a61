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


def test_node_ablation(graph, traced, arrays, expected):
    """Their keys count the constant.

    Below 12 features of LIB at the first site the published scores differ from those of this basis by up to 7 of 8,939
    samples. The features dropped at later sites decide them: of fits that differ in the threshold alone, those with
    hardly any truncation come closest (and move by some samples with every rounding), so that the published curve
    cannot be one of threshold 1e-6, as all else in the file is.
    """
    for theirs, published in expected[graph.basis.method]["node_ablation"].items():
        site = graph.basis[THEIRS[theirs]]
        counts = {key: min(int(key) - 1, site.k) for key in published if key != "0"}
        found = libasis.ablate_nodes(
            traced, graph, batches(arrays["test"]), sites=[site.name], schedule=list(counts.values())
        )
        loose = graph.basis.method == "lib" and theirs == "ln1.0"
        for key, count in counts.items():
            allowed = 7.5 / found.samples if loose and count < 11 else 1e-9
            assert found.curves[site.name][count] == pytest.approx(published[key], abs=allowed), (theirs, key)
        assert found.without_constant == pytest.approx(published["0"], abs=1e-9)
