"""libasis: the Local Interaction Basis of any torch model.

`trace` cuts a model at sites, `fit` finds the basis at each site, `interactions` the graph of what acts on what (or
`build` for the three in one), `ablate_nodes` and `ablate_edges` test how much of it is needed, `collect` what a
person needs to understand single features.
"""

from . import report  # shows graphs: it registers the pages of results
from .ablation import Curve, EdgeAblation, NodeAblation, ablate_edges, ablate_nodes
from .basis import Basis, SiteBasis
from .build import build, fit
from .cards import FeatureCards, collect
from .cut import Chain, SiteTable, Traced, presets, trace
from .errors import LibasisError
from .evaluate import Comparison, GraphDiff, Sensitivity, diff
from .graphs import Communities, InteractionGraph, Label, communities
from .importance import rules
from .interactions import interactions
from .intervene import Intervention, InterventionResult, intervene
from .measure import checkpoints, distributed, keep
from .numerics import Estimate
from .provenance import versions
from .scan import find_sites, scan
from .store import load

__version__ = versions()["libasis"]

__all__ = [
    "Basis",
    "Chain",
    "Communities",
    "Comparison",
    "Curve",
    "EdgeAblation",
    "Estimate",
    "FeatureCards",
    "GraphDiff",
    "InteractionGraph",
    "Intervention",
    "InterventionResult",
    "Label",
    "LibasisError",
    "NodeAblation",
    "Sensitivity",
    "SiteBasis",
    "SiteTable",
    "Traced",
    "ablate_edges",
    "ablate_nodes",
    "build",
    "checkpoints",
    "collect",
    "communities",
    "diff",
    "distributed",
    "find_sites",
    "fit",
    "interactions",
    "intervene",
    "keep",
    "load",
    "presets",
    "report",
    "rules",
    "scan",
    "trace",
]
