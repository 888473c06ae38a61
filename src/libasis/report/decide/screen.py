"""The first screen as one fragment of HTML: no script, no inline style, all text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..markup import escape
from ..series import percent
from . import advice, svg
from .claims import Claim, feature_claims, findings
from .examples import EXAMPLES, example
from .facts import OUTPUTS, PER_SITE, Facts, Feature, facts_of, plain
from .modules import LEAST, Modules, modules_of
from .numbers import fixed
from .words import Words

if TYPE_CHECKING:
    from ...ablation.results import EdgeAblation, NodeAblation
    from ...graphs.graph import InteractionGraph

LIMITS = (
    "limit_cause", "limit_one", "limit_sections", "limit_meaning", "limit_rotation", "limit_superposition",
    "limit_language",
)  # fmt: skip


def first_screen(
    graphs: Sequence[InteractionGraph],
    *,
    edge_ablations: Sequence[EdgeAblation] = (),
    node_ablations: Sequence[NodeAblation] = (),
    cards: Any = None,
    communities: Any = None,
    question: str | None = None,
    lang: str = "en",
) -> str:
    """What a person who decides needs to know, as an escaped fragment of HTML in one language.

    The question, what was found and how surely, what was tested, what to do next, the most important features with
    examples, the path through the modules, two groups side by side, and the limits. A claim about a feature is marked
    "verified by intervention" only where it alone was taken out and did more than its controls; every other claim is
    marked "association only". Where a result is missing nothing is said of it.

    Args:
        graphs: one graph per method; the first one is described, and the cards belong to it.
        edge_ablations: at most one per method.
        node_ablations: at most one per method.
        cards: feature cards, or the same as plain data.
        communities: modules suggested for the first graph.
        question: the question that the report answers; None takes the one that these results can answer.
        lang: ``"en"`` or ``"ja"``.

    Raises:
        OptionError: the language is not one of ours.
    """
    words, graph = Words(lang), graphs[0]
    facts = facts_of(graph, cards)
    results = [*edge_ablations, *node_ablations]
    asked = question or advice.question_of(facts, edge_ablations, words)
    columns = (
        ("sure", advice.how_sure(facts, graphs, results, communities, words)),
        ("tested", advice.what_was_tested(facts, edge_ablations, node_ablations, words)),
        ("next", advice.what_next(facts, graphs, edge_ablations, words)),
    )
    parts = [
        f'<p class="d-question"><b>{escape(words("question"))}</b> {escape(asked)}</p>',
        _finding(findings(facts, graphs, edge_ablations, words), words),
        f'<div class="d-columns">{"".join(_list(key, lines, words) for key, lines in columns)}</div>',
        _features(facts, cards, words),
        f'<div class="d-pictures">{"".join(_pictures(graph, facts, communities, words))}</div>',
        _limits(words),
    ]
    return f'<section class="decide" lang="{lang}" aria-label="{escape(words("screen"))}">{"".join(parts)}</section>'


def _finding(claims: Sequence[Claim], words: Words) -> str:
    first, *more = claims
    rest = "".join(f"<li>{_marked(claim, words)}</li>" for claim in more)
    marks = {"verified": words("mark_verified"), "association": words("mark_association")}
    return (
        f'<div class="d-finding"><h2>{escape(words("finding"))}</h2><p class="d-claim">{_marked(first, words)}</p>'
        f"{f'<ul>{rest}</ul>' if rest else ''}"
        f'<p class="d-note">{escape(words.joined([words("words_note"), words("marks_note", **marks)]))}</p></div>'
    )


def _marked(claim: Claim, words: Words) -> str:
    """A sentence with its mark and interval; the mark differs in its words and its border, not in colour alone."""
    kind = "verified" if claim.verified else "association"
    mark = f'<span class="d-mark d-{kind}">{escape(words(f"mark_{kind}"))}</span>'
    interval = f'<span class="d-interval">{escape(claim.interval or words("interval_none"))}</span>'
    return f'{escape(claim.text)} <span class="d-basis">{mark} {interval}</span>'


def _list(key: str, lines: Iterable[str], words: Words) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<div class="d-{key}"><h3>{escape(words(key))}</h3><ul>{items}</ul></div>'


def _features(facts: Facts, cards: Any, words: Words) -> str:
    content = "".join(_feature(f, facts, cards, words) for f in facts.features)
    return (
        f'<div class="d-features"><h3>{escape(words("features"))}</h3>'
        f'<p class="d-note">{escape(_rule(facts, words))}</p><ol>{content}</ol></div>'
    )


def _rule(facts: Facts, words: Words) -> str:
    """How the features shown were chosen."""
    count = words("features_count", shown=f"{len(facts.features):,}", total=f"{facts.total:,}")
    by = "groups" if facts.groups else "share"
    if facts.passed:
        return words.joined([words("features_rule_verified"), words(f"features_rule_{by}"), count])
    rule = words(f"features_rule_only_{by}", **({} if facts.groups else {"per": PER_SITE}))
    return words.joined([rule, count])


def _feature(feature: Feature, facts: Facts, cards: Any, words: Words) -> str:
    lines = "".join(f"<li>{_marked(c, words)}</li>" for c in feature_claims(feature, facts.groups, words))
    shown = "".join(example(entry, words) for entry in feature.examples[:EXAMPLES])
    missing = cards is not None and not shown
    kind = escape((plain(cards) or {}).get("kind", ""))
    end = words("examples_low" if feature.low else "examples")
    examples = f'<p class="d-note">{escape(end)}</p><ul class="d-examples d-of-{kind}">{shown}</ul>'
    none = f'<p class="d-note">{escape(words("examples_none"))}</p>' if missing else ""
    code = "" if words.name(feature) == feature.id else f"<code>{escape(feature.id)}</code> "
    return (
        f'<li class="d-feature"><h4>{escape(words.name(feature))}</h4>'
        f'<p class="d-from">{code}{escape(_origin(feature, words))}</p>'
        f'<ul class="d-facts">{lines}</ul>{examples if shown else none}</li>'
    )


def _origin(feature: Feature, words: Words) -> str:
    """Where the name comes from."""
    if feature.label:
        return words("name_label")
    suggestion = feature.suggestion
    if not suggestion:
        return words("name_id")
    if suggestion.get("statistic") and isinstance(suggestion.get("effect"), int | float):
        value = fixed(suggestion["effect"], 2)
        return words("name_suggestion", statistic=words.statistic(suggestion["statistic"]), value=value)
    return words("name_suggestion_plain")


def _pictures(graph: InteractionGraph, facts: Facts, communities: Any, words: Words) -> Iterator[str]:
    lead = facts.features[0].id if facts.features else None
    if graph.edges and lead:
        yield _modules(modules_of(graph, communities, lead), graph, facts, words)
    if facts.groups and facts.groups.outputs:
        groups = facts.groups
        first, second = (words.quote(name) for name in groups.names)
        counts = {"shown": f"{min(OUTPUTS, len(groups.outputs)):,}", "total": f"{len(groups.outputs):,}"}
        yield _figure(words("bars", first=first, second=second), svg.bars(groups, words), words("bars_note", **counts))


def _modules(modules: Modules, graph: InteractionGraph, facts: Facts, words: Words) -> str:
    known = {f.id: words.name(f) for f in facts.features}

    def name(key: str) -> str:
        label = getattr(graph, "labels", {}).get(key)
        return known.get(key) or (label.label if label else "") or key

    rows = {row: _row(modules, row, name, words) for row in range(len(modules.names))}
    lines = [words("picture_lanes" if modules.source != "features" else "picture_features")]
    if modules.source != "features":
        lines.append(words(f"picture_from_{modules.source}"))
    lines += [
        words("picture_links", least=percent(LEAST)),
        words("picture_path", name=words.reference(facts.features[0])),
    ]
    hidden = {"shown": f"{modules.count:,}", "total": f"{modules.total:,}"}
    if modules.count < modules.total:
        lines.append(words("picture_hidden_features" if modules.source == "features" else "picture_hidden", **hidden))
    if len(modules.sites) < modules.total_sites:
        blanks = {"shown": f"{len(modules.sites):,}", "total": f"{modules.total_sites:,}"}
        lines.append(words("picture_hidden_sites", **blanks))
    return _figure(words("picture"), svg.picture(modules, name, rows, words), words.joined(lines))


def _row(modules: Modules, row: int, name: Any, words: Words) -> str:
    """A module's name: the user's, else its number and its leading feature."""
    if modules.source == "user":
        return modules.names[row]
    number, leader = modules.names[row], name(modules.leaders[row])
    return words("group_with", number=int(number) + 1, name=leader)


def _figure(title: str, picture: str, note: str) -> str:
    return f"<figure><h3>{escape(title)}</h3>{picture}<figcaption>{escape(note)}</figcaption></figure>"


def _limits(words: Words) -> str:
    items = "".join(f"<li>{escape(words(key))}</li>" for key in LIMITS)
    return f'<div class="d-limits"><h3>{escape(words("limits"))}</h3><ul>{items}</ul></div>'
