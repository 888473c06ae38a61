"""The picture of a scan: SVG, a line for each site."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ..errors import OptionError

LINE, LEFT, WIDE, TOP = 18, 330, 420, 46
LIB, PCA = "#0b5cad", "#b4540a"


MARK = 'xmlns="http://www.w3.org/2000/svg" data-by="libasis scan"'
"""By which libasis knows a picture of its own."""


WORDS = {
    "en": "directions with 90% of the importance (logarithmic): {LIB} {PCA}; bold: recommended",
    "ja": "重要度の90%を占める方向の数（対数目盛）：{LIB} {PCA}　太字：推奨",
}
"""The words of the picture, by language; numbers and names of sites are alike in all."""


def picture(rows: Sequence[Mapping[str, Any]], lang: str = "en") -> str:
    """At every site how many directions of LIB (circle) and of PCA (square) have 90% of the importance.

    Raises:
        OptionError: an unknown language.
    """
    if lang not in WORDS:
        raise OptionError(f'lang is {lang!r}; it must be "en" or "ja".')
    signs = {"LIB": f'<tspan fill="{LIB}">● LIB</tspan>', "PCA": f'<tspan fill="{PCA}">■ PCA</tspan>'}
    counts = [row[key] for row in rows for key in ("lib_features", "pca_features") if row[key] is not None]
    top = math.log(max(counts, default=2) + 1)
    height = TOP + LINE * len(rows) + 24
    parts = [
        f'<svg {MARK} lang="{lang}" viewBox="0 0 {LEFT + WIDE + 90} {height}" font-family="sans-serif" '
        f'font-size="12" role="img" aria-label="{escape(_told(rows))}">',
        f'<rect width="100%" height="100%" fill="#fff"/><text x="12" y="18">{WORDS[lang].format(**signs)}</text>',
    ]
    for tick in (1, 3, 10, 30, 100, 300, 1000, 3000):
        if counts and tick <= max(counts):
            x = LEFT + WIDE * math.log(tick + 1) / top
            parts.append(f'<path d="M{x:.1f} {TOP - 8}V{height - 20}" stroke="#ddd"/>')
            parts.append(f'<text x="{x:.1f}" y="{height - 6}" text-anchor="middle" fill="#555">{tick}</text>')
    parts += [_line(row, TOP + LINE * i, top) for i, row in enumerate(rows)]
    return "".join([*parts, "</svg>"])


def _line(row: Mapping[str, Any], y: float, top: float) -> str:
    name, weight = str(row["site"]), ' font-weight="bold"' if row["recommended"] else ""
    short = name if len(name) <= 46 else "…" + name[-45:]
    out = f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end"{weight}>{escape(short)}</text>'
    if row["lib_features"] is None:
        return out
    lib, pca = (LEFT + WIDE * math.log(row[f"{key}_features"] + 1) / top for key in ("lib", "pca"))
    return (
        f'{out}<path d="M{lib:.1f} {y}H{pca:.1f}" stroke="#999" stroke-width="2"/>'
        f'<circle cx="{lib:.1f}" cy="{y}" r="5" fill="{LIB}"/>'
        f'<rect x="{pca - 4.5:.1f}" y="{y - 4.5}" width="9" height="9" fill="{PCA}"/>'
        f'<text x="{max(lib, pca) + 10:.1f}" y="{y + 4}" fill="#555">'
        f"{row['lib_features']} / {row['pca_features']}</text>"
    )


def _told(rows: Sequence[Mapping[str, Any]]) -> str:
    known = [row for row in rows if row["lib_features"] is not None]
    return "; ".join(f"{row['site']}: LIB {row['lib_features']}, PCA {row['pca_features']}" for row in known)
