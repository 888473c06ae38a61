"""How sure, what was tested, what to do next: sentences that follow from which results are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...ablation import EdgeAblation, NodeAblation
from ..results import Results
from ..series import method_of, series_of
from ..words import Words
from .claims import differs_most
from .facts import Feature, KnownFacts

MOST = 4
"""Things to do next that are listed."""


def question_of(facts: KnownFacts, results: Results, words: Words) -> str:
    """The question that these results can answer, for a page that was given none."""
    if facts.groups:
        first, second = map(words.quote, facts.groups.names)
        return words("question_groups", first=first, second=second)
    return words("question_edges" if results.edge_ablations else "question_plain")


def how_sure(facts: KnownFacts, results: Results, words: Words) -> Iterator[str]:
    """Which claims were tested, on how many scores, and where numbers are estimates."""
    if facts.tested:
        yield words("sure_passed", passed=len(facts.passed), tested=len(facts.tested))
    else:
        yield words("sure_none")
    for why in dict.fromkeys(f.untested for f in facts.features if f.untested):
        names = words.listed([f.reference(words) for f in facts.features if f.untested == why])
        yield words(f"untested_{why}", names=names)
    counts = dict.fromkeys(f"{r.samples:,}" for r in [*results.edge_ablations, *results.node_ablations])
    if counts:
        yield words("sure_samples", samples=words("comma").join(counts))
    rows = (results.cards.info.get("rows") or {}) if results.cards else {}
    if (how := rows.get("independent")) in ("blocks", "units"):
        yield words(f"sure_{how}", **{key: rows[key] for key in ("block", "units") if key in rows})
    rules = results.graph.basis.info.get("rules")
    if isinstance(rules, list) and rules and all(isinstance(r, dict) and "stderr" in r for r in rules):
        sampled = sum(r["stderr"] is not None for r in rules)
        yield words("sure_sampled", sampled=sampled, sections=len(rules)) if sampled else words("sure_exact")
    if tied := [f.reference(words) for f in facts.features if f.tied]:
        yield words("sure_tied", names=words.listed(tied))
    groups = results.communities
    if groups is not None:
        agreement = f"{groups.agreement:.2f}"
        yield words("sure_stability", agreement=agreement) if groups.modular else words("sure_no_groups")


def what_was_tested(facts: KnownFacts, results: Results, words: Words) -> Iterator[str]:
    """Every kind of test with its metric and its counts."""
    edges, nodes, groups = results.edge_ablations, results.node_ablations, facts.groups
    if not (facts.tested or edges or nodes):
        yield words("tested_nothing")
    if facts.tested:
        yield _single(facts, words)
    yield from _ablations("tested_edges", edges, words)
    yield from _ablations("tested_nodes", nodes, words)
    if groups:
        (first, second), (a, b) = map(words.quote, groups.names), groups.samples
        yield words("tested_groups", first=first, second=second, n_first=a, n_second=b)
        if groups.more:
            yield words("tested_more_groups", more=groups.more)


def _single(facts: KnownFacts, words: Words) -> str:
    measured = [f.ablated for f in facts.tested if f.ablated]
    metrics = dict.fromkeys(words.named("metric", a.metric) for a in measured)
    controls = sorted({a.controls for a in measured})
    return words(
        "tested_cards",
        tested=len(measured),
        cards=facts.total,
        controls=words("comma").join(f"{n:,}" for n in controls),
        metric=words.listed(list(metrics)),
    )


def _ablations(key: str, results: Sequence[EdgeAblation] | Sequence[NodeAblation], words: Words) -> Iterator[str]:
    """One sentence for all results with the same metric, samples, allowance and number of places."""
    alike: dict[tuple[str, int, str, int], list[EdgeAblation | NodeAblation]] = {}
    for result in results:
        edges = isinstance(result, EdgeAblation)
        places, drop = (result.edges_required, f"{result.max_drop:g}") if edges else (result.curves, "")
        alike.setdefault((result.metric, result.samples, drop, len(places)), []).append(result)
    for (metric, samples, drop, places), same in alike.items():
        methods = words("comma").join(s.label(words) for s in series_of(same))
        blanks = {"samples": samples, "drop": drop, "sections": places, "sites": places}
        yield words(key, methods=methods, metric=words.named("metric", metric), **blanks)


def what_next(facts: KnownFacts, results: Results, words: Words) -> list[str]:
    """What would make the claims surer, the most urgent first; at most `MOST`."""
    return list(_next(facts, results, words))[:MOST]


def _next(facts: KnownFacts, results: Results, words: Words) -> Iterator[str]:
    def about(key: str, features: Sequence[Feature]) -> Iterator[str]:
        if features:
            yield words(key, names=words.listed([f.reference(words) for f in features]))

    shown, edges = facts.features, results.edge_ablations
    most = differs_most(facts)
    if facts.passed:
        yield words("next_confirm")
    yield from about("next_suspect", [most] if most and most.ablated is None and most.untested is None else [])
    yield from about("next_reject", [f for f in shown if f.ablated and not f.verified])
    if facts.cards is None:
        yield words("next_cards")
    elif not facts.tested and not any(f.untested for f in shown):
        yield words("next_test")
    if results.graph.edges and not edges:
        yield words("next_ablate")
    if any(f.examples and not f.label for f in shown):
        yield words("next_label")
    if edges and {method_of(result) for result in edges} == {"lib"}:
        yield words("next_compare")
