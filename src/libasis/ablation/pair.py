"""Both ablations of one graph."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..store import Stored
from ..types import Plain
from .results import EdgeAblation, NodeAblation


@dataclass(frozen=True, eq=False, repr=False)
class Ablations(Stored, kind="ablations"):
    """Both ablations of one graph.

    Attributes:
        nodes: None where it was not asked for.
        edges: None where it was not asked for.
        held_out: whether the data were others than those of the fit.
        info: how they were made; the command line keeps its settings there.
    """

    nodes: NodeAblation | None
    edges: EdgeAblation | None
    held_out: bool
    info: Plain = field(default_factory=dict)

    def rows(self) -> list[Plain]:
        """The rows of both."""
        return [row for part in (self.nodes, self.edges) if part is not None for row in part.rows()]

    def __repr__(self) -> str:
        parts = ", ".join(repr(part) for part in (self.nodes, self.edges) if part is not None)
        return f"Ablations({parts or 'none'})"
