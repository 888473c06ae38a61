"""Small charts as SVG, drawn without matplotlib: one panel per site or section, one line per method.

The panels hold numbers and names only, so that one drawing serves every language; the words stand around them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..ablation.results import Curve, EdgeAblation, NodeAblation
from ..graphs.graph import InteractionGraph
from . import curves
from .canvas import GREY, INK
from .curves import MAX_PANELS, names_of, thinned, worst_passing
from .markup import both, escape, name
from .numbers import power_of_ten, score
from .series import Series, section_name, series_of
from .words import LANGUAGES, Words

WIDTH, LEFT, RIGHT, TOP, BELOW = 250.0, 46.0, 8.0, 6.0, 18.0

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Scale:
    """From values to a length: linear, logarithmic, or ``log(1 + value)``, which has room for zero."""

    kind: str
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value."""
        low, high, at = (self._bend(v) for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * ((at - low) / (high - low) if high > low else 0.5)

    def _bend(self, value: float) -> float:
        if self.kind == "linear":
            return value
        return math.log10(max(value, 1e-300)) if self.kind == "log" else math.log1p(max(value, 0.0))

    def ticks(self) -> list[float]:
        """Round values inside, few enough to stay apart."""
        if self.kind == "linear":
            return _round_values(self.low, self.high)
        first = math.floor(math.log10(self.low)) if self.kind == "log" else 0
        powers = [10.0**p for p in range(first, math.ceil(math.log10(max(self.high, 1.0000001))) + 1)]
        inside = [p for p in powers if self.low <= p <= self.high]
        inside = inside[:: max(1, math.ceil(len(inside) / 6))]
        return ([0.0] if self.kind == "log1p" else []) + inside


def _round_values(low: float, high: float, most: int = 5) -> list[float]:
    if not high > low:
        return [low]
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= most)
    return [step * k for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def spectra(graphs: Sequence[InteractionGraph]) -> tuple[list[str], int]:
    """Importances per site against their rank, each method's over its largest.

    Returns:
        The panels as HTML, and how many there are in all.
    """
    series = series_of(graphs)
    names = list(dict.fromkeys(site for graph in graphs for site in graph.sites))
    lines = {(k, s.name): curves.falling(s.importances) for k, graph in enumerate(graphs) for s in graph.basis}
    lowest = min((points[-1][1] for points in lines.values() if points), default=0.1)
    widest = max((len(points) for points in lines.values()), default=1)
    x = Scale("log", 0.9, max(widest, 2) * 1.15, LEFT, WIDTH - RIGHT)
    y = Scale("log", max(min(lowest, 0.1), 1e-300) / 2, 1.6, 120.0, TOP)

    def panel(site: str) -> str:
        drawn = []
        for k, s in enumerate(series):
            points = lines.get((k, site), [])
            drawn += [_line(s, points, x, y), _marks(s, points[-1:], x, y)]
        keys = [
            (s, f"{s.result.basis[site].k:,} / {s.result.basis[site].d:,}") for s in series if site in s.result.sites
        ]
        return _panel([site], [_plot(x, y, drawn, power_of_ten)], keys)

    return _panels(names, panel)


def edge_curves(results: Sequence[EdgeAblation], sites: Sequence[str]) -> tuple[list[str], int]:
    """Score against edges kept, per section, and beneath it a close-up of the allowed drop.

    Returns:
        The panels as HTML, and how many there are in all.
    """
    series = series_of(results)

    def panel(section: str) -> str:
        members = [s for s in series if section in s.result.curves]
        plots = [_whole(members, section, worst_passing(members[0].result))]
        if results[0].max_drop > 0:
            plots.append(_close_up(members, section))
        keys = [(s, _counts(s.result, section)) for s in members]
        return _panel(section_name(section, sites).split(" → "), plots, keys)

    return _panels(names_of(results), panel)


def _counts(result: EdgeAblation, section: str) -> str:
    required, stable = result.edges_required.get(section), result.edges_required_stable.get(section)
    return " · ".join("–" if count is None else f"{count:,}" for count in (required, stable))


def node_curves(results: Sequence[NodeAblation]) -> tuple[list[str], int]:
    """Score against features kept, per site, the most important first.

    Returns:
        The panels as HTML, and how many there are in all.
    """
    series = series_of(results)

    def panel(site: str) -> str:
        return _panel([site], [_whole([s for s in series if site in s.result.curves], site)], [])

    return _panels(names_of(results), panel)


def _whole(members: Sequence[Series], name: str, worst: float | None = None) -> str:
    """The whole curves of one site or section."""
    base, lines = members[0].result.base_score, [_points(m.result.curves[name]) for m in members]
    most = max((points[-1][0] for points in lines if points), default=1.0)
    values = [base, *(v for points in lines for _, v in points)]
    pad = 0.06 * (max(values) - min(values)) or max(abs(max(values)), 1.0) * 0.1
    x = Scale("log1p", 0.0, max(most, 1.0) * 1.1, LEFT, WIDTH - RIGHT)
    y = Scale("linear", min(values) - pad, max(values) + pad, 120.0, TOP)
    drawn = [_line(m, points, x, y) for m, points in zip(members, lines, strict=True)]
    return _plot(x, y, [*_references(base, worst, x, y), *drawn], _plain)


def _close_up(members: Sequence[Series], section: str) -> str:
    """The counts around the numbers needed and the scores around the allowed band."""
    first: EdgeAblation = members[0].result
    base, limit = first.base_score, worst_passing(first)
    low, high = curves.close_up_counts([m.result for m in members], section)
    x = Scale("log", low, high, LEFT, WIDTH - RIGHT)
    y = Scale("linear", *curves.close_up_scores(first), 80.0, TOP)
    lines = []
    for m in members:
        curve: Curve = m.result.curves[section]
        lines.append(_line(m, _points(curve), x, y))
        for counted, hollow in ((m.result.edges_required, False), (m.result.edges_required_stable, True)):
            count = counted.get(section)
            if count in curve:
                lines.append(_marks(m, [(float(count), curve[count])], x, y, hollow=hollow))
    top, bottom = sorted((y(base), y(limit)))
    band = f'<rect x="{LEFT}" y="{top:.1f}" width="{WIDTH - LEFT - RIGHT}" height="{bottom - top:.1f}" fill="#e4dff0"/>'
    ticks = {value: score(value, first.max_drop) for value in (base, limit)}
    marks = curves.round_counts(low, high)
    return _plot(x, y, [band, *_references(base, limit, x, y), *lines], _plain, y_ticks=ticks, x_ticks=marks)


def key(results: Sequence[Any], words: Words) -> str:
    """Line, marker and name of each method."""
    return f'<ul class="key">{"".join(_key(s, escape(s.label(words))) for s in series_of(results))}</ul>'


def _key(series: Series, text: str) -> str:
    stroke = _line(series, [(2.0, 0.0), (26.0, 0.0)], Scale("linear", 0, 28, 0, 28), Scale("linear", 0, 1, 6, 0))
    mark = _marks(series, [(14.0, 0.0)], Scale("linear", 0, 28, 0, 28), Scale("linear", 0, 1, 6, 0))
    picture = f'<svg class="swatch wide" viewBox="0 0 28 12" aria-hidden="true">{stroke}{mark}</svg>'
    return f"<li>{picture}{text}</li>"


def _named(series: Series, text: str) -> str:
    """The method's name, in both languages only where they differ, and a text."""
    labels = {series.label(Words(lang, "page")) for lang in LANGUAGES}
    several = len(labels) > 1
    label = both(lambda words: escape(series.label(words)), "page", "span") if several else escape(labels.pop())
    return f"{label} <b>{escape(text)}</b>"


def _panels(names: Sequence[str], panel: Callable[[str], str]) -> tuple[list[str], int]:
    return [panel(site) for site in names[:MAX_PANELS]], len(names)


def _panel(title: Sequence[str], plots: Sequence[str], keys: Sequence[tuple[Series, str]]) -> str:
    entries = "".join(_key(series, _named(series, text)) for series, text in keys)
    head = " → ".join(name(part) for part in title)
    listed = f'<ul class="key">{entries}</ul>' if entries else ""
    return f'<div class="panel-chart"><p class="chart-title">{head}</p>{listed}{"".join(plots)}</div>'


def _points(curve: Curve) -> list[tuple[float, float]]:
    return [(float(count), value) for count, value in curve.items() if math.isfinite(value)]


def _references(base: float, worst: float | None, x: Scale, y: Scale) -> Iterator[str]:
    """The model's own score and, where an allowance is known, the worst that still passes."""
    yield _level(y(base), x, INK, "")
    if worst is not None:
        yield _level(y(worst), x, GREY, ' stroke-dasharray="1.5 2"')


def _level(height: float, x: Scale, color: str, dash: str) -> str:
    return (
        f'<line x1="{x.start:.0f}" x2="{x.end:.0f}" y1="{height:.1f}" y2="{height:.1f}" stroke="{color}" '
        f'stroke-width="0.8"{dash}/>'
    )


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _plot(
    x: Scale,
    y: Scale,
    body: Sequence[str],
    write: Callable[[float], str],
    *,
    y_ticks: Mapping[float, str] | None = None,
    x_ticks: Sequence[float] = (),
) -> str:
    """A frame with ticks; the body is clipped to it."""
    heights = y_ticks or {v: write(v) for v in y.ticks()}
    height = y.start + BELOW
    ticks = [
        f'<text x="{LEFT - 5}" y="{y(v) + 3:.1f}" text-anchor="end">{escape(text)}</text>'
        f'<line x1="{LEFT - 3}" x2="{LEFT}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        for v, text in heights.items()
    ]
    ticks += [
        f'<text x="{x(v):.1f}" y="{y.start + 13:.1f}" text-anchor="middle">{escape(write(v))}</text>'
        f'<line x1="{x(v):.1f}" x2="{x(v):.1f}" y1="{y.start:.1f}" y2="{y.start + 3:.1f}"/>'
        for v in x_ticks or x.ticks()
    ]
    frame = f'<path class="frame" d="M{LEFT} {TOP}V{y.start:.1f}H{WIDTH - RIGHT}"/>'
    inner = f"{WIDTH - LEFT - RIGHT + 6:.0f} {y.start - TOP + 3:.0f}"
    clip = (
        f'<svg x="{LEFT - 3}" y="{TOP - 3}" width="{inner.split()[0]}" height="{inner.split()[1]}" '
        f'viewBox="{LEFT - 3} {TOP - 3} {inner}">{"".join(body)}</svg>'
    )
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH:.0f} {height:.0f}" aria-hidden="true">'
        f'<g class="ticks">{"".join(ticks)}</g>{clip}{frame}</svg>'
    )


def _line(series: Series, points: Points, x: Scale, y: Scale) -> str:
    if len(points) < 2:
        return ""
    d = "".join(f"{'M' if k == 0 else 'L'}{x(a):.1f} {y(b):.1f}" for k, (a, b) in enumerate(thinned(points)))
    style = series.style["linestyle"]
    dash = "" if style == "-" else f' stroke-dasharray="{" ".join(f"{v * 1.5:g}" for v in style[1])}"'
    return f'<path d="{d}" fill="none" stroke="{series.style["color"]}" stroke-width="1.6"{dash}/>'


CORNERS = {
    "s": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    "^": ((0, -1.3), (1.2, 0.9), (-1.2, 0.9)),
    "v": ((0, 1.3), (1.2, -0.9), (-1.2, -0.9)),
    "X": ((-1.2, 0), (0, -1.2), (1.2, 0), (0, 1.2)),
    "p": ((0, -1.2), (1.15, -0.3), (0.7, 1.1), (-0.7, 1.1), (-1.15, -0.3)),
    "P": ((-1.4, -0.6), (1.4, -0.6), (1.4, 0.6), (-1.4, 0.6)),
}


def _marks(series: Series, points: Points, x: Scale, y: Scale, *, hollow: bool = False) -> str:
    color, shape = series.style["color"], series.style["marker"]
    look = f'fill="{"#fff" if hollow else color}" stroke="{color}" stroke-width="1.2"'
    out = []
    for a, b in points:
        if shape in CORNERS:
            corners = " ".join(f"{x(a) + 3 * dx:.1f},{y(b) + 3 * dy:.1f}" for dx, dy in CORNERS[shape])
            out.append(f'<polygon points="{corners}" {look}/>')
        else:
            out.append(f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3.2" {look}/>')
    return "".join(out)
