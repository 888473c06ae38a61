"""Figures of a comparison of bases: what each needs, with intervals, and what its features recover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..evaluate import Sensitivity
from .canvas import GREY, INK, WIDTH, drawing, fit_name, new_figure
from .numbers import power_of_ten
from .series import method_label, series_styles
from .words import Words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WORDS = Words("en", "figures")
KINDS = {"edges": ("section", "edges required (stable)"), "nodes": ("site", "features required (stable)")}


def draw_needed(summary: Mapping[str, Any], kind: str = "edges") -> Figure:
    """Counts needed per section (``"edges"``) or site (``"nodes"``), one row per method, with bootstrap intervals.

    Small marks are the single models, the large one is their mean. A method without a mark never kept the score.

    Args:
        summary: of `libasis.evaluate.summarise`.
        kind: ``"edges"`` or ``"nodes"``.
    """
    key, label = KINDS[kind]
    rows = summary[kind]
    places = list(dict.fromkeys(row[key] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    styles = dict(zip(methods, series_styles(methods), strict=True))
    with drawing():
        height = 18 * len(methods) + 24
        figure = new_figure(WIDTH, 34 + height * len(places))
        grid = figure.subplots(len(places), 1, sharex=True, squeeze=False)[:, 0]
        for axes, place in zip(grid, places, strict=True):
            found = {row["method"]: row for row in rows if row[key] == place}
            _needed(axes, found, methods, styles)
            title = f"{place} → {next(iter(found.values()))['to']}" if kind == "edges" else place
            axes.set_title(fit_name(title, 70), loc="left", color=INK)
        grid[-1].set_xlabel(label)
        figure.subplots_adjust(
            left=0.2, right=0.97, top=1 - 20 / (34 + height * len(places)), bottom=30 / (34 + height * len(places)),
            hspace=26 / (height - 26),
        )  # fmt: skip
    return figure


def _needed(axes: Axes, rows: Mapping[str, Any], methods: Sequence[str], styles: Mapping[str, Any]) -> None:
    for y, method in enumerate(methods):
        row = rows.get(method)
        if row is None or row["mean"] is None:
            continue
        colour, marker = styles[method]["color"], styles[method]["marker"]
        high = row["high"] if row["high"] is not None else axes.get_xlim()[1]
        if row["low"] is not None:
            axes.plot([max(row["low"], 0.5), high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
        if len(row["counts"]) > 1:
            axes.plot(row["counts"], [y] * len(row["counts"]), linestyle="none", marker="|", color=colour, markersize=6)
        axes.plot([row["mean"]], [y], linestyle="none", marker=marker, color=colour, markersize=6)
    axes.set(xscale="log", ylim=(len(methods) - 0.5, -0.5))
    axes.set_yticks(range(len(methods)), [method_label(m, WORDS) for m in methods])
    axes.xaxis.set_major_formatter(power_of_ten)
    axes.grid(axis="x", color="#eceaf1", linewidth=0.6)
    axes.tick_params(axis="y", length=0)


def draw_recovered(summary: Mapping[str, Any]) -> Figure:
    """The share of the score that the most important features recover, per site, of the first model."""
    rows = [row for row in summary["nodes"] if first(row["recovered"])]
    places = list(dict.fromkeys(row["site"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    styles = dict(zip(methods, series_styles(methods), strict=True))
    columns = min(3, max(len(places), 1))
    lines = -(-len(places) // columns)
    with drawing():
        figure = new_figure(WIDTH, 190 * lines + 30)
        grid = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
        for axes, place in zip(grid, places, strict=False):
            for row in (r for r in rows if r["site"] == place):
                points = first(row["recovered"])["share"]
                axes.plot(
                    [count for count, _ in points],
                    [share for _, share in points],
                    label=method_label(row["method"], WORDS),
                    **{**styles[row["method"]], "marker": None},
                )
            axes.axhline(1, color=GREY, linewidth=0.7)
            axes.set_title(fit_name(place, 30), loc="left", color=INK)
            axes.set(xlabel="features kept", ylim=(-0.05, 1.05))
        for axes in grid[len(places) :]:
            axes.set_visible(False)
        grid[0].set_ylabel("share of the score recovered")
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=len(labels))
        figure.tight_layout(rect=(0, 28 / (190 * lines + 30), 1, 1))
    return figure


def draw_sensitivity(result: Sensitivity) -> Figure:
    """The largest change of an importance by threshold, sample size and seed, one line per site.

    Solid lines are of the leading features (99% of the importance), dotted ones of all features kept in both fits.
    """
    titles = {"threshold": "times the automatic threshold", "samples": "share of the samples", "seed": "half, by seed"}
    sites = list(dict.fromkeys(row["site"] for row in result.fits))
    looks = series_styles([f"site {i}" for i in range(len(sites))])
    colours = dict(zip(sites, (look["color"] for look in looks), strict=True))
    with drawing():
        figure = new_figure(WIDTH, 260)
        for axes, (varied, title) in zip(figure.subplots(1, 3, sharey=True), titles.items(), strict=True):
            for site in sites:
                rows = [r for r in result.fits if r["varied"] == varied and r["site"] == site]
                x = [row["value"] for row in rows]
                for key, line in (("change_leading", "-"), ("change", ":")):
                    y = [max(row[key], 1e-16) for row in rows]
                    axes.plot(x, y, line, marker=".", color=colours[site], label=site if key != "change" else None)
            axes.axhline(0.01, color=GREY, linewidth=0.7)
            axes.set(yscale="log", xlabel=title)
            axes.yaxis.set_major_formatter(power_of_ten)
            if varied != "seed":
                axes.set_xscale("log")
                axes.xaxis.set_major_formatter(power_of_ten)
        figure.axes[0].set_ylabel("largest relative change of an importance")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=len(labels))
        figure.tight_layout(rect=(0, 0.1, 1, 1))
    return figure


def first(value: Any) -> Any:
    """Of several models the first one's."""
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else value
