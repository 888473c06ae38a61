"""The report's numbers as table rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from .markup import Cell, Group
from .series import MAX_DROP, Series, metric_name, percent, quantity, score, section_name, series_of
from .words import texts

if TYPE_CHECKING:
    from ..ablation.results import Curve, EdgeAblation, NodeAblation
    from ..graphs.graph import InteractionGraph

TOP, MAX_SITES = 10, 40
"""Features per site and sites in the table of features."""


def count(value: int | None, lang: str) -> str:
    """A count, or words where none passes."""
    return texts(lang)["none_passes"] if value is None else f"{value:,}"


def stable_count(result: EdgeAblation, name: str, lang: str) -> str:
    """The stable count; words where not even all edges pass, a dash where it was not searched for."""
    value, all_edges = result.edges_required_stable.get(name), result.curves.get(name, {}).get(result.edges_total[name])
    if value is None and (all_edges is None or passes(result, all_edges, result.max_drop)):
        return "–"
    return count(value, lang)


def passes(result: EdgeAblation | NodeAblation, value: float, drop: float) -> bool:
    """Whether a score is within the allowance of the model's."""
    return (result.base_score - value) * (1 if result.higher_is_better else -1) <= drop + 1e-12


def edge_groups(edge_ablations: Sequence[EdgeAblation], sites: Sequence[str], lang: str) -> list[Group]:
    """Per section one row per method: edges, needed, needed stable with its bar."""
    series = series_of(edge_ablations, lang)
    names = list(dict.fromkeys(name for r in edge_ablations for name in r.edges_required))
    groups = []
    for name in names:
        members = [s for s in series if name in s.result.edges_required]
        longest = max((s.result.edges_required_stable.get(name) or 0 for s in members), default=0)
        longest = longest if len(members) > 1 else 0
        groups.append(Group(section_name(name, sites), [_edge_row(s, name, longest, lang) for s in members]))
    return groups


def _edge_row(series: Series, name: str, longest: int, lang: str) -> list[Cell]:
    result: EdgeAblation = series.result
    stable = result.edges_required_stable.get(name)
    return [
        Cell(series.label),
        Cell(f"{result.edges_total[name]:,}", number=True),
        Cell(count(result.edges_required[name], lang), number=True),
        Cell(
            stable_count(result, name, lang),
            number=True,
            bar=(stable or 0) / longest if longest else None,
            color=series.style["color"],
        ),
    ]


def node_groups(node_ablations: Sequence[NodeAblation], graphs: Sequence[InteractionGraph], lang: str) -> list[Group]:
    """Per site one row per method: features, kept, score with none."""
    series = series_of(node_ablations, lang)
    sizes = {(graph.basis.method, site.name): site.k for graph in graphs for site in graph.basis}
    names = list(dict.fromkeys(name for r in node_ablations for name in r.curves))
    return [Group(name, [_node_row(s, name, sizes, lang) for s in series if name in s.result.curves]) for name in names]


def _node_row(series: Series, name: str, sizes: dict[tuple[str, str], int], lang: str) -> list[Cell]:
    result: NodeAblation = series.result
    curve = result.curves[name]
    total, kept = sizes.get((series.method, name), max(curve, default=0)), kept_features(result, curve)
    return [
        Cell(series.label),
        Cell(f"{total:,}", number=True),
        Cell(count(kept, lang), number=True),
        Cell(score(curve[0], allowance([result])) if 0 in curve else "–", number=True),
    ]


def kept_features(result: NodeAblation, curve: Curve) -> int | None:
    """The smallest count from which every larger count measured stays within the allowance."""
    kept = None
    for number, value in reversed(list(curve.items())):
        if not passes(result, value, allowance([result])):
            break
        kept = number
    return kept


def allowance(node_ablations: Sequence[NodeAblation]) -> float:
    """The worsening allowed, from info where it is stated."""
    value = node_ablations[0].info.get("max_drop") if node_ablations else None
    return float(value) if isinstance(value, int | float) else MAX_DROP


def settings(results: Sequence[Any], lang: str) -> list[str]:
    """What was measured, one line per different setting."""
    lines: dict[tuple[Any, ...], list[str]] = {}
    for s in series_of(results, lang):
        r = s.result
        lines.setdefault((r.metric, r.base_score, getattr(r, "max_drop", None), r.samples), []).append(s.label)
    out = []
    for (metric, base, drop, samples), labels in lines.items():
        key = "settings_nodes" if drop is None else "settings"
        name = metric_name([r for r in results if r.base_score == base], lang)
        blanks = {
            "metric": name,
            "base": score(base, drop or MAX_DROP),
            "drop": f"{drop:g}" if drop is not None else "",
        }
        joined = ("、" if lang == "ja" else ", ").join(labels)
        out.append(texts(lang)[key].format(methods=joined, samples=f"{samples:,}", **blanks))
        if metric == "accuracy" and drop is not None and 0 < drop < 1 / max(1, samples):
            step = f"{1 / max(1, samples):.2g}"
            out.append(texts(lang)["settings_coarse"].format(samples=f"{samples:,}", step=step))
    return out


def feature_groups(graph: InteractionGraph, lang: str) -> list[Group]:
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
                Cell(str(index), number=True),
                Cell(quantity(importance), number=True),
                Cell(percent(share), number=True, bar=share),
                _strongest(into),
                _strongest(out),
            ])  # fmt: skip
        note = texts(lang)["features_count"].format(shown=f"{len(rows):,}", total=f"{site.k:,}")
        groups.append(Group(site.name, rows, note))
    return groups


def _strongest(strengths: torch.Tensor | None) -> Cell:
    if strengths is None or not strengths.numel() or not float(strengths.max()) > 0:
        return Cell("–", number=True)
    index = int(strengths.argmax())
    return Cell(f"{index} ({quantity(float(strengths[index]))})", number=True)
