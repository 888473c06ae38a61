"""HTML in small safe pieces: whatever comes from a user or a model is escaped here and nowhere else."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .canvas import clean
from .words import LANGUAGES, texts

MAX_VALUES, MAX_TEXT = 12, 2000
"""Values of a list and characters of a text that are written out; the rest is counted."""


@dataclass(frozen=True)
class Cell:
    """A table cell: its text, whether it is a number, and a share to draw as a bar of a colour."""

    text: str
    number: bool = False
    bar: float | None = None
    color: str = ""


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


def both(content: Callable[[str], str], tag: str = "div") -> str:
    """The same content in both languages; the style sheet shows the one of the page."""
    return "".join(f'<{tag} class="in-{lang}" lang="{lang}">{content(lang)}</{tag}>' for lang in LANGUAGES)


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of escaped text."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def table(caption: str, heads: Sequence[tuple[str, bool]], groups: Sequence[Group], label: str) -> str:
    """A table whose first column heads groups of rows.

    Args:
        caption: the table's heading.
        heads: label of each column and whether it holds numbers.
        groups: the rows.
        label: the name of the box that scrolls.
    """
    head = "".join(f'<th scope="col"{_kind(number)}>{escape(text)}</th>' for text, number in heads)
    body = "".join(_group(group) for group in groups)
    inner = f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>{body}</table>"
    return scroll(inner, label)


def scroll(content: str, label: str) -> str:
    """A box that scrolls sideways, also from the keyboard."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">{content}</div>'


def _kind(number: bool) -> str:
    return ' class="number"' if number else ""


def _group(group: Group) -> str:
    note = f"<small>{escape(group.note)}</small>" if group.note else ""
    first = f'<th scope="rowgroup" rowspan="{max(1, len(group.rows))}">{_heading(group.heading)}{note}</th>'
    rows = [
        first + "".join(_cell(c) for c in row) if k == 0 else "".join(_cell(c) for c in row)
        for k, row in enumerate(group.rows)
    ]
    return "<tbody>" + "".join(f"<tr>{row}</tr>" for row in rows or [first]) + "</tbody>"


def _heading(text: str) -> str:
    return " → ".join(name(part) for part in text.split(" → "))


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
    return f"<td{_kind(cell.number)}>{content}</td>"


def facts(value: Any, lang: str) -> str:
    """Anything JSON can hold as readable HTML: every key, long lists and texts cut with words."""
    if isinstance(value, Mapping):
        if not value:
            return escape(texts(lang)["prov_empty"])
        rows = "".join(f"<div><dt>{name(k)}</dt><dd>{facts(v, lang)}</dd></div>" for k, v in value.items())
        return f"<dl>{rows}</dl>"
    if isinstance(value, list | tuple):
        return _list(value, lang)
    return _scalar(value, lang)


def _list(values: Sequence[Any], lang: str) -> str:
    shown = values[:MAX_VALUES]
    more = len(values) - len(shown)
    rest = texts(lang)["more_values"].format(count=f"{more:,}") if more else ""
    if any(isinstance(v, Mapping | list | tuple) for v in shown):
        items = "".join(f"<li>{facts(v, lang)}</li>" for v in shown) + (f"<li>{escape(rest)}</li>" if rest else "")
        return f"<ol>{items}</ol>"
    return ", ".join([_scalar(v, lang) for v in shown] + ([escape(rest)] if rest else [])) or "–"


def _scalar(value: Any, lang: str) -> str:
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
    rest = " " + texts(lang)["more_text"].format(count=f"{more:,}") if more > 0 else ""
    return escape(text[:MAX_TEXT] + rest)
