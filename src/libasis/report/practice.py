"""The page of a plan, for who decides: one HTML file, in English and Japanese."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ..practice import PlanStage, PracticePlan
from ..practice.sentences import said, words_of
from ..types import Plain
from .markup import both, escape
from .shell import write_result

TOPIC = "practice"


def write_practice(plan: PracticePlan, path: str | Path, lang: str = "en") -> Path:
    """Write one self-contained page of a plan; the same plan gives the same bytes.

    Raises:
        OptionError: the language is unknown.
        StoreError: there is a file that is no page of libasis, or the page cannot be written.
    """
    parts = {
        "found": lambda lang: _found(plan, lang),
        "stages": lambda lang: "".join(_stage(i, one, lang) for i, one in enumerate(plan.stages, 1)),
        "value": lambda lang: _list(plan.value_lines(), lang),
        "talking": lambda lang: f'<div class="d-finding">{_list(plan.talking, lang)}</div>',
    }
    body = "".join(_section(key, make) for key, make in parts.items())
    return write_result(path, TOPIC, body, lang, styles=("decide",))


def _section(key: str, make: Callable[[str], str]) -> str:
    head = both(lambda words: escape(words_of(words.lang)[key]), TOPIC, "span")
    inner = both(lambda words: make(words.lang), TOPIC)
    title = f'<h2 id="{key}-title">{head}</h2>'
    return f'<section id="{key}" class="decide" aria-labelledby="{key}-title">{title}{inner}</section>'


def _list(lines: Iterable[Plain], lang: str) -> str:
    return f"<ul>{''.join(f'<li>{escape(said(one, lang))}</li>' for one in lines)}</ul>"


def _found(plan: PracticePlan, lang: str) -> str:
    words = words_of(lang)
    first, *more = plan.found
    change = f"<b>{escape(words['change'])}</b> {escape(plan.change or words['change_unnamed'])}"
    rest = _list(more, lang) if more else ""
    return (
        f'<p class="d-question">{change}</p><div class="d-finding"><p class="d-claim">{escape(said(first, lang))}</p>'
        f"{rest}</div>"
    )


def _stage(number: int, stage: PlanStage, lang: str) -> str:
    words = words_of(lang)
    mark = "d-mark d-verified" if stage.status == "done" else "d-mark"
    facts = " · ".join(escape(fact) for fact in stage.facts(lang))
    columns = "".join(
        f"<div><h4>{escape(words[key])}</h4>{_list(lines, lang)}</div>"
        for key in ("decides", "numbers", "stops")
        if (lines := getattr(stage, key))
    )
    return (
        f"<article><h3>{number}. {escape(words[f'stage_{stage.key}'])} "
        f'<span class="{mark}">{escape(words[f"status_{stage.status}"])}</span></h3>'
        f'<p class="d-note">{facts}</p><div class="d-columns">{columns}</div></article>'
    )
