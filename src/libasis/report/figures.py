"""Spectra and ablation curves as matplotlib figures: one panel per site or section, one line per method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..ablation import Curve, EdgeAblation, NodeAblation
from ..basis import SiteBasis
from ..errors import OptionError
from ..graphs import InteractionGraph
from .canvas import GREY, INK, WIDTH, drawing, fit_name, new_figure
from .curves import (
    MAX_PANELS,
    close_up_counts,
    close_up_scores,
    falling,
    names_of,
    round_counts,
    thinned,
    worst_passing,
)
from .grid import Grid
from .numbers import power_of_ten, score
from .series import Series, section_name, series_of
from .words import Words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BASE: dict[str, Any] = {"color": INK, "linewidth": 0.7}
ALLOWED: dict[str, Any] = {"color": GREY, "linewidth": 0.9, "linestyle": (0, (1, 2))}
MARKER: dict[str, Any] = {"linestyle": "none", "marker": "o", "color": GREY, "markersize": 6}
"""Looks of the base score, of the worst allowed one, and of the counts needed."""

Pair = tuple["Axes", "Axes | None"]
"""A panel and its close-up."""


def draw_spectra(graphs: Sequence[InteractionGraph], *, lang: str = "en") -> Figure:
    """Importances per site against their rank, each method's divided by its largest, on logarithmic axes.

    Importances of different methods have different units (LIB's measure the effect downstream, PCA's the variance), so
    only the shapes compare. The legend of each panel says how many directions were kept after the rank cut.

    Args:
        graphs: one graph per method.
        lang: ``"en"`` or ``"ja"``.
    """
    words, series = Words(lang, "figures"), series_of(graphs)
    names = list(dict.fromkeys(name for graph in graphs for name in graph.sites))
    spectra = [points for graph in graphs for site in graph.basis if (points := falling(site.importances))]
    widest = max(map(len, spectra), default=1)
    lowest = max(min([0.1, *(points[-1][1] for points in spectra)]), 1e-300)

    def panel(axes: Pair, name: str) -> None:
        for s in reversed(series):
            if name in s.result.sites:
                _spectrum(axes[0], s, s.result.basis[name], words)
        axes[0].set(xscale="log", yscale="log", xlim=(0.9, widest * 1.15), ylim=(lowest / 3, 2))
        _logarithmic(axes[0].xaxis)
        _logarithmic(axes[0].yaxis)

    return _panels(names, panel, words, labels=(words("axis_rank"), words("axis_importance")), keys=len(series))


def draw_edge_curves(edge_ablations: Sequence[EdgeAblation], *, sites: Sequence[str] = (), lang: str = "en") -> Figure:
    """Score against the number of edges kept, per section; below it a close-up of the allowed drop.

    Filled markers stand at ``edges_required``, hollow ones at ``edges_required_stable``.

    Args:
        edge_ablations: one per method; they must share metric, base score direction and sections may differ.
        sites: all sites in the model's order, to name the end of each section.
        lang: ``"en"`` or ``"ja"``.
    """
    words, series, metric = Words(lang, "figures"), series_of(edge_ablations), _one_metric(edge_ablations)

    def panel(axes: Pair, name: str) -> None:
        members = [m for m in series if name in m.result.curves]
        for axis in filter(None, axes):
            for s in reversed(members):
                _edge_curve(axis, s, name, words)
                if axis is axes[-1] or axes[1] is None:
                    _edge_markers(axis, s, name)
            _reference_lines(axis, edge_ablations[0].base_score, worst_passing(edge_ablations[0]))
        axes[0].set_xlim(0, 1.1 * max((max(m.result.curves[name], default=1) for m in members), default=1))
        _zoom(axes[1], edge_ablations[0], close_up_counts([m.result for m in members], name))

    return _panels(
        names_of(edge_ablations),
        panel,
        words,
        labels=(words("axis_edges"), words.named("metric", metric)),
        entries=[
            _entry(words("legend_base"), **BASE),
            _entry(words("legend_allowed"), **ALLOWED),
            _entry(words("legend_required"), **MARKER),
            _entry(words("legend_stable"), markerfacecolor="white", **MARKER),
        ],
        keys=len(series),
        close_up=bool(edge_ablations) and edge_ablations[0].max_drop > 0,
        title=lambda name: section_name(name, sites),
    )


def draw_node_curves(node_ablations: Sequence[NodeAblation], *, lang: str = "en") -> Figure:
    """Score against the number of features kept, per site, the most important first.

    Args:
        node_ablations: one per method.
        lang: ``"en"`` or ``"ja"``.
    """
    words, series, metric = Words(lang, "figures"), series_of(node_ablations), _one_metric(node_ablations)

    def panel(axes: Pair, name: str) -> None:
        for s in reversed(series):
            if name in s.result.curves:
                _curve(axes[0], s, s.result.curves[name], "_")
        _reference_lines(axes[0], node_ablations[0].base_score, None)

    labels = (words("axis_features"), words.named("metric", metric))
    entries = [_entry(s.label(words), markersize=4, **s.style) for s in series]
    entries.append(_entry(words("legend_base"), **BASE))
    return _panels(names_of(node_ablations), panel, words, labels=labels, entries=entries)


def _one_metric(results: Sequence[EdgeAblation] | Sequence[NodeAblation]) -> str:
    metrics = sorted({r.metric for r in results})
    if len(metrics) > 1:
        raise OptionError(f"The ablations measure {metrics}; one picture shows one metric, so draw them apart.")
    return metrics[0] if metrics else ""


def _spectrum(axes: Axes, series: Series, site: SiteBasis, words: Words) -> None:
    points = falling(site.importances)
    label = words("fig_kept", method=series.label(words), kept=site.k, total=site.d)
    axes.plot(*_columns(thinned(points)), label=label, **{**series.style, "marker": None})
    axes.plot(*_columns(points[-1:]), **{**series.style, "linestyle": "none"}, markersize=4)


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _curve(axes: Axes, series: Series, curve: Curve, label: str) -> None:
    axes.plot(curve.counts, curve.scores, label=label, **series.style, markersize=2.2)
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.set_xlim(left=0)
    _logarithmic(axes.xaxis)


def _edge_curve(axes: Axes, series: Series, name: str, words: Words) -> None:
    result: EdgeAblation = series.result
    required, stable = (counts.get(name) for counts in (result.edges_required, result.edges_required_stable))
    counts = {key: "–" if count is None else count for key, count in (("required", required), ("stable", stable))}
    _curve(axes, series, result.curves[name], words("fig_required", method=series.label(words), **counts))


def _edge_markers(axes: Axes, series: Series, name: str) -> None:
    result: EdgeAblation = series.result
    counts = ((result.edges_required_stable, "white"), (result.edges_required, series.style["color"]))
    for counted, face in counts:
        count = counted.get(name)
        if count is not None and count in result.curves[name]:
            look = {"marker": series.style["marker"], "color": series.style["color"], "markerfacecolor": face}
            axes.plot([count], [result.curves[name][count]], linestyle="none", markersize=6, zorder=5, **look)


def _reference_lines(axes: Axes, base: float, limit: float | None) -> None:
    axes.axhline(base, **BASE, zorder=0)
    if limit is not None:
        axes.axhline(limit, **ALLOWED, zorder=0)


def _zoom(axes: Axes | None, result: EdgeAblation, window: tuple[float, float]) -> None:
    """Show the counts of the window and the scores around the allowed band, ticks at its two ends."""
    if axes is None:
        return
    base, limit = result.base_score, worst_passing(result)
    axes.set_ylim(*close_up_scores(result))
    axes.set_yticks([base, limit], [score(base, result.max_drop), score(limit, result.max_drop)])
    axes.axhspan(min(limit, base), max(limit, base), color="#e4dff0", zorder=-1, linewidth=0)
    axes.set_xlim(*window)
    axes.set_xscale("log")
    ticks = round_counts(*window)
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


def _entry(label: str, **look: Any) -> Any:
    """A line of the legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **look)


def _panels(
    names: list[str],
    panel: Callable[[Pair, str], None],
    words: Words,
    *,
    labels: tuple[str, str],
    entries: Sequence[Any] = (),
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
    with drawing(words.lang):
        figure = new_figure(WIDTH, grid.height)
        for k, name in enumerate(shown):
            axes = grid.axes(figure, k)
            panel(axes, name)
            axes[0].set_title(titles[k], loc="left", linespacing=1.15, pad=grid.pad)
            _panel_legend(axes[0])
            grid.label(axes, k, labels, words("axis_close_up"))
        if entries:
            figure.legend(
                handles=entries, loc="lower center", ncols=min(len(entries), 3), columnspacing=2.5, handlelength=3
            )
        if many:
            rest = words("panels_shown", shown=len(shown), total=len(names))
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
