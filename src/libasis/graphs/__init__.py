"""The interaction graph as data: labels, storage, exports, communities."""

from .communities import Communities, communities
from .graph import InteractionGraph, basis_of, graph_of_edges
from .labels import Label
from .matrices import sparse
from .merged import merge

__all__ = ["Communities", "InteractionGraph", "Label", "basis_of", "communities", "graph_of_edges", "merge", "sparse"]
