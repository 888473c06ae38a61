"""The report's numbers as table rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..ablation import EdgeAblation, NodeAblation
from ..graphs import InteractionGraph
from ..intervene import Allowance
from .markup import Cell, Group, number
from .numbers import percent, quantity, score
from .results import Results
from .series import Series, section_name, series_of
from .words import Words

TOP, MAX_SITES = 10, 40
"""Features per site and sites in the table of features."""

UNSTATED = 0.001
"""Digits of a score are shown as if so much were allowed, where nothing is."""


def count(value: int | None, words: Words) -> str:
    """A count, or words where none passes."""
    return words("none_passes") if value is None else f"{value:,}"


def stable_count(result: EdgeAblation, name: str, words: Words) -> str:
    """The stable count; words where not even all edges pass, a dash where it was not searched for."""
    return count(result.edges_required_stable.get(name), words) if stable_searched(result, name) else "–"


def stable_searched(result: EdgeAblation, name: str) -> bool:
    """Whether the stable count of a section was searched for: where it was and there is none, not even all pass."""
    everything = result.curves.get(name, {}).get(result.edges_total[name])
    found = result.edges_required_stable.get(name) is not None
    return found or not (everything is None or allowed(result).passes(result.base_score, everything))


def allowed(result: EdgeAblation | NodeAblation) -> Allowance:
    """The worsening that an ablation allowed."""
    return Allowance(result.max_drop, result.higher_is_better)


def edge_groups(results: Results, words: Words) -> list[Group]:
    """Per section one row per method: edges, needed, needed stable with its bar."""
    series = series_of(results.edge_ablations)
    groups = []
    for name in dict.fromkeys(name for s in series for name in s.result.edges_required):
        members = [s for s in series if name in s.result.edges_required]
        longest = max((s.result.edges_required_stable.get(name) or 0 for s in members), default=0)
        rows = [_edge_row(s, name, longest if len(members) > 1 else 0, words) for s in members]
        groups.append(Group(section_name(name, results.graph.sites), rows))
    return groups


def _edge_row(series: Series, name: str, longest: int, words: Words) -> list[Cell]:
    result: EdgeAblation = series.result
    share = (result.edges_required_stable.get(name) or 0) / longest if longest else None
    return [
        Cell(series.label(words)),
        number(f"{result.edges_total[name]:,}"),
        number(count(result.edges_required[name], words)),
        number(stable_count(result, name, words), bar=share, color=series.style["color"]),
    ]


def node_groups(results: Results, words: Words) -> list[Group]:
    """Per site one row per method: features, kept, score with none."""
    series = series_of(results.node_ablations)
    groups = []
    for name in dict.fromkeys(name for s in series for name in s.result.curves):
        rows = []
        for s in series:
            curve = s.result.curves.get(name)
            if curve is not None:
                cells = (
                    f"{results.graph_of(s.result).basis[name].k:,}",
                    count(s.result.features_required_stable[name], words),
                    score(curve[0], s.result.max_drop) if 0 in curve else "–",
                )
                rows.append([Cell(s.label(words)), *map(number, cells)])
        groups.append(Group(name, rows))
    return groups


def settings(results: Sequence[EdgeAblation] | Sequence[NodeAblation], words: Words) -> list[str]:
    """What was measured, one line per different setting."""
    lines: dict[tuple[str, float, float, int], list[str]] = {}
    for s in series_of(results):
        r = s.result
        lines.setdefault((r.metric, r.base_score, r.max_drop, r.samples), []).append(s.label(words))
    out = []
    for (metric, base, drop, samples), labels in lines.items():
        name = words.named("metric", metric)
        blanks = {"methods": words("comma").join(labels), "metric": name, "samples": samples}
        out.append(words("settings", base=score(base, drop or UNSTATED), drop=f"{drop:g}", **blanks))
        if metric == "accuracy" and 0 < drop < 1 / max(1, samples):
            out.append(words("settings_coarse", samples=samples, step=f"{1 / max(1, samples):.2g}"))
    return out


def feature_groups(graph: InteractionGraph, words: Words) -> list[Group]:
    """The most important features per site, each with its strongest interactions."""
    groups = []
    for column, site in enumerate(graph.basis.sites[:MAX_SITES]):
        best = torch.sort(site.importances, descending=True, stable=True).indices[:TOP].tolist()
        total = float(site.importances.sum())
        rows = []
        for index in best:
            importance = float(site.importances[index])
            share = importance / total if total > 0 else 0.0
            into = graph.edges[column - 1].select(0, index).to_dense() if column > 0 else None
            out = graph.edges[column].select(1, index).to_dense() if column < len(graph.edges) else None
            rows.append([
                number(str(index)),
                number(quantity(importance)),
                number(percent(share), bar=share),
                number(_strongest(into)),
                number(_strongest(out)),
            ])  # fmt: skip
        groups.append(Group(site.name, rows, words("features_count", shown=len(rows), total=site.k)))
    return groups


def _strongest(strengths: torch.Tensor | None) -> str:
    if strengths is None or not strengths.numel() or not float(strengths.max()) > 0:
        return "–"
    index = int(strengths.argmax())
    return f"{index} ({quantity(float(strengths[index]))})"
