"""Groups to suggest on a page that was given none."""

from __future__ import annotations

from importlib.util import find_spec

from ..graphs import Communities, InteractionGraph, communities

MOST_EDGES = 300_000
"""Of graphs with more edges the search takes minutes, and is left to the user."""


def suggested_groups(graph: InteractionGraph) -> Communities | None:
    """`communities` of the graph, or None where ``libasis[graph]`` is missing or the graph has too many edges."""
    edges = sum(len(graph.entries(l)[1]) for l in range(len(graph.edges)))
    if find_spec("graspologic_native") is None or edges > MOST_EDGES:
        return None
    return communities(graph)
