"""The two pictures as SVG, drawn without a library: the modules with their path, and bars for two groups."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

from ..markup import escape
from ..numbers import Bounded, fixed, places
from ..words import Words, clean
from .facts import OUTPUTS, Contrast, TwoGroups
from .modules import Modules, Spot

WIDTH = 480
"""Width of a picture in units; a letter is 12 of them high."""
EDGE = 46.0
"""Room to the right of the last column."""
LARGEST = 9.0
"""Radius of the dot of a module that has all of a site's importance."""
NAMES, PITCH = 110.0, 31.0
"""Room for the names of outputs, and height of one output's pair of bars."""


def width_of(text: str) -> float:
    """An estimate of the width of a text in units, in any script."""
    return sum(12.0 if unicodedata.east_asian_width(c) in "WF" else 6.7 for c in text)


def shorten(text: str, room: float) -> str:
    """The text, cut with an ellipsis where it would be wider than the room."""
    text = clean(text)
    if width_of(text) <= room:
        return text
    while text and width_of(text + "…") > room:
        text = text[:-1]
    return text + "…"


def picture(modules: Modules, name: Callable[[str], str], rows: Mapping[int, str], words: Words) -> str:
    """The modules as dots in columns of sites, links as lines, the path thick and on top."""
    lanes = modules.source != "features"
    gutter = 170.0 if lanes else 58.0
    step = (WIDTH - gutter - EDGE) / max(1, len(modules.sites) - 1)
    spacing, top = (22.0, 44.0) if lanes else (46.0, 42.0)

    def at(spot: Spot) -> tuple[float, float]:
        return gutter + step * spot.column, top + spacing * spot.row

    depth = 1 + max((spot.row for spot in modules.spots), default=0)
    body = [*_columns(modules, gutter, step), *_lines(modules, at)]
    for number, spot in enumerate(modules.spots):
        ids = [f"{modules.sites[spot.column]}:{i}" for i in spot.members]
        on_path = not set(ids).isdisjoint(modules.path)
        label = "" if lanes else _label(modules.leaders[number], name, min(150.0, step - 8))
        body.append(_dot(at(spot), spot, label, rows.get(spot.row, "") if lanes else name(ids[0]), on_path))
    if lanes:
        for row, label in rows.items():
            text = escape(shorten(label, gutter - 26))
            body.append(f'<text class="d-row" x="0" y="{top + spacing * row + 4:.1f}">{text}</text>')
    height = top + spacing * (depth - 1) + 24
    path = " → ".join(name(key) for key in modules.path)
    alt = words("picture_alt", modules=modules.count, sites=len(modules.sites), path=path)
    return _svg(height, alt, body)


def _columns(modules: Modules, gutter: float, step: float) -> Iterator[str]:
    """Site names above the columns, staggered where they would touch, every n-th where there are many."""
    every, last = max(1, math.ceil(len(modules.sites) / 6)), len(modules.sites) - 1
    names = []
    for column in sorted({*range(0, last, every), last}):
        text = shorten(modules.sites[column], min(2 * step * every - 10, 150))
        half = width_of(text) / 2
        names.append((text, min(max(gutter + step * column, half), WIDTH - half), half))
    stagger = any(left[1] + left[2] > right[1] - right[2] for left, right in pairwise(names))
    for k, (text, x, _) in enumerate(names):
        low = k % 2 if stagger else 1
        yield f'<text class="d-site" x="{x:.1f}" y="{12 + 14 * low}" text-anchor="middle">{escape(text)}</text>'


def _lines(modules: Modules, at: Callable[[Spot], tuple[float, float]]) -> Iterator[str]:
    for link in modules.links:
        (x1, y1), (x2, y2) = at(modules.spots[link.source]), at(modules.spots[link.target])
        middle = (x1 + x2) / 2
        width = 1.0 + 7.0 * math.sqrt(min(1.0, link.share))
        kind = "d-path" if link.on_path else "d-link"
        yield (
            f'<path class="{kind}" stroke-width="{width + (1.5 if link.on_path else 0):.2f}" '
            f'd="M{x1:.1f} {y1:.1f}C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"/>'
        )


def _label(key: str, name: Callable[[str], str], room: float) -> str:
    """A feature's name; of one without a name its id, or where that is too wide its number: its site stands above."""
    text = name(key)
    return key.rpartition(":")[2] if text == key and width_of(key) > room else shorten(text, room)


def _dot(place: tuple[float, float], spot: Spot, label: str, title: str, on_path: bool) -> str:
    x, y = place
    radius = 3.0 + (LARGEST - 3.0) * math.sqrt(min(1.0, spot.share))
    kind = "d-dot d-on" if on_path else "d-dot"
    text = f'<text class="d-name" x="{x:.1f}" y="{y + radius + 14:.1f}" text-anchor="middle">{escape(label)}</text>'
    return (
        f'<g><title>{escape(title)}</title><circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.2f}"/>'
        f"{text if label else ''}</g>"
    )


def bars(groups: TwoGroups, words: Words) -> str:
    """Two bars per output, in its own units, from zero; a whisker is the 95% interval."""
    shown = groups.outputs[:OUTPUTS]
    ends = [0.0] + [v for _, c in shown for e in (c.first, c.second) for v in (e.value, e.low, e.high) if v is not None]
    low, high = min(ends), max(ends)
    unit = (WIDTH - NAMES - 60) / (high - low) if high > low else 0.0
    zero = NAMES + 10 - low * unit
    body = [*_legend(groups)]
    for row, (output, contrast) in enumerate(shown):
        y = 40.0 + PITCH * row
        body.append(f'<text class="d-row" x="0" y="{y + 16:.1f}">{escape(shorten(output, NAMES))}</text>')
        digits = places(contrast.difference)
        for k, estimate in enumerate((contrast.first, contrast.second)):
            body.append(_bar(estimate, k, y + 13 * k, zero, unit, digits))
    bottom = 36.0 + PITCH * len(shown)
    body.append(f'<line class="d-axis" x1="{zero:.1f}" y1="34" x2="{zero:.1f}" y2="{bottom:.1f}"/>')
    return _svg(bottom + 6, words.joined([_bar_words(groups, o, c, words) for o, c in shown]), body)


def _legend(groups: TwoGroups) -> Iterator[str]:
    for k, name in enumerate(groups.names):
        y = 2 + 15 * k
        yield f'<rect class="d-bar{k}" x="0" y="{y}" width="26" height="11"/>'
        yield f'<text class="d-row" x="34" y="{y + 10}">{escape(shorten(name, WIDTH - 40))}</text>'


def _bar(estimate: Bounded, group: int, y: float, zero: float, unit: float, digits: int) -> str:
    end = zero + estimate.value * unit
    left, right = min(zero, end), max(zero, end)
    out = f'<rect class="d-bar{group}" x="{left:.1f}" y="{y:.1f}" width="{max(0.8, right - left):.1f}" height="12"/>'
    if estimate.low is not None and estimate.high is not None:
        a, b = zero + estimate.low * unit, zero + estimate.high * unit
        right = max(right, b)
        out += f'<path class="d-whisker" d="M{a:.1f} {y + 6:.1f}H{b:.1f}M{a:.1f} {y + 3:.1f}v6M{b:.1f} {y + 3:.1f}v6"/>'
    return out + f'<text class="d-value" x="{right + 6:.1f}" y="{y + 10.5:.1f}">{fixed(estimate.value, digits)}</text>'


def _bar_words(groups: TwoGroups, output: str, contrast: Contrast, words: Words) -> str:
    return words("bars_alt", output=words.quote(output), **groups.blanks(contrast, words))


def _svg(height: float, alt: str, body: list[str]) -> str:
    return (
        f'<svg class="d-picture" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(alt)}">'
        f"{''.join(body)}</svg>"
    )
