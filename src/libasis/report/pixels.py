"""An image of each group, and on the anomalous one the pixels that carry the alarm."""

from __future__ import annotations

from collections.abc import Mapping

from ..diagnose import Diagnosis
from .markup import escape
from .verification import SURE
from .words import Words

WIDTH, GUTTER, HEAD, DRAWN, SHADED = 640, 24, 20, 6, 0.1
"""Width of the picture, room between the images and above them, boxes at most, and the part of the first input's
importance from which on an input gets one."""


def pixels(found: Diagnosis, words: Words) -> str:
    """Of images one of each group, and on the anomalous one the inputs that carry the alarm, numbered; else empty."""
    given = found.info.get("picture")
    if not given or not isinstance(given, Mapping):
        return ""
    (height, width), side = given["size"], (WIDTH - GUTTER) / 2
    scale = side / width
    rows = [row for row in found.tested_inputs if row["input"] in given["boxes"] and (row["importance"] or 0) > 0]
    most = max((row["importance"] for row in rows), default=1.0)
    parts = []
    for x, key in ((0.0, "normal"), (side + GUTTER, "anomalous")):
        png = escape(str(given[key]["png"]))
        parts.append(
            f'<image href="data:image/png;base64,{png}" x="{x:g}" y="{HEAD}" width="{side:g}" '
            f'height="{height * scale:g}" preserveAspectRatio="none" image-rendering="pixelated"/>'
            f'<text x="{x:g}" y="13">{escape(words(key))}</text>'
        )
    for k, row in enumerate(rows[:DRAWN]):
        if row["importance"] < SHADED * most:
            break
        top, left, down, across = (float(v) * scale for v in given["boxes"][row["input"]])
        x, y, sure = left + side + GUTTER, top + HEAD, row["verdict"] in SURE
        line = "" if sure else ' stroke-dasharray="4 3"'
        parts.append(
            f'<rect class="d-box" x="{x:.1f}" y="{y:.1f}" width="{across:.1f}" height="{down:.1f}"{line}/>'
            f'<text class="d-name" x="{x + 4:.1f}" y="{y + 13:.1f}">{"✓ " if sure else ""}{k + 1}</text>'
        )
    label = escape(words("pixels_alt", inputs=words.listed([row["input"] for row in rows[:3]] or ["–"])))
    return (
        f'<figure><h3>{escape(words("pixels"))}</h3><svg class="d-picture" viewBox="0 0 {WIDTH} '
        f'{height * scale + HEAD + 2:.0f}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
        f"<figcaption>{escape(words('pixels_note'))}</figcaption></figure>"
    )
