"""libasis: the Local Interaction Basis of any torch model.

`trace` cuts a model at sites, `fit` finds the basis at each site, `interactions` the graph of what acts on what (or
`build` for the three in one), `ablate_nodes` and `ablate_edges` test how much of it is needed, `collect` what a
person needs to understand single features.
"""

from . import causal, local, practice, report  # report shows results: it registers their pages
from .ablation import Curve, EdgeAblation, NodeAblation, ablate_edges, ablate_nodes
from .basis import Basis, SiteBasis
from .build import build, fit
from .cards import FeatureCards, collect
from .cut import Chain, SiteTable, Traced, presets, trace
from .diagnose import AnomalyScore, Diagnosis, check, diagnose
from .errors import LibasisError
from .evaluate import (
    CircuitTests,
    Comparison,
    EdgeEffects,
    Faithfulness,
    GraphDiff,
    Sensitivity,
    circuit_tests,
    diff,
    edge_effects,
    faithfulness,
)
from .graphs import Communities, InteractionGraph, Label, communities, merge
from .importance import rules
from .interactions import interactions
from .intervene import Intervention, InterventionResult, intervene
from .measure import checkpoints, distributed, keep, without_outliers
from .numerics import Estimate
from .provenance import versions
from .scan import find_sites, scan
from .store import load
from .verify import Exploration, Hypothesis, Plan, Verification, explore, parts, plan, verify

__version__ = versions()["libasis"]

__all__ = [
    "AnomalyScore",
    "Basis",
    "Chain",
    "CircuitTests",
    "Communities",
    "Comparison",
    "Curve",
    "Diagnosis",
    "EdgeAblation",
    "EdgeEffects",
    "Estimate",
    "Exploration",
    "Faithfulness",
    "FeatureCards",
    "GraphDiff",
    "Hypothesis",
    "InteractionGraph",
    "Intervention",
    "InterventionResult",
    "Label",
    "LibasisError",
    "NodeAblation",
    "Plan",
    "Sensitivity",
    "SiteBasis",
    "SiteTable",
    "Traced",
    "Verification",
    "ablate_edges",
    "ablate_nodes",
    "build",
    "causal",
    "check",
    "checkpoints",
    "circuit_tests",
    "collect",
    "communities",
    "diagnose",
    "diff",
    "distributed",
    "edge_effects",
    "explore",
    "faithfulness",
    "find_sites",
    "fit",
    "interactions",
    "intervene",
    "keep",
    "load",
    "merge",
    "local",
    "parts",
    "plan",
    "practice",
    "presets",
    "report",
    "rules",
    "scan",
    "trace",
    "verify",
    "without_outliers",
]
