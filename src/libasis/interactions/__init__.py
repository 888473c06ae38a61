"""Interactions: edges between features, the graph as plain data, and its storage."""

from .build import build
from .edges import check_same_sites, interactions
from .graph import InteractionGraph
from .labels import Label
from .store import load
from .strongest import sparse

__all__ = ["InteractionGraph", "Label", "build", "check_same_sites", "interactions", "load", "sparse"]
