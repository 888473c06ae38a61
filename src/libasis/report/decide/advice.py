"""How sure, what was tested, what to do next: sentences that follow from which results are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..series import metric_name, series_of
from .claims import differs_most
from .facts import Facts, Feature
from .words import Words

if TYPE_CHECKING:
    from ...ablation.results import EdgeAblation, NodeAblation
    from ...graphs.graph import InteractionGraph

MOST = 4
"""Things to do next that are listed."""


def question_of(facts: Facts, edge_ablations: Sequence[EdgeAblation], words: Words) -> str:
    """The question that these results can answer, for a page that was given none."""
    if facts.groups:
        first, second = (words.quote(name) for name in facts.groups.names)
        return words("question_groups", first=first, second=second)
    return words("question_edges" if edge_ablations else "question_plain")


def how_sure(
    facts: Facts, graphs: Sequence[InteractionGraph], ablations: Sequence[Any], communities: Any, words: Words
) -> Iterator[str]:
    """Which claims were tested, on how many scores, and where numbers are estimates."""
    if facts.tested:
        yield words("sure_passed", passed=f"{len(facts.passed):,}", tested=f"{len(facts.tested):,}")
    else:
        yield words("sure_none")
    if ablations:
        counts = list(dict.fromkeys(f"{r.samples:,}" for r in ablations))
        yield words("sure_samples", samples=words("comma").join(counts))
    rules = graphs[0].basis.info.get("rules")
    if isinstance(rules, list) and rules and all(isinstance(r, dict) and "stderr" in r for r in rules):
        sampled = sum(r["stderr"] is not None for r in rules)
        blanks = {"sampled": f"{sampled:,}", "sections": f"{len(rules):,}"}
        yield words("sure_sampled", **blanks) if sampled else words("sure_exact")
    if communities is not None and communities.modular:
        yield words("sure_stability", agreement=f"{communities.agreement:.2f}")
    elif communities is not None:
        yield words("sure_no_groups")


def what_was_tested(
    facts: Facts, edges: Sequence[EdgeAblation], nodes: Sequence[NodeAblation], words: Words
) -> Iterator[str]:
    """Every kind of test with its metric and its counts."""
    if not (facts.tested or edges or nodes):
        yield words("tested_nothing")
    if facts.tested:
        yield _single(facts, words)
    for key, count, results in (("edges", "sections", _alike(edges)), ("nodes", "sites", _alike(nodes))):
        for same in results:
            yield _ablation(key, count, same, words)
    if facts.groups:
        first, second = (words.quote(name) for name in facts.groups.names)
        a, b = (f"{n:,}" for n in facts.groups.samples)
        yield words("tested_groups", first=first, second=second, n_first=a, n_second=b)
        if facts.groups.more:
            yield words("tested_more_groups", more=f"{facts.groups.more:,}")


def _single(facts: Facts, words: Words) -> str:
    measured = [f.ablated for f in facts.tested if f.ablated]
    metrics = list(dict.fromkeys(words.metric(a.metric) for a in measured))
    controls = sorted({a.controls for a in measured})
    return words(
        "tested_cards",
        tested=f"{len(measured):,}",
        cards=f"{facts.total:,}",
        controls=words("comma").join(f"{n:,}" for n in controls),
        metric=words.listed(metrics),
    )


def _alike(results: Sequence[Any]) -> list[list[Any]]:
    """Results with the same metric, samples and allowance, which one sentence can describe."""
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for result in results:
        key = (result.metric, result.samples, getattr(result, "max_drop", None), len(_parts(result)))
        groups.setdefault(key, []).append(result)
    return list(groups.values())


def _parts(result: Any) -> Any:
    return result.edges_required if hasattr(result, "edges_required") else result.curves


def _ablation(key: str, count: str, results: Sequence[Any], words: Words) -> str:
    first = results[0]
    blanks = {count: f"{len(_parts(first)):,}", "samples": f"{first.samples:,}"}
    if key == "edges":
        blanks["drop"] = f"{first.max_drop:g}"
    methods = words("comma").join(s.label for s in series_of(results, words.lang))
    return words(f"tested_{key}", methods=methods, metric=metric_name(results, words.lang), **blanks)


def what_next(facts: Facts, graphs: Sequence[Any], edges: Sequence[EdgeAblation], words: Words) -> list[str]:
    """What would make the claims surer, the most urgent first; at most `MOST`."""
    return list(_next(facts, graphs, edges, words))[:MOST]


def _next(facts: Facts, graphs: Sequence[Any], edges: Sequence[EdgeAblation], words: Words) -> Iterator[str]:
    def about(key: str, features: Sequence[Feature]) -> Iterator[str]:
        if features:
            yield words(key, names=words.listed([words.reference(f) for f in features]))

    shown = facts.features
    most = differs_most(facts)
    if facts.passed:
        yield words("next_confirm")
    yield from about("next_suspect", [most] if most and most.ablated is None else [])
    yield from about("next_reject", [f for f in shown if f.ablated and not f.verified])
    if facts.cards is None:
        yield words("next_cards")
    elif not facts.tested:
        yield words("next_test")
    if graphs[0].edges and not edges:
        yield words("next_ablate")
    if any(f.examples and not f.label for f in shown):
        yield words("next_label")
    if edges and {series.method for series in series_of(edges, words.lang)} == {"lib"}:
        yield words("next_compare")
