"""One example of a feature as HTML: a text with its token, an image, a table row, numbers."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..markup import escape
from ..numbers import fixed
from ..words import Words, clean

EXAMPLES = 3
"""Examples of a feature on the first screen."""
BEFORE, AFTER, CELLS, VALUES = 8, 4, 3, 6
"""Tokens around the one marked, cells of a table row, numbers of a vector."""


def example(entry: Mapping[str, Any], words: Words, reads: Sequence[str] = ()) -> str:
    """The content of an example, with the value of the feature and, if known, when, what was wanted and what came out.

    Of a table the columns are shown that the feature ``reads``.
    """
    content = entry.get("content") or {}
    show = {"text": _text, "image": _image, "number": _numbers}.get(str(content.get("kind")))
    body = show(content, entry, words) if show else ""
    if content.get("kind") == "table":
        body = _table(content, reads)
    value = fixed(entry["value"], 2 if abs(entry["value"]) < 1000 else 0)
    parts = [part for part in (value, clean(entry.get("time") or ""), _answer(entry, words)) if part]
    note = " ".join(f"<span>{escape(part)}</span>" for part in parts)
    return f"<li>{body}<small>{note}</small></li>"


def _answer(entry: Mapping[str, Any], words: Words) -> str:
    """What was wanted and what came out, as far as it is known."""
    given = {key: str(entry[key]) for key in ("target", "prediction") if entry.get(key) is not None}
    if len(given) == 2:
        return words("example_right" if given["target"] == given["prediction"] else "example_wrong", **given)
    return words(f"example_{next(iter(given))}", **given) if given else ""


def _text(content: Mapping[str, Any], _: Mapping[str, Any], __: Words) -> str:
    tokens, at = [str(t) for t in content["tokens"]], content.get("at")
    start = max(0, (at or 0) - BEFORE)
    end = min(len(tokens), start + BEFORE + AFTER + 1)
    parts = [f"<mark>{escape(t)}</mark>" if k == at else escape(t) for k, t in enumerate(tokens)][start:end]
    gap = "" if any(t != t.strip() for t in tokens) else " "  # tokens of most tokenizers bring their own spaces
    return f'<q class="d-text">{"…" if start else ""}{gap.join(parts)}{"…" if end < len(tokens) else ""}</q>'


def _image(content: Mapping[str, Any], entry: Mapping[str, Any], words: Words) -> str:
    data = str(content["png"])
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return ""
    sample = str(entry.get("sample"))  # its number is a name, not a count
    alt = escape(words("example_image", sample=sample, width=content["width"], height=content["height"]))
    return f'<img class="d-image" alt="{alt}" src="data:image/png;base64,{data}">'


def _table(content: Mapping[str, Any], reads: Sequence[str]) -> str:
    """The cells of the columns read, then those that are farthest from what is usual in their column."""
    names = content["columns"]
    z = content.get("z") or [None] * len(names)
    read = [names.index(name) for name in reads if name in names][:CELLS]
    far = sorted((k for k in range(len(z)) if k not in read), key=lambda k: -abs(z[k] or 0.0))
    return _pairs([(names[k], content["values"][k]) for k in [*read, *far][: max(CELLS, len(read))]])


def _numbers(content: Mapping[str, Any], _: Mapping[str, Any], words: Words) -> str:
    values = content["values"]
    names = content.get("names")
    if names:
        far = sorted(range(len(values)), key=lambda k: -abs(values[k] or 0.0))[:CELLS]
        return _pairs([(names[k], values[k]) for k in sorted(far)])
    shown = words("comma").join(_plain(v) for v in values[:VALUES])
    return f'<span class="d-text">{escape(shown)}{"…" if len(values) > VALUES else ""}</span>'


def _pairs(pairs: Sequence[tuple[object, object]]) -> str:
    cells = "".join(f"<span><b>{escape(name)}</b> {escape(_plain(value))}</span> " for name, value in pairs)
    return f'<span class="d-cells">{cells}</span>'


def _plain(value: object) -> str:
    if value is None:
        return "–"
    return re.sub("^-", "−", f"{value:.4g}") if isinstance(value, int | float) else str(value)
