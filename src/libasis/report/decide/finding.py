"""What the edge ablations say of the interactions: one or two sentences that the numbers themselves write."""

from __future__ import annotations

import math
from typing import Any

from ...ablation import EdgeAblation
from ...graphs import InteractionGraph
from ..numbers import percent, score
from ..results import Results
from ..series import method_of, section_name, series_of
from ..tables import count, stable_searched
from ..words import Words


def finding(results: Results, words: Words) -> list[str]:
    """Sentences built from the numbers: LIB against PCA where both were ablated alike, else what was found."""
    ablations, graph = results.edge_ablations, results.graph
    by_method = {method_of(result): result for result in reversed(ablations)}
    lib, pca = by_method.get("lib"), by_method.get("pca")
    if lib and pca and _alike(lib) == _alike(pca) and _has_stable(lib) and _has_stable(pca):
        return _comparison(lib, pca, results, words)
    alone = next((r for r in ablations if any(v is not None for v in r.edges_required_stable.values())), None)
    if alone is not None:
        return [_alone(alone, results, words), words("find_no_comparison")]
    return [_description(graph, words), *([words("find_no_claim")] if graph.edges and not ablations else [])]


def _alike(result: EdgeAblation) -> tuple[Any, ...]:
    return (result.metric, result.max_drop, result.higher_is_better, result.samples)


def _has_stable(result: EdgeAblation) -> bool:
    """Whether the stable counts were searched for at all."""
    return any(stable_searched(result, name) for name in result.edges_required)


def _comparison(lib: EdgeAblation, pca: EdgeAblation, results: Results, words: Words) -> list[str]:
    stable = {
        name: (a, b)
        for name, a in lib.edges_required_stable.items()
        if a is not None and (b := pca.edges_required_stable.get(name)) is not None
    }
    allowed = _allowed(lib, words)
    if not stable:
        return [words("find_nothing_passes", **allowed)]
    most = max(stable, key=lambda name: abs(math.log((stable[name][0] + 0.5) / (stable[name][1] + 0.5))))
    section = section_name(most, results.graph.sites)
    counts = {"lib": stable[most][0], "lib_total": lib.edges_total[most]}
    counts |= {"pca": stable[most][1], "pca_total": pca.edges_total[most]}
    where = words("find_where_most" if len(stable) > 1 else "find_where", section=section)
    ends = {"lib": count(lib.edges_required.get(most), words), "pca": count(pca.edges_required.get(most), words)}
    fewer = sum(a < b for a, b in stable.values())
    return [
        words("find_pair", where=where, **allowed, **counts),
        words.joined([words("find_stable", **ends), words("find_all", fewer=fewer, sections=len(stable))]),
    ]


def _allowed(result: EdgeAblation, words: Words) -> dict[str, str]:
    drop = result.max_drop
    return {"metric": words.named("metric", result.metric), "drop": f"{drop:g}", "base": score(result.base_score, drop)}


def _alone(result: EdgeAblation, results: Results, words: Words) -> str:
    """What one method's ablation says without another's."""
    blanks = {"method": series_of([result])[0].label(words), **_allowed(result, words)}
    stable = {name: v for name, v in result.edges_required_stable.items() if v is not None}
    shares = {name: v / max(1, result.edges_total[name]) for name, v in stable.items()}
    if len(stable) == len(result.edges_required) > 1:
        return words("find_one", sections=len(stable), share=percent(max(shares.values())), **blanks)
    name = min(shares, key=lambda key: shares[key])
    section = section_name(name, results.graph.sites)
    return words("find_one_section", section=section, stable=stable[name], total=result.edges_total[name], **blanks)


def _description(graph: InteractionGraph, words: Words) -> str:
    blanks = {"method": series_of([graph])[0].label(words), "features": sum(site.k for site in graph.basis)}
    if not graph.edges:
        return words("find_plain_one", **blanks)
    blanks |= {"sites": len(graph.sites), "edges": sum(e.numel() for e in graph.edges)}
    if graph.info.get("top_k"):
        return words("find_plain_kept", **blanks)
    total = sum(float(e.sum()) for e in graph.edges)
    top = sum(float(e.flatten().topk(math.ceil(e.numel() / 100)).values.sum()) for e in graph.edges if e.numel())
    return words("find_plain", share=percent(min(1.0, top / total) if total > 0 else 0.0), **blanks)
