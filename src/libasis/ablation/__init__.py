"""Ablation: how few features, and how few interactions, keep the model's score."""

from .edges import ablate_edges
from .metrics import Metric, MetricSpec, parse_metric
from .nodes import ablate_nodes
from .results import Curve, EdgeAblation, NodeAblation, SampleScores

__all__ = [
    "Curve",
    "EdgeAblation",
    "Metric",
    "MetricSpec",
    "NodeAblation",
    "SampleScores",
    "ablate_edges",
    "ablate_nodes",
    "parse_metric",
]
