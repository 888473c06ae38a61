"""Spectra and ablation curves as matplotlib figures: one panel per site or section, one line per method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import OptionError
from .canvas import GREY, INK, WIDTH, drawing, fit_name, new_figure, power_of_ten
from .grid import Grid
from .series import Series, metric_name, score, section_name, series_of
from .words import texts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..ablation.results import Curve, EdgeAblation, NodeAblation
    from ..basis import SiteBasis
    from ..graphs.graph import InteractionGraph

MAX_PANELS = 24
"""Panels per figure; a title line counts the rest."""

MAX_RANKS = 256
CLOSE_UP = (-1.5, 4.5)
"""The close-up ends this many allowed drops above and below the base score."""


def draw_spectra(graphs: Sequence[InteractionGraph], *, lang: str = "en") -> Figure:
    """Importances per site against their rank, each method's divided by its largest, on logarithmic axes.

    Importances of different methods have different units (LIB's measure the effect downstream, PCA's the variance), so
    only the shapes compare. The legend of each panel says how many directions were kept after the rank cut.

    Args:
        graphs: one graph per method.
        lang: ``"en"`` or ``"ja"``.
    """
    series = series_of(graphs, lang)
    names = list(dict.fromkeys(name for graph in graphs for name in graph.sites))
    spectra = [_falling(site) for graph in graphs for site in graph.basis]
    widest = max((len(values) for values in spectra), default=1)
    lowest = min((float(values[-1] / values[0]) for values in spectra if len(values)), default=0.1)
    lowest = max(min(lowest, 0.1), 1e-300)

    def panel(axes: tuple[Axes, Axes | None], name: str) -> None:
        for s in reversed(series):
            if name in s.result.sites:
                _spectrum(axes[0], s, s.result.basis[name], lang)
        axes[0].set(xscale="log", yscale="log", xlim=(0.9, widest * 1.15), ylim=(lowest / 3, 2))
        _logarithmic(axes[0].xaxis)
        _logarithmic(axes[0].yaxis)

    words = texts(lang)
    labels = (words["axis_rank"], words["axis_importance"])
    return _panels(names, panel, labels=labels, lang=lang, entries=[], keys=len(series))


def draw_edge_curves(edge_ablations: Sequence[EdgeAblation], *, sites: Sequence[str] = (), lang: str = "en") -> Figure:
    """Score against the number of edges kept, per section; below it a close-up of the allowed drop.

    Filled markers stand at ``edges_required``, hollow ones at ``edges_required_stable``.

    Args:
        edge_ablations: one per method; they must share metric, base score direction and sections may differ.
        sites: all sites in the model's order, to name the end of each section.
        lang: ``"en"`` or ``"ja"``.
    """
    _one_metric(edge_ablations)
    series = series_of(edge_ablations, lang)
    names = list(dict.fromkeys(name for r in edge_ablations for name in r.curves))

    def panel(axes: tuple[Axes, Axes | None], name: str) -> None:
        members = [m for m in series if name in m.result.curves]
        for axis in filter(None, axes):
            for s in reversed(members):
                _edge_curve(axis, s, name, lang)
                if axis is axes[-1] or axes[1] is None:
                    _edge_markers(axis, s, name)
            _reference_lines(axis, edge_ablations[0].base_score, _limit(edge_ablations[0]))
        axes[0].set_xlim(0, 1.1 * max((max(m.result.curves[name], default=1) for m in members), default=1))
        _zoom(axes[1], edge_ablations[0], _window(members, name))

    words = texts(lang)
    labels = (words["axis_edges"], metric_name(edge_ablations, lang))
    entries = [*_reference_entries(lang, allowed=True), *_marker_entries(lang)]
    close_up = bool(edge_ablations) and edge_ablations[0].max_drop > 0
    title = _titles(sites)
    return _panels(
        names, panel, labels=labels, lang=lang, entries=entries, keys=len(series), close_up=close_up, title=title
    )


def draw_node_curves(node_ablations: Sequence[NodeAblation], *, lang: str = "en") -> Figure:
    """Score against the number of features kept, per site, the most important first.

    Args:
        node_ablations: one per method.
        lang: ``"en"`` or ``"ja"``.
    """
    _one_metric(node_ablations)
    series = series_of(node_ablations, lang)
    names = list(dict.fromkeys(name for r in node_ablations for name in r.curves))

    def panel(axes: tuple[Axes, Axes | None], name: str) -> None:
        for s in reversed(series):
            if name in s.result.curves:
                _curve(axes[0], s, s.result.curves[name], "_")
        _reference_lines(axes[0], node_ablations[0].base_score, None)

    words = texts(lang)
    labels = (words["axis_features"], metric_name(node_ablations, lang))
    entries = [*_series_entries(series), *_reference_entries(lang, allowed=False)]
    return _panels(names, panel, labels=labels, lang=lang, entries=entries)


def _one_metric(results: Sequence[Any]) -> None:
    metrics = sorted({r.metric for r in results})
    if len(metrics) > 1:
        raise OptionError(f"The ablations measure {metrics}; one picture shows one metric, so draw them apart.")


def _titles(sites: Sequence[str]) -> Callable[[str], str]:
    return lambda name: section_name(name, sites)


def _spectrum(axes: Axes, series: Series, site: SiteBasis, lang: str) -> None:
    values = _falling(site)
    ranks = _ranks(len(values))
    heights = values[ranks - 1] / values[0] if len(values) else values
    label = texts(lang)["fig_kept"].format(method=series.label, kept=f"{site.k:,}", total=f"{site.d:,}")
    style = {**series.style, "marker": None}
    axes.plot(ranks.tolist(), heights.tolist(), label=label, **style)
    if len(values):
        axes.plot([len(values)], [float(heights[-1])], **{**series.style, "linestyle": "none"}, markersize=4)


def _falling(site: SiteBasis) -> Tensor:
    """The positive importances, largest first."""
    values = torch.sort(site.importances.double().cpu(), descending=True).values
    return values[values > 0]


def _ranks(count: int) -> Tensor:
    """All ranks, or for a long spectrum ``MAX_RANKS`` of them, geometrically spread, with the first and the last."""
    if count <= MAX_RANKS:
        return torch.arange(1, count + 1)
    return torch.logspace(0, torch.log10(torch.tensor(float(count))), MAX_RANKS).round().long().clamp(1, count).unique()


def _curve(axes: Axes, series: Series, curve: Curve, label: str) -> None:
    axes.plot(curve.counts, curve.scores, label=label, **series.style, markersize=2.2)
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.set_xlim(left=0)
    _logarithmic(axes.xaxis)


def _edge_curve(axes: Axes, series: Series, name: str, lang: str) -> None:
    result: EdgeAblation = series.result
    required, stable = result.edges_required.get(name), result.edges_required_stable.get(name)
    label = texts(lang)["fig_required"].format(method=series.label, required=_count(required), stable=_count(stable))
    _curve(axes, series, result.curves[name], label)


def _edge_markers(axes: Axes, series: Series, name: str) -> None:
    result: EdgeAblation = series.result
    counts = ((result.edges_required_stable, "white"), (result.edges_required, series.style["color"]))
    for counted, face in counts:
        count = counted.get(name)
        if count is not None and count in result.curves[name]:
            look = {"marker": series.style["marker"], "color": series.style["color"], "markerfacecolor": face}
            axes.plot([count], [result.curves[name][count]], linestyle="none", markersize=6, zorder=5, **look)


def _window(members: Sequence[Series], name: str) -> tuple[float, float]:
    """The counts the close-up shows: around the numbers needed, or all where none passes."""
    results = [m.result for m in members]
    counts = [c for r in results for d in (r.edges_required, r.edges_required_stable) if (c := d.get(name)) is not None]
    most = max((max(r.curves[name], default=1) for r in results), default=1)
    return (min(counts) / 2.5, min(max(counts) * 2.5, most * 1.1)) if counts and max(counts) > 0 else (0.0, most * 1.1)


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _limit(result: EdgeAblation) -> float:
    """The worst score that still passes."""
    return result.base_score - result.max_drop * (1 if result.higher_is_better else -1)


def _reference_lines(axes: Axes, base: float, limit: float | None) -> None:
    axes.axhline(base, color=INK, linewidth=0.7, zorder=0)
    if limit is not None:
        axes.axhline(limit, color=GREY, linewidth=0.9, linestyle=(0, (1, 2)), zorder=0)


def _zoom(axes: Axes | None, result: EdgeAblation, window: tuple[float, float]) -> None:
    """Show the counts of the window and the scores around the allowed band, ticks at its two ends."""
    if axes is None:
        return
    base, limit = result.base_score, _limit(result)
    axes.set_ylim(*sorted((base + CLOSE_UP[0] * (limit - base), base + CLOSE_UP[1] * (limit - base))))
    axes.set_yticks([base, limit], [score(base, result.max_drop), score(limit, result.max_drop)])
    axes.axhspan(min(limit, base), max(limit, base), color="#e4dff0", zorder=-1, linewidth=0)
    left, right = window
    axes.set_xlim(left, right)
    if left > 0:
        axes.set_xscale("log")
        ticks = [c for p in range(10) for m in (1, 2, 5) if left <= (c := m * 10**p) <= right]
        axes.set_xticks(ticks, [f"{c:,}" for c in ticks])
        axes.minorticks_off()


def _logarithmic(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator, SymmetricalLogLocator

    symlog = axis.get_scale() == "symlog"
    locator = SymmetricalLogLocator(base=10, linthresh=1) if symlog else LogLocator(base=10, numticks=6)
    axis.set_major_locator(locator)
    axis.set_major_formatter(FuncFormatter(power_of_ten))
    axis.set_minor_formatter(NullFormatter())
    axis.set_minor_locator(NullLocator())


def _series_entries(series: Sequence[Series]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [Line2D([], [], label=s.label, markersize=4, **s.style) for s in series]


def _reference_entries(lang: str, *, allowed: bool) -> list[Any]:
    from matplotlib.lines import Line2D

    words = texts(lang)
    lines = [Line2D([], [], color=INK, linewidth=0.7, label=words["legend_base"])]
    if allowed:
        lines.append(Line2D([], [], color=GREY, linewidth=0.9, linestyle=(0, (1, 2)), label=words["legend_allowed"]))
    return lines


def _marker_entries(lang: str) -> list[Any]:
    from matplotlib.lines import Line2D

    words = texts(lang)
    look = {"linestyle": "none", "marker": "o", "color": GREY, "markersize": 6}
    return [
        Line2D([], [], label=words["legend_required"], **look),
        Line2D([], [], label=words["legend_stable"], markerfacecolor="white", **look),
    ]


def _panels(
    names: list[str],
    panel: Callable[[tuple[Axes, Axes | None], str], None],
    *,
    labels: tuple[str, str],
    lang: str,
    entries: list[Any],
    keys: int = 0,
    close_up: bool = False,
    title: Callable[[str], str] = str,
) -> Figure:
    """A grid of panels that share their labels and one legend; ``keys`` lines of each panel are named in it."""
    if not names:
        raise OptionError("There is nothing to draw: give at least one result with one site.")
    shown = names[:MAX_PANELS]
    columns = min(len(shown), 4 if len(shown) in (4, 7, 8, 11, 12) or len(shown) > 12 else 3)
    many = len(shown) < len(names)
    titles = [fit_name(title(name), Grid.room(columns)) for name in shown]
    lines = max(text.count("\n") + 1 for text in titles)
    grid = Grid(columns, len(shown), close_up=close_up, lines=lines, legend=-(-len(entries) // 3), note=many, keys=keys)
    with drawing(lang):
        figure = new_figure(WIDTH, grid.height)
        for k, name in enumerate(shown):
            axes = grid.axes(figure, k)
            panel(axes, name)
            axes[0].set_title(titles[k], loc="left", linespacing=1.15, pad=grid.pad)
            _panel_legend(axes[0])
            grid.label(axes, k, labels, texts(lang)["axis_close_up"])
        if entries:
            figure.legend(
                handles=entries, loc="lower center", ncols=min(len(entries), 3), columnspacing=2.5, handlelength=3
            )
        if many:
            rest = texts(lang)["fig_panels"].format(shown=f"{len(shown):,}", total=f"{len(names):,}")
            figure.text(0.5, 1 - 8 / grid.height, rest, ha="center", va="center", color=GREY, fontsize=8)
    return figure


def _panel_legend(axes: Axes) -> None:
    """The panel's own lines, between its title and the curves, where nothing can run through them."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles[::-1], labels[::-1], loc="lower left", bbox_to_anchor=(0, 1), fontsize=7, handlelength=3,
            borderpad=0, borderaxespad=0.5, labelspacing=0.3,
        )  # fmt: skip
