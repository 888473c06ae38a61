"""Evaluation: bases compared by what they need, with intervals over samples and models; how sure the numbers are."""

from ..numerics import Bootstrap
from .calibration import EdgeEffects
from .circuits import CircuitTests, circuit_tests
from .compare import METHODS, Study, compare
from .comparison import Comparison
from .difference import GraphDiff, diff
from .edge_effects import edge_effects
from .faithfulness import Faithfulness, faithfulness
from .rotation import random_rotation
from .sensitivity import Sensitivity, Variation, sensitivity
from .summary import summarise

__all__ = [
    "METHODS",
    "Bootstrap",
    "CircuitTests",
    "Comparison",
    "EdgeEffects",
    "Faithfulness",
    "GraphDiff",
    "diff",
    "edge_effects",
    "Sensitivity",
    "Study",
    "Variation",
    "circuit_tests",
    "compare",
    "faithfulness",
    "random_rotation",
    "sensitivity",
    "summarise",
]
