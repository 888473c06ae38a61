"""The layered graph as a matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..graphs import InteractionGraph
from .canvas import FAINT, GREY, INK, NEGATIVE, NODE, POSITIVE, WIDTH, drawing, fit_name, new_figure
from .layout import MAX_FEATURES, Arrangement, Edge, Node, arrange
from .numbers import percent, quantity
from .words import Words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW, HEAD, FOOT, LEGEND, SIDE, GAP = 15.0, 40.0, 36.0, 46.0, 84.0, 158.0
LABEL = 24.0
"""Points: height of a row, of the names above and the counts below, width of the margins, least and label widths."""

Dash = tuple[float, tuple[float, ...]]
DASHED: Dash = (0.0, (4.0, 2.0))


@dataclass(frozen=True)
class _Frame:
    """Points on the figure for the layout's columns and rows."""

    layout: Arrangement
    width: float
    height: float
    gap: float
    shift: float

    def x(self, column: float) -> float:
        return self.width / 2 + (column - (len(self.layout.columns) - 1) / 2) * self.gap

    def y(self, row: float) -> float:
        return HEAD + self.shift + row * ROW

    @property
    def bottom(self) -> float:
        return self.y(max(self.layout.rows, 4.0))


def draw_graph(
    graph: InteractionGraph,
    *,
    masks: Mapping[str, Tensor] | None = None,
    max_features: int | None = MAX_FEATURES,
    max_edges: int | None = None,
    lang: str = "en",
) -> Figure:
    """Draw sites as columns, features as dots, interactions as lines between them.

    Blue solid lines push the target up on average, magenta dashed lines down; width follows the square root of the
    strength, the dot's area the square root of the importance, each relative to the largest of its section or site.
    What is not drawn is counted under the picture.

    Args:
        graph: the graph.
        masks: draw exactly these edges; give `EdgeAblation.masks` for the edges needed at the stated loss.
        max_features: features per site, the most important first; None draws all.
        max_edges: edges per section, the strongest first; None: 60, or all edges of a mask.
        lang: ``"en"`` or ``"ja"``.
    """
    words = Words(lang, "figures")
    layout = arrange(graph, masks=masks, max_features=max_features, max_edges=max_edges)
    gaps = max(1, len(layout.columns) - 1)
    gap = min(380.0, max(GAP, (WIDTH - 2 * SIDE) / gaps))
    width = max(float(WIDTH), 2 * SIDE + gap * (len(layout.columns) - 1))
    shift = 11.0 * max((fit_name(c.site, _room(gap)).count("\n") for c in layout.columns), default=0)
    height = HEAD + shift + max(layout.rows, 4.0) * ROW + FOOT + LEGEND
    frame = _Frame(layout, width, height, gap, shift)
    with drawing(lang):
        figure = new_figure(width, height)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        _draw_edges(axes, frame)
        _draw_nodes(axes, frame, words)
        _draw_names(axes, frame, words)
        _draw_legend(axes, frame, words)
    return figure


def _room(gap: float) -> int:
    """Characters of a site's name that fit above its column."""
    return int((min(gap, 2 * SIDE) - 8) / 5.4)


def _ends(frame: _Frame) -> dict[tuple[int, int], Node]:
    return {(n.column, n.index): n for n in frame.layout.nodes}


def _draw_edges(axes: Axes, frame: _Frame) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    node = _ends(frame)
    codes = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
    for k, edge in enumerate(sorted(frame.layout.edges, key=lambda e: (e.relative, -e.source, -e.target))):
        a, b = node[edge.section, edge.source], node[edge.section + 1, edge.target]
        start = frame.x(a.column) + (_radius(a) if a.column == 0 else LABEL)
        end = frame.x(b.column) - _radius(b)
        bend = (end - start) * 0.42
        points = [(start, frame.y(a.y)), (start + bend, frame.y(a.y)), (end - bend, frame.y(b.y)), (end, frame.y(b.y))]
        patch = PathPatch(Path(points, codes), fill=False, capstyle="butt", zorder=1, clip_on=False, **_stroke(edge))
        patch.set_gid(f"edge{k}")
        patch.set_label(_edge_title(frame.layout, edge))
        axes.add_artist(patch)


def _stroke(edge: Edge) -> dict[str, Any]:
    strong = max(0.0, edge.relative) ** 0.5
    return {
        "edgecolor": NEGATIVE if edge.signed < 0 else POSITIVE,
        "linestyle": DASHED if edge.signed < 0 else "-",
        "linewidth": round(0.6 + 3.6 * strong, 2),
        "alpha": round(0.45 + 0.45 * strong, 2),
    }


def _edge_title(layout: Arrangement, edge: Edge) -> str:
    section = layout.sections[edge.section]
    ends = f"{section.source}:{edge.source} → {section.target}:{edge.target}"
    return f"{ends} · {quantity(edge.strength)} ({'−' if edge.signed < 0 else '+'})"


def _radius(node: Node) -> float:
    return 2.0 + 4.2 * node.relative**0.25


def _draw_nodes(axes: Axes, frame: _Frame, words: Words) -> None:
    from matplotlib.patches import Circle

    for k, node in enumerate(frame.layout.nodes):
        x, y = frame.x(node.column), frame.y(node.y)
        dot = Circle(
            (x, y),
            round(_radius(node), 2),
            zorder=3,
            edgecolor=NODE,
            facecolor=NODE if node.linked else "white",
            linewidth=0.9,
            clip_on=False,
        )
        dot.set_gid(f"node{k}")
        dot.set_label(f"{node.id} · {words('importance')} {quantity(node.importance)} ({percent(node.share)})")
        axes.add_artist(dot)
        left = node.column == 0 and len(frame.layout.columns) > 1
        axes.text(
            x - 9 if left else x + 9, y, str(node.index), ha="right" if left else "left", va="center_baseline",
            fontsize=7, color=GREY, zorder=4,
        )  # fmt: skip


def _draw_names(axes: Axes, frame: _Frame, words: Words) -> None:
    for column in frame.layout.columns:
        x = frame.x(column.x)
        for up, line in enumerate(reversed(fit_name(column.site, _room(frame.gap)).split("\n"))):
            axes.text(x, 11 - 11 * up + frame.shift, line, ha="center", va="baseline", fontsize=8.5)
        count = words("fig_features", shown=column.shown, total=column.total)
        axes.text(x, 22 + frame.shift, count, ha="center", va="baseline", fontsize=7.5, color=GREY)
    for at, section in enumerate(frame.layout.sections):
        x = (frame.x(at) + frame.x(at + 1)) / 2
        key = "fig_edges" if section.needed is None else "fig_edges_needed"
        count = words(key, shown=section.shown, total=section.total, needed=section.needed)
        axes.text(x, frame.bottom + 16, count, ha="center", va="center", fontsize=7.5, color=INK)
        share = words("fig_share", share=percent(section.share))
        axes.text(x, frame.bottom + 27, share, ha="center", va="center", fontsize=7.5, color=GREY)


def _draw_legend(axes: Axes, frame: _Frame, words: Words) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle

    top = frame.bottom + FOOT + 14
    axes.add_line(Line2D([12, frame.width - 12], [top - 14] * 2, color=FAINT, linewidth=0.7))
    left = 30.0
    spots = [(left + 230 * (k % 3), top + 17 * (k // 3)) for k in range(5)]
    for spot, key in zip(spots, ("positive", "negative", "strength", "size", "hollow"), strict=True):
        axes.text(spot[0] + 38, spot[1], words(f"legend_{key}"), va="center", fontsize=8, color=INK)

    def line(spot: tuple[float, float], up: float, **style: Any) -> None:
        axes.add_line(Line2D([spot[0], spot[0] + 30], [spot[1] + up] * 2, **style))

    line(spots[0], 0, color=POSITIVE, linewidth=2)
    line(spots[1], 0, color=NEGATIVE, linewidth=2, linestyle=DASHED)
    line(spots[2], -3, color=GREY, linewidth=0.7)
    line(spots[2], 3, color=GREY, linewidth=3.5)
    for spot, shift, radius, filled in (
        (spots[3], 8, 2.4, True),
        (spots[3], 21, 6.2, True),
        (spots[4], 15, 4.2, False),
    ):
        face = NODE if filled else "white"
        axes.add_artist(Circle((spot[0] + shift, spot[1]), radius, facecolor=face, edgecolor=NODE, linewidth=0.9))
