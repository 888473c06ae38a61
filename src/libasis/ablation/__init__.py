"""Ablation: how few features, and how few interactions, keep the model's score."""

from .edges import ablate_edges
from .nodes import ablate_nodes
from .pair import Ablations
from .results import Curve, EdgeAblation, NodeAblation, SampleScores

__all__ = ["Ablations", "Curve", "EdgeAblation", "NodeAblation", "SampleScores", "ablate_edges", "ablate_nodes"]
