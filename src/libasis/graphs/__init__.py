"""The interaction graph as data: labels, storage, exports, communities."""

from .communities import Communities, communities
from .graph import InteractionGraph
from .labels import Label
from .matrices import sparse
from .merged import merge

__all__ = ["Communities", "InteractionGraph", "Label", "communities", "merge", "sparse"]
