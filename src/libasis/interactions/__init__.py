"""Interactions: edges between features, the graph as plain data, and its storage."""

from .build import build
from .communities import Communities, communities
from .diff import GraphDiff, diff
from .edges import check_same_sites, interactions
from .graph import InteractionGraph
from .labels import Label
from .store import load
from .strongest import sparse

__all__ = [
    "Communities",
    "GraphDiff",
    "InteractionGraph",
    "Label",
    "build",
    "check_same_sites",
    "communities",
    "diff",
    "interactions",
    "load",
    "sparse",
]
