"""The finding: one or two sentences that the numbers themselves write."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .series import method_of, metric_name, percent, score, section_name, series_of
from .tables import count, stable_count
from .words import texts

if TYPE_CHECKING:
    from ..ablation.results import EdgeAblation
    from ..graphs.graph import InteractionGraph


def finding(graphs: Sequence[InteractionGraph], edge_ablations: Sequence[EdgeAblation], lang: str) -> list[str]:
    """Sentences built from the numbers: LIB against PCA where both were ablated alike, else what was found."""
    by_method = {method_of(result): result for result in reversed(edge_ablations)}
    lib, pca = by_method.get("lib"), by_method.get("pca")
    if lib and pca and _alike(lib) == _alike(pca) and _has_stable(lib) and _has_stable(pca):
        return _comparison(lib, pca, graphs[0].sites, lang)
    words = texts(lang)
    alone = next((r for r in edge_ablations if any(v is not None for v in r.edges_required_stable.values())), None)
    if alone is not None:
        return [_alone(alone, graphs[0].sites, lang), words["find_no_comparison"]]
    return [
        _description(graphs[0], lang),
        *([words["find_no_claim"]] if graphs[0].edges and not edge_ablations else []),
    ]


def _alike(result: EdgeAblation) -> tuple[Any, ...]:
    return (result.metric, result.max_drop, result.higher_is_better, result.samples)


def _has_stable(result: EdgeAblation) -> bool:
    """Whether the stable counts were searched for at all."""
    return any(stable_count(result, name, "en") != "–" for name in result.edges_required)


def _comparison(lib: EdgeAblation, pca: EdgeAblation, sites: Sequence[str], lang: str) -> list[str]:
    words = texts(lang)
    stable = {
        name: (a, b)
        for name, a in lib.edges_required_stable.items()
        if a is not None and (b := pca.edges_required_stable.get(name)) is not None
    }
    facts = _allowed(lib, lang)
    if not stable:
        return [words["find_nothing_passes"].format(**facts)]
    most = max(stable, key=lambda name: abs(math.log((stable[name][0] + 0.5) / (stable[name][1] + 0.5))))
    where = words["find_where_most" if len(stable) > 1 else "find_where"].format(section=section_name(most, sites))
    counts = {"lib": stable[most][0], "lib_total": lib.edges_total[most]}
    counts |= {"pca": stable[most][1], "pca_total": pca.edges_total[most]}
    sentence = words["find_pair"].format(where=where, **facts, **{k: f"{v:,}" for k, v in counts.items()})
    ends = {"lib": count(lib.edges_required.get(most), lang), "pca": count(pca.edges_required.get(most), lang)}
    fewer = sum(a < b for a, b in stable.values())
    overall = words["find_all"].format(fewer=f"{fewer:,}", sections=f"{len(stable):,}")
    space = "" if lang == "ja" else " "
    return [sentence, words["find_stable"].format(**ends) + space + overall]


def _allowed(result: EdgeAblation, lang: str) -> dict[str, str]:
    drop = result.max_drop
    return {"metric": metric_name([result], lang), "drop": f"{drop:g}", "base": score(result.base_score, drop)}


def _alone(result: EdgeAblation, sites: Sequence[str], lang: str) -> str:
    """What one method's ablation says without another's."""
    words, method = texts(lang), series_of([result], lang)[0].label
    stable = {name: v for name, v in result.edges_required_stable.items() if v is not None}
    if len(stable) == len(result.edges_required) > 1:
        share = max(v / max(1, result.edges_total[name]) for name, v in stable.items())
        blanks = {"sections": f"{len(stable):,}", "share": percent(share)}
        return words["find_one"].format(method=method, **blanks, **_allowed(result, lang))
    name = min(stable, key=lambda key: stable[key] / max(1, result.edges_total[key]))
    blanks = {
        "section": section_name(name, sites),
        "stable": f"{stable[name]:,}",
        "total": f"{result.edges_total[name]:,}",
    }
    return words["find_one_section"].format(method=method, **blanks, **_allowed(result, lang))


def _description(graph: InteractionGraph, lang: str) -> str:
    words = texts(lang)
    method = series_of([graph], lang)[0].label
    features = f"{sum(s.k for s in graph.basis):,}"
    if not graph.edges:
        return words["find_plain_one"].format(method=method, features=features)
    edges = f"{sum(e.numel() for e in graph.edges):,}"
    blanks = {"method": method, "sites": f"{len(graph.sites):,}", "features": features, "edges": edges}
    if graph.info.get("top_k"):
        return words["find_plain_kept"].format(**blanks)
    total = sum(float(e.sum()) for e in graph.edges)
    top = sum(float(e.flatten().topk(math.ceil(e.numel() / 100)).values.sum()) for e in graph.edges if e.numel())
    return words["find_plain"].format(**blanks, share=percent(min(1.0, top / total) if total > 0 else 0.0))


def kept_edges(graphs: Sequence[InteractionGraph], lang: str) -> list[str]:
    """One sentence for each graph that was measured with ``top_k``: what it keeps, and what the page cannot show."""
    out = []
    for s in series_of(graphs, lang):
        if kept := s.result.info.get("top_k"):
            share = percent(min(kept["kept_share"], default=1.0))
            out.append(texts(lang)["find_kept"].format(method=s.label, k=f"{kept['k']:,}", share=share))
    return out
