"""The page and the figures of edges held against interventions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..evaluate import EdgeEffects
from .canvas import GREY, INK, WIDTH, drawing, fit_name, new_figure
from .charts import Scale, _panel, _plot
from .curves import MAX_PANELS
from .markup import Cell, Group, both, escape, facts, number, paragraph, table
from .numbers import power_of_ten, quantity
from .series import OTHER, SERIES
from .shell import section, sections, write_result
from .words import Words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 100
"""Rows of a table."""
POINTS = 1500
"""Points of a panel and kind; of more, every so many-th one is drawn."""
LOOKS = {"mean": SERIES["lib"]["color"], "resample": SERIES["pca"]["color"], "zero": OTHER[1]["color"]}
SMALL = 1e-12
"""What is smaller than this part of the largest is drawn at it: nothing has no place on a logarithmic axis."""

Points = list[tuple[float, float]]


def write_edges(result: EdgeEffects, path: str | Path, lang: str = "en") -> Path:
    """Write the page.

    Raises:
        OptionError: the language is unknown.
        StoreError: there is a file that is no page of libasis, or the page cannot be written.
    """
    Words(lang, "edges")
    tables = {"sections": _sections, "tested": _tested, "limits": _limits}
    picture = section("calibration", "edges", calibration_figure(result))
    source = section("provenance", "edges", lambda words: facts(result.info, Words(words.lang, "page")))
    body = sections("edges", {"finding": _finding}, result) + picture + sections("edges", tables, result) + source
    return write_result(path, "edges", body, lang, styles=("charts",))


def calibration_figure(result: EdgeEffects) -> str:
    """The calibration as HTML: a panel for each section, in both languages."""
    panels = []
    for l in range(min(len(result.strengths), MAX_PANELS)):
        points = _points(result, l)
        if low_high := _range(points):
            panels.append(_panel([result.sites[l], result.sites[l + 1]], [_scatter(points, *low_high)], []))

    def named(words: Words) -> str:
        entries = (
            f'<li><svg class="swatch wide" viewBox="0 0 28 12" aria-hidden="true">{_mark(kind, 14, 6, 3.5)}</svg>'
            f"{escape(words(f'to_{kind}'))}</li>"
            for kind in result.to
        )
        axes = f"→ {escape(words('axis_strength'))}<br>↑ {escape(words('axis_measured'))}"
        return f'<ul class="key">{"".join(entries)}<li>{axes}</li></ul>'

    note = both(lambda words: paragraph(words("calibration_note")), "edges")
    return f'<figure class="charts">{both(named, "edges")}<div class="panels">{"".join(panels)}</div>{note}</figure>'


def draw_calibration(result: EdgeEffects, *, lang: str = "en") -> Figure:
    """Mean squared changes measured against the strengths of edges, a panel for each section, on logarithmic axes.

    Args:
        result: of `libasis.edge_effects`.
        lang: ``"en"`` or ``"ja"``.
    """
    words = Words(lang, "edges")
    sections = list(range(min(len(result.strengths), MAX_PANELS)))
    columns = min(3, max(len(sections), 1))
    lines = -(-len(sections) // columns)
    with drawing(lang):
        figure = new_figure(WIDTH, 210 * lines + 30)
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, l in zip(grid, sections, strict=False):
            points = _points(result, l)
            low, high = _range(points) or (0.1, 1.0)
            axes.plot([low, high], [low, high], color=GREY, linewidth=0.7)
            for kind, own in points.items():
                look = {"linestyle": "none", "marker": "o" if kind == "mean" else "x", "markersize": 2.5}
                axes.plot(*zip(*own, strict=True), color=LOOKS[kind], alpha=0.6, label=words(f"to_{kind}"), **look)
            axes.set(xscale="log", yscale="log", xlabel=words("axis_strength"), xlim=(low, high), ylim=(low, high))
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(power_of_ten)
                axis.set_minor_formatter("")
            axes.set_title(fit_name(f"{result.sites[l]} → {result.sites[l + 1]}", 34), loc="left", color=INK)
        for axes in grid[len(sections) :]:
            axes.set_visible(False)
        for row in range(lines):
            grid[row * columns].set_ylabel(words("axis_measured"))
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=max(len(labels), 1))
        figure.tight_layout(rect=(0, 26 / (210 * lines + 30), 1, 1))
    return figure


def _points(result: EdgeEffects, l: int) -> dict[str, Points]:
    """Strength and measured change of each edge of a section, by kind; where both are 0 there is none."""
    out = {}
    strengths = result.strengths[l].flatten().tolist()
    for kind, found in zip(result.to, result.measured[l], strict=True):
        pairs = [(a, b) for a, b in zip(strengths, found.flatten().tolist(), strict=True) if a > 0 or b > 0]
        out[kind] = pairs[:: max(1, math.ceil(len(pairs) / POINTS))]
    top = max((v for pairs in out.values() for pair in pairs for v in pair), default=1.0)
    return {kind: [(max(a, SMALL * top), max(b, SMALL * top)) for a, b in pairs] for kind, pairs in out.items()}


def _range(points: dict[str, Points]) -> tuple[float, float] | None:
    values = [v for pairs in points.values() for pair in pairs for v in pair]
    return (min(values) / 2, max(values) * 2) if values else None


def _scatter(points: dict[str, Points], low: float, high: float) -> str:
    x, y = Scale("log", low, high, 46.0, 234.0), Scale("log", low, high, 200.0, 6.0)
    line = f'<path d="M{x(low):.1f} {y(low):.1f}L{x(high):.1f} {y(high):.1f}" stroke="{GREY}" stroke-width=".8"/>'
    marks = [_mark(kind, x(a), y(b), 2.2) for kind, own in points.items() for a, b in own]
    return _plot(x, y, [line, *marks], power_of_ten)


def _mark(kind: str, x: float, y: float, size: float) -> str:
    colour = LOOKS[kind]
    if kind == "mean":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:g}" fill="{colour}" fill-opacity=".55"/>'
    ends = f"M{x - size:.1f} {y - size:.1f}L{x + size:.1f} {y + size:.1f}M{x - size:.1f} {y + size:.1f}L{x + size:.1f} "
    return f'<path d="{ends}{y - size:.1f}" stroke="{colour}" stroke-opacity=".7"/>'


def _finding(result: EdgeEffects, words: Words) -> str:
    first = [row["spearman"] for row in result.calibration if row["to"] == result.to[0] and row["spearman"] is not None]
    claim = words("claim_nothing")
    if first:
        claim = words("claim", sections=len(first), low=f"{min(first):.2f}", high=f"{max(first):.2f}")
        claim = claim.replace("-", "−")
    least = 1 / (result.info.get("controls", 0) + 1)
    beyond = sum(row["p_random"] <= least + 1e-9 for row in result.tested)
    told = paragraph(words("beyond", tested=len(result.tested), beyond=beyond)) if result.tested else ""
    return paragraph(claim, "claim") + told


def _two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def _sections(result: EdgeEffects, words: Words) -> str:
    def cells(row: Any) -> Iterator[Cell]:
        yield Cell(words(f"to_{row['to']}"))
        yield number(f"{row['pairs']:,}")
        yield number(_two(row["spearman"]))
        yield number("–" if row["low"] is None else f"{_two(row['low'])} … {_two(row['high'])}")
        yield number(_two(row["within"]))
        yield number("–" if row["ratio"] is None else quantity(row["ratio"]))

    heads = {"section": False, "to": False} | dict.fromkeys(
        ("pairs", "spearman", "interval_95", "within", "ratio"), True
    )
    names = list(dict.fromkeys(row["section"] for row in result.calibration))[:MOST]
    groups = [Group(name, [list(cells(row)) for row in result.calibration if row["section"] == name]) for name in names]
    return table("sections", heads, groups, words) + paragraph(words("sections_note"), "note")


def _tested(result: EdgeEffects, words: Words) -> str:
    if not result.tested:
        return paragraph("–")
    shown = result.tested[:MOST]
    names = list(dict.fromkeys((row["source"], row["target"]) for row in shown))
    groups = [
        Group(" → ".join(name), [list(_row(row, words)) for row in shown if (row["source"], row["target"]) == name])
        for name in names
    ]
    keys = (
        "strength",
        "measured",
        "interval_95",
        "random",
        "p_random",
        "path",
        "path_interval",
        "p_path",
        "p_random_path",
    )
    heads = {"edge": False, "to": False} | dict.fromkeys(keys, True)
    note = paragraph(words("tested_note", metric=words.named("metric", result.metric)), "note")
    more = paragraph(words("more", shown=MOST, total=len(result.tested)), "note") if len(result.tested) > MOST else ""
    return table("tested", heads, groups, words) + note + more


def _row(row: Any, words: Words) -> Iterator[Cell]:
    yield Cell(words(f"to_{row['to']}"))
    yield number(_short(row["edge"]))
    yield number(_short(row["measured"]))
    yield number(_between(row["measured_low"], row["measured_high"]))
    yield number(_short(row["random"]))
    yield number(f"{row['p_random']:.3f}")
    yield number(_short(row["path"]))
    yield number(_between(row["path_low"], row["path_high"]))
    yield number(f"{row['p_path']:.2g}")
    yield number(f"{row['p_random_path']:.3f}")


def _short(value: float) -> str:
    return "–" if not math.isfinite(value) else quantity(value).replace("-", "−")


def _between(low: float, high: float) -> str:
    return f"{_short(low)} … {_short(high)}" if math.isfinite(low) and math.isfinite(high) else "–"


def _limits(_: EdgeEffects, words: Words) -> str:
    return "".join(paragraph(words(key)) for key in ("limit_1", "limit_2"))
