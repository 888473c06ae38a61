"""The first screen as one fragment of HTML: no script, no inline style, all text escaped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ...basis import outliers_said
from ...diagnose import say
from ..markup import escape
from ..numbers import fixed, percent, rounded
from ..results import Results, in_language
from ..words import Words, clean
from . import advice, svg
from .claims import Claim, feature_claims, findings
from .examples import EXAMPLES, example
from .facts import OUTPUTS, PER_SITE, Feature, KnownFacts, facts_of
from .modules import LEAST, Modules, modules_of

READ = 3
"""Columns that a feature reads, at most, in its box."""
LIMITS = (
    "limit_cause", "limit_one", "limit_sections", "limit_meaning", "limit_rotation", "limit_superposition",
    "limit_language",
)  # fmt: skip


def first_screen(results: Results, words: Words) -> str:
    """What a person who decides needs to know, as an escaped fragment of HTML in one language.

    The question, what was found and how surely, what was tested, what to do next, the most important features with
    examples, the path through the modules, two groups side by side, and the limits. A claim about a feature is marked
    "verified by intervention" only where it alone was taken out and did more than its controls; every other claim is
    marked "association only". Where a result is missing nothing is said of it.
    """
    facts = facts_of(results)
    asked = in_language(results.question, words.lang) or advice.question_of(facts, results, words)
    advised = {"sure": advice.how_sure, "tested": advice.what_was_tested, "next": advice.what_next}
    columns = (_list(key, sentences(facts, results, words), words) for key, sentences in advised.items())
    warnings = [say(one["kind"], words.lang, **one["values"]) for one in facts.findings]
    if strange := outliers_said(results.graph.basis.info.get("outliers", ()), words.lang):
        warnings.append(strange)
    parts = [
        _list("check", warnings, words) if warnings else "",
        f'<p class="d-question"><b>{escape(words("question"))}</b> {escape(asked)}</p>',
        _finding(findings(facts, results, words), words),
        f'<div class="d-columns">{"".join(columns)}</div>',
        _features(facts, results, words),
        f'<div class="d-pictures">{"".join(_pictures(facts, results, words))}</div>',
        _list("limits", map(words, LIMITS), words),
    ]
    label = escape(words("screen"))
    return f'<section class="decide" lang="{words.lang}" aria-label="{label}">{"".join(parts)}</section>'


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


def _features(facts: KnownFacts, results: Results, words: Words) -> str:
    content = "".join(_feature(f, facts, results, words) for f in facts.features)
    return (
        f'<div class="d-features"><h3>{escape(words("features"))}</h3>'
        f'<p class="d-note">{escape(_rule(facts, words))}</p><ol>{content}</ol></div>'
    )


def _rule(facts: KnownFacts, words: Words) -> str:
    """How the features shown were chosen."""
    count = words("features_count", shown=len(facts.features), total=facts.total)
    by = "groups" if facts.groups else "share"
    if facts.passed:
        return words.joined([words("features_rule_verified"), words(f"features_rule_{by}"), count])
    return words.joined([words(f"features_rule_only_{by}", per=PER_SITE), count])


def _feature(feature: Feature, facts: KnownFacts, results: Results, words: Words) -> str:
    lines = "".join(f"<li>{_marked(c, words)}</li>" for c in feature_claims(feature, facts.groups, words))
    name, code = feature.name(words), f"<code>{escape(feature.id)}</code> "
    examples = ""
    if feature.examples:
        kind, end = results.cards.kind if results.cards else "", "examples_low" if feature.low else "examples"
        columns = [str(one["column"]) for one in feature.reads]
        shown = "".join(example(entry, words, columns) for entry in feature.examples[:EXAMPLES])
        examples = f'<p class="d-note">{escape(words(end))}</p><ul class="d-examples d-of-{escape(kind)}">{shown}</ul>'
    elif results.cards:
        examples = f'<p class="d-note">{escape(words("examples_none"))}</p>'
    return (
        f'<li class="d-feature"><h4>{escape(name)}</h4>'
        f'<p class="d-from">{"" if name == feature.id else code}{escape(_origin(feature, words))}</p>'
        f"{_reads(feature, facts, words)}"
        f'<ul class="d-facts">{lines}</ul>{examples}</li>'
    )


def _reads(feature: Feature, facts: KnownFacts, words: Words) -> str:
    """The sensors that a feature reads, in their units, in both groups if there are any; empty where unknown."""
    rows, groups = [], facts.groups if facts.groups and facts.groups.columns else None
    for one in feature.reads[:READ]:
        spread = float(one["std"])
        usual = f"{rounded(one['mean'], spread)} ± {rounded(spread, spread)}"
        known = groups.columns.get(one["column"]) if groups else None
        cells = [rounded(value, spread) for value in known] if known else [usual]
        rows.append(f"<tr>{''.join(_cell(cell) for cell in [clean(one['column']), *cells])}</tr>")
    heads = map(clean, groups.names) if groups else [words("usually")]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in [words("reads"), *heads])
    whole = f'<table class="d-reads"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return whole if rows else ""


def _cell(text: str) -> str:
    return f"<td>{escape(text)}</td>"


def _origin(feature: Feature, words: Words) -> str:
    """Where the name comes from."""
    if feature.label:
        return words("name_label")
    suggestion = feature.suggestion
    if not suggestion:
        return words("name_id")
    if suggestion.get("statistic") and isinstance(suggestion.get("effect"), int | float):
        statistic = words.named("statistic", suggestion["statistic"])
        return words("name_suggestion", statistic=statistic, value=fixed(suggestion["effect"], 2))
    return words("name_suggestion_plain")


def _pictures(facts: KnownFacts, results: Results, words: Words) -> Iterator[str]:
    if results.graph.edges and facts.features:
        yield _modules(modules_of(results.graph, results.communities, facts.features[0].id), facts, results, words)
    groups = facts.groups
    if groups and groups.outputs:
        first, second = map(words.quote, groups.names)
        note = words("bars_note", shown=min(OUTPUTS, len(groups.outputs)), total=len(groups.outputs))
        yield _figure(words("bars", first=first, second=second), svg.bars(groups, words), note)


def _modules(modules: Modules, facts: KnownFacts, results: Results, words: Words) -> str:
    known = {f.id: f.name(words) for f in facts.features}

    def name(key: str) -> str:
        label = results.graph.labels.get(key)
        return known.get(key) or (label.label if label else "") or key

    single = modules.source == "features"
    lines = [words("picture_features")] if single else [words("picture_lanes"), words(f"picture_from_{modules.source}")]
    lines.append(words("picture_links", least=percent(LEAST)))
    lines.append(words("picture_path", name=facts.features[0].reference(words)))
    if modules.count < modules.total:
        hidden = "picture_hidden_features" if single else "picture_hidden"
        lines.append(words(hidden, shown=modules.count, total=modules.total))
    if len(modules.sites) < modules.total_sites:
        lines.append(words("picture_hidden_sites", shown=len(modules.sites), total=modules.total_sites))
    rows = {row: _row(modules, row, name, words) for row in range(len(modules.names))}
    return _figure(words("picture"), svg.picture(modules, name, rows, words), words.joined(lines))


def _row(modules: Modules, row: int, name: Callable[[str], str], words: Words) -> str:
    """A module's name: the user's, else its number and its leading feature."""
    if modules.source == "user":
        return modules.names[row]
    return words("group_with", number=int(modules.names[row]) + 1, name=name(modules.leaders[row]))


def _figure(title: str, picture: str, note: str) -> str:
    return f"<figure><h3>{escape(title)}</h3>{picture}<figcaption>{escape(note)}</figcaption></figure>"
