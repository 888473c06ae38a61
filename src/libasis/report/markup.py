"""HTML in small safe pieces: whatever comes from a user or a model is escaped here and nowhere else."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .words import LANGUAGES, Words, clean

MAX_VALUES, MAX_TEXT = 12, 2000
"""Values of a list and characters of a text that are written out; the rest is counted."""


@dataclass(frozen=True)
class Cell:
    """A table cell: its text, whether it is a number, a share to draw as a bar of a colour, and a note beneath."""

    text: str
    number: bool = False
    bar: float | None = None
    color: str = ""
    note: str = ""


@dataclass(frozen=True)
class Group:
    """Rows of a table under one row heading, with a note beneath the heading."""

    heading: str
    rows: Sequence[Sequence[Cell]]
    note: str = ""


def escape(text: object) -> str:
    """Text for HTML, in element or attribute."""
    return html.escape(clean(text), quote=True)


def name(text: object) -> str:
    """An identifier, set as code, that may break after its separators."""
    return f"<code>{re.sub(r'(?<=[._/])(?=[^._/])', '<wbr>', escape(text))}</code>"


def both(content: Callable[[Words], str | Iterable[str]], topic: str, tag: str = "div") -> str:
    """The same content in the words of both languages; the style sheet shows those of the page's language."""
    return "".join(
        f'<{tag} class="in-{lang}" lang="{lang}">{"".join(content(Words(lang, topic)))}</{tag}>' for lang in LANGUAGES
    )


def word(key: str, topic: str) -> str:
    """One text in both languages."""
    return both(lambda words: escape(words(key)), topic, "span")


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of escaped text."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def number(text: str, *, bar: float | None = None, color: str = "") -> Cell:
    """A cell with a number."""
    return Cell(text, True, bar, color)


def table(key: str, columns: Mapping[str, bool], groups: Sequence[Group], words: Words) -> str:
    """A table, in a box that scrolls sideways, whose first column heads groups of rows."""
    head = "".join(f'<th scope="col"{_kind(number)}>{escape(words(key))}</th>' for key, number in columns.items())
    inner = (
        f"<table><caption>{escape(words(key))}</caption><thead><tr>{head}</tr></thead>"
        f"{''.join(_group(group) for group in groups)}</table>"
    )
    label = escape(words("scrolls", title=words(key)))
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">{inner}</div>'


def _kind(number: bool) -> str:
    return ' class="number"' if number else ""


def _group(group: Group) -> str:
    note = f"<small>{escape(group.note)}</small>" if group.note else ""
    heading = " → ".join(name(part) for part in group.heading.split(" → "))
    first = f'<th scope="rowgroup" rowspan="{max(1, len(group.rows))}">{heading}{note}</th>'
    start, *rest = ["".join(_cell(cell) for cell in row) for row in group.rows] or [""]
    return f"<tbody>{''.join(f'<tr>{row}</tr>' for row in [first + start, *rest])}</tbody>"


def _cell(cell: Cell) -> str:
    content = escape(cell.text)
    if cell.bar is not None:
        width = 100 * min(1.0, max(0.0, cell.bar))
        fill = f' fill="{cell.color}"' if cell.color else ""
        bar = (
            '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
            f'<rect width="{width:.2f}" height="8"{fill}/></svg>'
        )
        content = f'{bar}<span class="value">{content}</span>'
    note = f'<small class="note">{escape(cell.note)}</small>' if cell.note else ""
    return f"<td{_kind(cell.number)}>{content}{note}</td>"


def facts(value: Any, words: Words) -> str:
    """Anything JSON can hold as readable HTML: every key, long lists and texts cut with words."""
    if isinstance(value, Mapping):
        rows = "".join(f"<div><dt>{name(k)}</dt><dd>{facts(v, words)}</dd></div>" for k, v in value.items())
        return f"<dl>{rows}</dl>" if value else escape(words("prov_empty"))
    if isinstance(value, list | tuple):
        return _list(value, words)
    return _scalar(value, words)


def _list(values: Sequence[Any], words: Words) -> str:
    shown = values[:MAX_VALUES]
    more = len(values) - len(shown)
    entries = [facts(v, words) for v in shown] + ([escape(words("more_values", count=more))] if more else [])
    if any(isinstance(v, Mapping | list | tuple) for v in shown):
        return f"<ol>{''.join(f'<li>{entry}</li>' for entry in entries)}</ol>"
    return ", ".join(entries) or "–"


def _scalar(value: Any, words: Words) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.10g}"
    text = clean(value)
    more = len(text) - MAX_TEXT
    return escape(text[:MAX_TEXT] + (" " + words("more_text", count=more) if more > 0 else ""))
