"""libasis: the Local Interaction Basis of any torch model.

`trace` cuts a model at sites, `fit` finds the basis at each site, `interactions` the graph of what acts on what (or
`build` for the three in one), `ablate_nodes` and `ablate_edges` test how much of it is needed, `collect` what a
person needs to understand single features.
"""

from .ablation import Curve, EdgeAblation, NodeAblation, ablate_edges, ablate_nodes
from .basis import Basis, SiteBasis
from .build import build, fit
from .cards import FeatureCards, collect
from .cut import Chain, SiteTable, Traced, find_sites, trace
from .errors import LibasisError
from .evaluate import GraphDiff, diff
from .graphs import Communities, InteractionGraph, Label, communities
from .interactions import interactions
from .measure import keep
from .provenance import versions
from .store import load

__version__ = versions()["libasis"]

__all__ = [
    "Basis",
    "Chain",
    "Communities",
    "Curve",
    "EdgeAblation",
    "FeatureCards",
    "GraphDiff",
    "InteractionGraph",
    "Label",
    "LibasisError",
    "NodeAblation",
    "SiteBasis",
    "SiteTable",
    "Traced",
    "ablate_edges",
    "ablate_nodes",
    "build",
    "collect",
    "communities",
    "diff",
    "find_sites",
    "fit",
    "interactions",
    "keep",
    "load",
    "trace",
]
