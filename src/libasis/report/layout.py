"""What to draw of a graph and where: plain data, with everything that is left out counted.

Sites are columns in the model's order. Of each site at most ``max_features`` features are placed, of each section the
strongest edges between placed features; the nodes of a column are ordered by weighted barycentre sweeps, which keep
the order with the fewest crossings. The units are columns and rows; whoever draws scales them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import OptionError
from ..graphs import InteractionGraph
from .ordering import SWEEPS, order

MAX_FEATURES = 30
MAX_EDGES = 60
STRETCH = 2.0

Link = tuple[int, int, float]
"""Feature of the left column, feature of the right column, weight."""


@dataclass(frozen=True)
class Column:
    """One site: its name, its place and how many of its features are placed."""

    site: str
    x: float
    shown: int
    total: int


@dataclass(frozen=True)
class Node:
    """One feature. ``share`` is its part of its site's importance, ``relative`` its importance over the largest."""

    id: str
    column: int
    index: int
    x: float
    y: float
    importance: float
    share: float
    relative: float
    linked: bool


@dataclass(frozen=True)
class Edge:
    """One edge between features ``source`` and ``target``; ``relative`` is its strength over the section's largest."""

    section: int
    source: int
    target: int
    strength: float
    signed: float
    relative: float


@dataclass(frozen=True)
class DrawnSection:
    """What is drawn of one section.

    Attributes:
        source: name of the input site.
        target: name of the output site.
        shown: edges drawn.
        total: edges that exist, ``k_in * k_out``.
        needed: edges the ablation kept; None where no ablation is given.
        share: the drawn edges' part of the section's summed strength, edges not kept included; 0 where nothing has
            strength.
    """

    source: str
    target: str
    shown: int
    total: int
    needed: int | None
    share: float


@dataclass(frozen=True)
class Arrangement:
    """Positions, the edges kept and the counts of what is not drawn."""

    columns: tuple[Column, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    sections: tuple[DrawnSection, ...]
    crossings: int
    rows: float


def arrange(
    graph: InteractionGraph,
    *,
    masks: Mapping[str, Tensor] | None = None,
    max_features: int | None = MAX_FEATURES,
    max_edges: int | None = None,
    sweeps: int = SWEEPS,
) -> Arrangement:
    """Choose and place the features and edges of a graph.

    Args:
        graph: the graph; it is not changed.
        masks: edges to draw, bool ``[k_out, k_in]`` keyed by the section's input site, as `EdgeAblation.masks`. A
            section with a mask draws exactly its edges (between placed features), and a site whose sections all have
            masks places the features that those edges touch.
        max_features: features per site, the most important first; None places all.
        max_edges: edges per section, the strongest first. None: 60, or every edge of the mask where there is one.
        sweeps: passes over the columns; 0 leaves the features in the order of importance.

    Raises:
        OptionError: a limit is negative, or a mask does not fit the graph.
    """
    for name, value in (("max_features", max_features), ("max_edges", max_edges), ("sweeps", sweeps)):
        if value is not None and value < 0:
            raise OptionError(f"{name} is {value}; it must be zero or more, or None for no limit.")
    found = _masks(graph, masks or {})
    placed = [_features(graph, column, found, max_features) for column in range(len(graph.sites))]
    edges = [_edges(graph, at, (placed[at], placed[at + 1]), found[at], max_edges) for at in range(len(graph.edges))]
    links = [[(e.source, e.target, e.relative**0.5) for e in section] for section in edges]
    orders, crossings = order(placed, links, sweeps=sweeps)
    rows = max((len(column) for column in orders), default=0)
    return Arrangement(
        columns=tuple(Column(s.name, float(c), len(orders[c]), s.k) for c, s in enumerate(graph.basis)),
        nodes=tuple(_nodes(graph, orders, links, rows)),
        edges=tuple(edge for section in edges for edge in section),
        sections=tuple(_section(graph, at, edges[at], found[at]) for at in range(len(graph.edges))),
        crossings=crossings,
        rows=float(rows),
    )


def _masks(graph: InteractionGraph, masks: Mapping[str, Tensor]) -> list[Tensor | None]:
    """The mask of each section, or None; each checked against the graph."""
    unknown = [name for name in masks if name not in graph.sites[:-1]]
    if unknown:
        raise OptionError(f"A mask is given for {unknown[0]!r}; the sections start at {list(graph.sites[:-1])}.")
    found: list[Tensor | None] = []
    for name, strength in zip(graph.sites[:-1], graph.edges, strict=True):
        mask = masks.get(name)
        if mask is not None and tuple(mask.shape) != tuple(strength.shape):
            raise OptionError(
                f"The mask of {name!r} has shape {list(mask.shape)}, the edges have {list(strength.shape)}: "
                "they come from different graphs."
            )
        found.append(None if mask is None else mask.bool().cpu())
    return found


def _features(graph: InteractionGraph, column: int, masks: list[Tensor | None], limit: int | None) -> list[int]:
    """The features of a column to place, most important first; ties by index."""
    importances = graph.basis.sites[column].importances
    by_importance = torch.sort(importances, descending=True, stable=True).indices.tolist()
    into = masks[column - 1] if column > 0 else None
    out = masks[column] if column < len(masks) else None
    touched = torch.zeros(len(importances), dtype=torch.bool)
    if into is not None:
        touched[into.to_sparse().coalesce().indices()[0]] = True
    if out is not None:
        touched[out.to_sparse().coalesce().indices()[1]] = True
    neighbours = (column > 0) + (column < len(masks))
    decided = (into is not None) + (out is not None) == neighbours and bool(touched.any())
    needed = [i for i in by_importance if touched[i]]
    others = [] if decided else [i for i in by_importance if not touched[i]]
    return (needed + others)[:limit]


def _edges(
    graph: InteractionGraph, at: int, placed: tuple[list[int], list[int]], mask: Tensor | None, limit: int | None
) -> list[Edge]:
    """The edges of a section to draw, strongest first; ties by index."""
    columns, rows = torch.tensor(placed[0], dtype=torch.long), torch.tensor(placed[1], dtype=torch.long)
    inside, signed = _inside(graph.edges[at], rows, columns), _inside(graph.signed[at], rows, columns)
    allowed = inside > 0 if mask is None else _inside(mask, rows, columns)
    limit = MAX_EDGES if limit is None and mask is None else limit
    values = torch.where(allowed, inside, torch.full_like(inside, -1.0)).flatten()
    ranked = torch.sort(values, descending=True, stable=True).indices[: int(allowed.sum())][:limit]
    strengths = graph.entries(at)[1]
    top = float(strengths.max()) if len(strengths) else 0.0
    kept = []
    for flat in ranked.tolist():
        row, column = divmod(flat, len(placed[0]))
        value, mean = float(inside[row, column]), float(signed[row, column])
        kept.append(Edge(at, placed[0][column], placed[1][row], value, mean, value / top if top > 0 else 0.0))
    return kept


def _inside(matrix: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Some rows and columns of a matrix that may be sparse; the result is dense and small."""
    return matrix.index_select(0, rows).index_select(1, columns).to_dense().cpu()


def _section(graph: InteractionGraph, at: int, edges: list[Edge], mask: Tensor | None) -> DrawnSection:
    total = graph.strength(at)
    return DrawnSection(
        source=graph.sites[at],
        target=graph.sites[at + 1],
        shown=len(edges),
        total=graph.edges[at].numel(),
        needed=None if mask is None else int(mask.sum()),
        share=min(1.0, sum(e.strength for e in edges) / total) if total > 0 else 0.0,
    )


def _nodes(graph: InteractionGraph, orders: list[list[int]], links: list[list[Link]], rows: int) -> list[Node]:
    nodes = []
    for column, members in enumerate(orders):
        site = graph.basis.sites[column]
        linked = {j for _, j, _ in links[column - 1]} if column > 0 else set()
        linked |= {i for i, _, _ in links[column]} if column < len(links) else set()
        total, top = float(site.importances.sum()), float(site.importances.max()) if site.k else 0.0
        step = min(STRETCH, rows / len(members)) if members else 1.0
        for place, index in enumerate(members):
            value = float(site.importances[index])
            nodes.append(
                Node(
                    id=f"{site.name}:{index}",
                    column=column,
                    index=index,
                    x=float(column),
                    y=rows / 2 + (place - (len(members) - 1) / 2) * step,
                    importance=value,
                    share=value / total if total > 0 else 0.0,
                    relative=max(0.0, value / top) if top > 0 else 0.0,
                    linked=index in linked,
                )
            )
    return nodes
