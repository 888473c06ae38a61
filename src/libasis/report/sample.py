"""One sample as HTML, with what its parts do on top: a picture with a heat map, a text by token, columns in units."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from typing import Any

from .canvas import NEGATIVE, POSITIVE
from .markup import escape, paragraph
from .numbers import quantity
from .words import Words

Box = tuple[float, float, float, float]
"""Top, left, height and width, in pixels of the picture."""

LEVELS = 5
"""Shades of a token, on either side."""
LOOK = 0.65
"""Opacity of the strongest part of a heat map."""


def sample(entry: Mapping[str, Any], words: Words) -> str:
    """What is seen of a sample, without anything on top; empty for a kind that has nothing to be seen."""
    content = entry.get("content") or {}
    kind = content.get("kind")
    if kind == "image":
        return picture(entry, [], [], words)
    if kind == "text":
        return tokens(content, None)
    values = content.get("values") or []
    names = content.get("columns") or content.get("names") or [str(i) for i in range(len(values))]
    pairs = list(zip(names, values, strict=False))[:64]
    shown = [(name, "–" if value is None else quantity(float(value)).replace("-", "−")) for name, value in pairs]
    cells = "".join(f"<span><b>{escape(name)}</b> {escape(value)}</span> " for name, value in shown)
    return f'<p class="l-cells">{cells}{"…" if len(values) > len(pairs) else ""}</p>'


def picture(entry: Mapping[str, Any], boxes: Sequence[Box], values: Sequence[float], words: Words) -> str:
    """The picture of a sample, with a value in each box; empty where the picture is no PNG file."""
    content = entry["content"]
    data, width, height = str(content["png"]), int(content["width"]), int(content["height"])
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return ""
    most = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    rects = "".join(
        f'<rect x="{left:g}" y="{top:g}" width="{w:g}" height="{h:g}" fill="{POSITIVE if v > 0 else NEGATIVE}" '
        f'fill-opacity="{LOOK * abs(v) / most:.3f}"><title>{escape(quantity(v))}</title></rect>'
        for (top, left, h, w), v in zip(boxes, values, strict=False)
        if most and math.isfinite(v)
    )
    faint = ' opacity=".55"' if rects else ""  # so that the colours on it can be told apart
    alt = escape(words("picture_alt", sample=str(entry["sample"]), width=width, height=height))
    return (
        f'<svg class="l-picture" viewBox="0 0 {width} {height}" role="img" aria-label="{alt}">'
        f'<image href="data:image/png;base64,{data}" width="{width}" height="{height}"{faint}/>{rects}</svg>'
    )


def grid(content: Mapping[str, Any], positions: int) -> list[Box] | None:
    """The boxes of the positions of a site over a picture, row by row; None where they make no grid of its form."""
    width, height = float(content["width"]), float(content["height"])
    rows = round(math.sqrt(positions * height / width))
    if positions < 4 or rows < 1 or positions % rows or abs(positions / rows - rows * width / height) > 1:
        return None
    columns = positions // rows
    return [
        (r * height / rows, c * width / columns, height / rows, width / columns)
        for r in range(rows)
        for c in range(columns)
    ]


def scaled(boxes: Sequence[Sequence[float]], content: Mapping[str, Any]) -> list[Box]:
    """Boxes in pixels of the input as boxes of the picture shown, which may be smaller."""
    bottom, right = (max(box[i] + box[i + 2] for box in boxes) for i in (0, 1))
    down, across = float(content["height"]) / bottom, float(content["width"]) / right
    return [(t * down, l * across, h * down, w * across) for t, l, h, w in boxes]


def tokens(content: Mapping[str, Any], values: Sequence[float] | None) -> str:
    """A text by token, shaded by a value of each; a token without one stays as it is."""
    texts = [str(token) for token in content.get("tokens") or []]
    shown = [math.nan] * len(texts) if values is None else [*values, *[math.nan] * len(texts)][: len(texts)]
    most = max((abs(v) for v in shown if math.isfinite(v)), default=0.0)
    gap = "" if any(t != t.strip() for t in texts) else " "
    parts = []
    for text, value in zip(texts, shown, strict=True):
        level = math.ceil(LEVELS * abs(value) / most - 1e-9) if most and math.isfinite(value) else 0
        kind = f' class="l-{"up" if value > 0 else "down"}{level}"' if level else ""
        told = f' title="{escape(quantity(value))}"' if math.isfinite(value) else ""
        parts.append(f"<span{kind}{told}>{escape(text)}</span>")
    return f'<p class="l-text">{gap.join(parts)}</p>'


def heat_note(values: Sequence[float], words: Words) -> str:
    """What the colours mean."""
    most = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    return paragraph(words("heat_key", most=quantity(most)), "note")
