import json
import math
from dataclasses import replace

import pytest
import torch

from libasis.ablation.results import Curve, EdgeAblation, NodeAblation
from libasis.errors import StoreError
from libasis.run import show
from libasis.run.ablations import Ablations, load_ablations, save_ablations, to_dict

SETTINGS = {"model": {"source": "m:f"}}


def node_ablation(**changes):
    plain = {
        "curves": {"a": Curve({0: 0.1, 2: 0.4, 5: 0.9}), "b": Curve({0: math.nan, 3: math.inf})},
        "without_constant": -math.inf,
        "base_score": 0.9,
        "metric": "accuracy",
        "higher_is_better": True,
        "samples": 20,
        "info": {"schedule": [1, 2], "nested": {"seed": 0}},
    }
    return NodeAblation(**{**plain, **changes})


def edge_ablation():
    generator = torch.Generator().manual_seed(0)
    return EdgeAblation(
        edges_required={"a": 7, "b": None},
        edges_required_stable={"a": 9, "b": None},
        edges_total={"a": 33, "b": 4},
        curves={"a": Curve({0: 0.1, 33: 0.9}), "b": Curve({4: 0.2})},
        masks={"a": torch.rand(3, 11, generator=generator) < 0.5, "b": None},
        base_score=0.9,
        metric="accuracy",
        higher_is_better=True,
        max_drop=0.001,
        samples=20,
        info={"search": "bisect"},
    )


def same(a, b):
    """Equal also where both are nan."""
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return a == b or (a != a and b != b)


def test_what_is_saved_is_read_back(tmp_path):
    before = Ablations(node_ablation(), edge_ablation(), held_out=True)
    path = save_ablations(tmp_path / "deep" / "ablation.json", before, SETTINGS)
    after, settings = load_ablations(path)
    assert settings == SETTINGS
    assert after.held_out is True
    for kind in ("nodes", "edges"):
        old, new = getattr(before, kind), getattr(after, kind)
        assert {k: dict(c) for k, c in new.curves.items()}.keys() == old.curves.keys()
        assert all(same(dict(old.curves[k]), dict(new.curves[k])) for k in old.curves)
        for name in vars(old).keys() - {"curves", "masks"}:
            assert same(getattr(old, name), getattr(new, name)), name
    assert after.edges.masks["b"] is None
    assert after.edges.masks["a"].dtype == torch.bool
    assert torch.equal(after.edges.masks["a"], before.edges.masks["a"])
    json.loads(path.read_text(), parse_constant=pytest.fail)


def test_sparse_masks_stay_sparse(tmp_path):
    mask = torch.eye(4, 9, dtype=torch.bool)
    before = Ablations(None, replace(edge_ablation(), masks={"a": mask.to_sparse(), "b": None}), held_out=True)
    after, _ = load_ablations(save_ablations(tmp_path / "ablation.json", before, SETTINGS))
    assert after.edges.masks["a"].is_sparse
    assert torch.equal(after.edges.masks["a"].to_dense(), mask)


def test_one_of_the_two_may_be_missing(tmp_path):
    path = save_ablations(tmp_path / "a.json", Ablations(None, edge_ablation(), held_out=False), SETTINGS)
    after, _ = load_ablations(path)
    assert after.nodes is None
    assert after.edges.edges_required == {"a": 7, "b": None}
    assert not after.held_out


def test_masks_only_on_request():
    assert "masks" not in to_dict(edge_ablation())
    assert to_dict(edge_ablation(), masks=True)["masks"]["a"]["shape"] == [3, 11]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "libasis-ablation", "version": 2}', '{"format": "other"}']
)
def test_files_that_are_no_ablations(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(StoreError, match=r"a\.json"):
        load_ablations(tmp_path / "a.json")


def test_missing_file(tmp_path):
    with pytest.raises(StoreError, match=r"a\.json"):
        load_ablations(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("points", "higher", "needed"),
    [
        ({0: 0.1, 1: 0.9, 2: 0.5, 3: 0.899, 4: 0.95}, True, 3),
        ({0: 0.1, 4: 0.898}, True, None),
        ({0: 0.9, 4: 0.9}, True, 0),
        ({0: 2.0, 1: 0.901, 2: 0.5}, False, 1),
        ({0: 2.0, 1: math.nan, 2: 0.5}, False, 2),
        ({}, True, None),
    ],
)
def test_features_required(points, higher, needed):
    result = node_ablation(higher_is_better=higher)
    assert show.features_required(Curve(points), result, 0.001) == needed
