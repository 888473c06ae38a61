"""Ablations as results: they come back as they were, and their tables are their counts."""

import json
import math
from dataclasses import replace

import pytest
import torch

import libasis
from libasis.ablation import Ablations, SampleScores
from libasis.ablation.results import Curve, EdgeAblation, NodeAblation
from libasis.errors import StoreError


def node_ablation(**changes):
    plain = {
        "features_required": {"a": 2, "b": None},
        "features_required_stable": {"a": 5, "b": None},
        "curves": {"a": Curve({0: 0.1, 2: 0.4, 5: 0.9}), "b": Curve({0: math.nan, 3: math.inf})},
        "without_constant": -math.inf,
        "base_score": 0.9,
        "metric": "accuracy",
        "higher_is_better": True,
        "max_drop": 0.001,
        "samples": 20,
        "info": {"schedule": [1, 2], "nested": {"seed": 0}},
    }
    return NodeAblation(**{**plain, **changes})


def edge_ablation(**changes):
    generator = torch.Generator().manual_seed(0)
    plain = {
        "edges_required": {"a": 7, "b": None},
        "edges_required_stable": {"a": 9, "b": None},
        "edges_total": {"a": 33, "b": 4},
        "curves": {"a": Curve({0: 0.1, 33: 0.9}), "b": Curve({4: 0.2})},
        "masks": {"a": torch.rand(3, 11, generator=generator) < 0.5, "b": None},
        "base_score": 0.9,
        "metric": "accuracy",
        "higher_is_better": True,
        "max_drop": 0.001,
        "samples": 20,
        "info": {"search": "bisect"},
    }
    return EdgeAblation(**{**plain, **changes})


def same(a, b):
    """Equal also where both are nan."""
    if isinstance(a, torch.Tensor):
        return a.layout == b.layout and a.dtype == b.dtype and torch.equal(a.to_dense(), b.to_dense())
    if isinstance(a, dict | Curve):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and same(vars(a), vars(b))
    return a == b or (a != a and b != b)


@pytest.mark.parametrize("result", [node_ablation(), edge_ablation()], ids=["nodes", "edges"])
def test_what_is_saved_is_read_back(result, tmp_path):
    path = result.save(tmp_path / "deep" / "ablation")
    assert same(libasis.load(path), result)
    assert same(type(result).load(path), result)
    json.loads((path / "manifest.json").read_text(), parse_constant=pytest.fail)


def test_scores_of_samples_are_kept_too(tmp_path):
    sums = {"a": {0: torch.rand(4).double(), 12: torch.rand(4).double()}, "b.0": {}}
    scores = SampleScores(torch.tensor([1, 2, 1, 1]), torch.rand(4).double(), sums)
    before = node_ablation(per_sample=scores)
    assert same(libasis.load(before.save(tmp_path / "ablation")), before)
    assert "4 samples" in repr(scores)


def test_sparse_masks_stay_sparse(tmp_path):
    mask = torch.eye(4, 9, dtype=torch.bool)
    before = edge_ablation(masks={"a": mask.to_sparse(), "b": None})
    after = EdgeAblation.load(before.save(tmp_path / "ablation"))
    assert after.masks["a"].is_sparse
    assert torch.equal(after.masks["a"].to_dense(), mask)


def test_both_in_one(tmp_path):
    before = Ablations(node_ablation(), edge_ablation(), held_out=True, info={"settings": {"a": 1}})
    after = libasis.load(before.save(tmp_path / "both"))
    assert same(after, before)
    assert [row.get("site", row.get("section")) for row in after.rows()] == ["a", "b", "a", "b"]
    alone = Ablations.load(replace(before, nodes=None).save(tmp_path / "alone"))
    assert alone.nodes is None
    assert alone.edges.edges_required == {"a": 7, "b": None}
    with pytest.raises(StoreError, match="of the kind 'ablations', not 'edge-ablation'"):
        EdgeAblation.load(tmp_path / "both")


def test_tables():
    rows = edge_ablation().rows()
    assert rows[0] == {"section": "a", "edges_required": 7, "edges_required_stable": 9, "edges_total": 33}
    assert rows[1]["edges_required"] is None
    frame = node_ablation().to_dataframe()
    assert list(frame.site) == ["a", "b"]
    assert list(frame.features) == [5, 3]
    assert frame.features_required[0] == 2


def test_what_they_say_of_themselves_is_short():
    assert repr(node_ablation()) == "NodeAblation(2 sites; accuracy 0.9 of the whole model on 20 samples)"
    assert repr(edge_ablation()) == "EdgeAblation(2 sections; accuracy 0.9 of the whole model on 20 samples)"
    assert repr(Ablations(None, None, held_out=True)) == "Ablations(none)"


def test_plain_data_are_without_tensors():
    plain = edge_ablation(per_sample=SampleScores(torch.ones(2), torch.ones(2), {})).to_plain()
    assert not {"masks", "per_sample"} & set(plain)
    assert plain["curves"]["a"] == [[0, 0.1], [33, 0.9]]
    assert json.loads(json.dumps(node_ablation().to_plain(), allow_nan=False))["without_constant"] == "-inf"
