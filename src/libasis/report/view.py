"""What the page's script reads of a graph: plain data, numbers in arrays, with everything that is left out counted.

Features are numbered site by site, in the order of their index; an edge names its two features by these numbers. The
edges of a section run from the strongest to the weakest, as the ablation ranks them, so that "the m strongest" are the
first ones. Coordinates come from barycentre sweeps in which the needed edges weigh most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..ablation import EdgeAblation
from ..graphs import InteractionGraph
from .ordering import Links, untangle
from .series import method_of

MAX_EDGES, MAX_FEATURES = 20_000, 3_000
"""Edges and features of one graph that the page holds."""

FIRST_LOOK = 300
"""Edges drawn at first where no ablation says how many are needed."""

BACKGROUND = 1e-3
"""Weight in the ordering of edges that are not drawn at first, relative to those that are."""

Array = np.ndarray[Any, Any]


def graph_view(
    graph: InteractionGraph,
    edge_ablation: EdgeAblation | None = None,
    *,
    max_edges: int = MAX_EDGES,
    max_features: int = MAX_FEATURES,
) -> dict[str, Any]:
    """The view of one graph.

    Args:
        graph: it is not changed.
        edge_ablation: of this graph; its counts become marks on the sliders.
        max_edges: edges held, shared out among the sections, the strongest of each.
        max_features: features held, shared out among the sites, the most important of each.

    Returns:
        JSON-ready: ``method``, ``sites``, ``nodes`` (``index``, ``importance``, ``place``), ``edges`` (``source``,
        ``target``, ``strength``, ``signed``), ``sections`` and ``ablation`` (None without one).
    """
    sizes = [site.k for site in graph.basis]
    held = [_features(graph, c, limit) for c, limit in enumerate(share_out(max_features, sizes))]
    candidates = [_candidates(graph, at, held[at], held[at + 1]) for at in range(len(graph.edges))]
    limits = share_out(max_edges, [len(c["rank"]) for c in candidates])
    edges = [{key: values[:limit] for key, values in c.items()} for c, limit in zip(candidates, limits, strict=True)]
    starts = np.cumsum([0, *(len(h) for h in held)])
    sections = [_section(graph, at, edges[at], edge_ablation) for at in range(len(edges))]
    return {
        "method": method_of(graph),
        "sites": [
            {
                "name": s.name,
                "k": s.k,
                "d": s.d,
                "held": len(held[c]),
                "importance": _number(float(s.importances.sum())),
                "ties": [[tie.first, tie.last, tie.why] for tie in s.ties],
            }
            for c, s in enumerate(graph.basis)
        ],
        "nodes": {
            "index": [int(i) for h in held for i in h],
            "importance": [_number(float(s.importances[i])) for s, h in zip(graph.basis, held, strict=True) for i in h],
            "place": [int(p) for places in _places(held, edges, sections) for p in places],
        },
        "edges": {
            "source": [int(starts[at] + i) for at, e in enumerate(edges) for i in e["source"]],
            "target": [int(starts[at + 1] + j) for at, e in enumerate(edges) for j in e["target"]],
            "strength": [_number(v) for e in edges for v in e["strength"].tolist()],
            "signed": [_number(v) for e in edges for v in e["signed"].tolist()],
            **({"stderr": [_number(v) for e in edges for v in e["stderr"].tolist()]} if graph.stderr else {}),
        },
        "sections": sections,
        "ablation": None if edge_ablation is None else _ablation(edge_ablation),
    }


def share_out(budget: int, demands: Sequence[int]) -> list[int]:
    """Share a budget out evenly; what a small demand leaves over goes to the larger ones."""
    allotted = [0] * len(demands)
    left, order = max(0, budget), sorted(range(len(demands)), key=lambda k: demands[k])
    for done, k in enumerate(order):
        allotted[k] = min(demands[k], left // (len(order) - done))
        left -= allotted[k]
    return allotted


def _number(value: float) -> float:
    """Five digits that count are more than a picture shows and keep the page small."""
    return float(f"{value:.5g}")


def _features(graph: InteractionGraph, column: int, limit: int) -> Array:
    """The features of a site that are held, by index."""
    values = graph.basis.sites[column].importances
    return torch.sort(values, descending=True, stable=True).indices[:limit].sort().values.numpy()


def _candidates(graph: InteractionGraph, at: int, left: Array, right: Array) -> dict[str, Array]:
    """The edges between held features, strongest first, ties by index, with their rank in the whole section."""
    places, strengths, means = graph.entries(at)
    ranked = torch.argsort(strengths, descending=True, stable=True)
    strength, signed = strengths[ranked].cpu().numpy(), means[ranked].cpu().numpy()
    j, i = (places[row][ranked].cpu().numpy() for row in (0, 1))
    source, target = _position(i, left, graph.basis.sites[at].k), _position(j, right, graph.basis.sites[at + 1].k)
    inside = (source >= 0) & (target >= 0)
    errors = graph.errors(at, places[:, ranked])
    stderr = np.zeros_like(strength) if errors is None else errors.cpu().numpy()
    found = {"source": source, "target": target, "strength": strength, "signed": signed, "stderr": stderr}
    return {**{key: values[inside] for key, values in found.items()}, "rank": np.flatnonzero(inside)}


def _position(indices: Array, held: Array, k: int) -> Array:
    """The position of each index among the held ones, -1 where it is not held."""
    table = np.full(k, -1)
    table[held] = np.arange(len(held))
    return table[indices]


def _section(
    graph: InteractionGraph, at: int, edges: dict[str, Array], edge_ablation: EdgeAblation | None
) -> dict[str, Any]:
    """The counts of a section. ``needed`` has for each count of the ablation: edges, held ones, weakest strength."""
    strengths = graph.entries(at)[1].sort(descending=True).values
    total = graph.strength(at)
    needed: dict[str, Any] = {"required": None, "stable": None}
    if edge_ablation is not None:
        counts = {"required": edge_ablation.edges_required, "stable": edge_ablation.edges_required_stable}
        for key, counted in counts.items():
            count = counted.get(graph.sites[at])
            if count is not None:
                weakest = float(strengths[min(count, len(strengths)) - 1]) if count and len(strengths) else None
                needed[key] = {
                    "count": count,
                    "held": int(np.searchsorted(edges["rank"], count, side="left")),
                    "weakest": None if weakest is None else _number(weakest),
                }
    return {
        "total": graph.edges[at].numel(),
        "nonzero": len(strengths),
        "held": len(edges["rank"]),
        "top": _number(float(strengths[0])) if len(strengths) else 0.0,
        "strength": _number(total),
        "held_share": min(1.0, float(edges["strength"].sum()) / total) if total > 0 else 0.0,
        "needed": needed,
    }


def _places(held: list[Array], edges: list[dict[str, Array]], sections: list[dict[str, Any]]) -> list[Array]:
    """Barycentre sweeps over the held edges; those drawn at first decide, the others place what is left."""
    links = []
    for found, section in zip(edges, sections, strict=True):
        needed = section["needed"]["stable"] or section["needed"]["required"]
        first = needed["held"] if needed else FIRST_LOOK // max(1, len(edges))
        strength = found["strength"]
        weight = np.sqrt(strength / strength[0]) if len(strength) else strength
        weight = np.where(np.arange(len(weight)) < first, weight, BACKGROUND * weight)
        links.append((found, first, Links(found["source"], found["target"], weight)))
    sizes = [len(h) for h in held]
    drawn = [Links(f["source"][:n], f["target"][:n], w.weight[:n]) for f, n, w in links]
    places, _ = untangle(sizes, [w for *_, w in links], judged=drawn)
    return places


def _ablation(result: EdgeAblation) -> dict[str, Any]:
    return {
        "metric": result.metric,
        "max_drop": result.max_drop,
        "base": result.base_score,
        "samples": result.samples,
        "higher_is_better": result.higher_is_better,
    }
