"""The paper the figures are drawn on: matplotlib without pyplot, one style, SVG that is the same every time."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from ..errors import LibasisError, OptionError
from .words import Words, clean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 720
"""Width of a figure in points; the page scales it to its own width."""

INK, GREY, FAINT = "#1d1b26", "#5f5b6b", "#d9d6e0"
POSITIVE, NEGATIVE = "#1a6fd6", "#d41159"
NODE = "#3b3650"

FAMILIES = {
    "en": ["DejaVu Sans"],
    "ja": ["DejaVu Sans", "Noto Sans CJK JP", "Noto Sans JP", "Hiragino Sans", "Yu Gothic", "Meiryo", "IPAexGothic"],
}

STYLE: dict[str, Any] = {
    "font.size": 8.5,
    "axes.edgecolor": "#8f8a9c",
    "axes.labelcolor": INK,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "text.color": INK,
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.color": "#8f8a9c",
    "ytick.color": "#8f8a9c",
    "xtick.labelcolor": GREY,
    "ytick.labelcolor": GREY,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "figure.facecolor": "white",
    "svg.hashsalt": "libasis",
}


class FiguresError(LibasisError, ImportError):
    """Matplotlib, which draws the figures, is not installed."""


@contextmanager
def drawing(lang: str = "en") -> Iterator[None]:
    """Matplotlib's own defaults and our style, whatever the user's are; theirs come back afterwards.

    Raises:
        FiguresError: matplotlib is not installed.
        OptionError: the language is not one of ours.
    """
    Words(lang, "figures")
    try:
        import matplotlib
        from matplotlib import font_manager
    except ImportError as error:
        raise FiguresError(
            "Pictures are drawn with matplotlib, which is missing: pip install 'libasis[figures]'."
        ) from error
    here = set(font_manager.get_font_names()) if lang != "en" else set(FAMILIES["en"])
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*missing from font.*")
        matplotlib.rcdefaults()
        rc: Any = matplotlib.rcParams
        rc.update({**STYLE, "font.family": [name for name in FAMILIES[lang] if name in here]})
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this many points, on no window and no global list."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=144)


def to_svg(figure: Figure, *, text: Literal["text", "paths"] = "text", lang: str = "en") -> str:
    """The figure as an SVG document; the same figure gives the same bytes.

    Args:
        figure: any figure that `draw_graph` and its neighbours return.
        text: ``"text"`` keeps words selectable and in the reader's font, ``"paths"`` looks the same everywhere.
        lang: the language the figure was drawn in.
    """
    import matplotlib

    if text not in ("text", "paths"):
        raise OptionError(f'text is {text!r}; it must be "text" or "paths".')
    buffer = io.StringIO()
    with drawing(lang):
        matplotlib.rcParams["svg.fonttype"] = "none" if text == "text" else "path"
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "libasis"})
    return buffer.getvalue()


def fit_name(name: str, width: int, lines: int = 2) -> str:
    """A name broken at its dots and colons into ``lines`` lines of ``width`` letters, or cut in the middle."""
    name = clean(name)
    room = width * lines
    if len(name) > room:
        head = (room - 1) // 2
        name = f"{name[:head]}…{name[len(name) - (room - 1 - head) :]}"
    out = [""]
    for part in _parts(name, width):
        if out[-1] and len(out[-1]) + len(part) > width and len(out) < lines:
            out.append("")
        out[-1] += part
    return "\n".join(out)


def _parts(name: str, width: int) -> list[str]:
    parts = [""]
    for c in name:
        if len(parts[-1]) >= width:
            parts.append("")
        parts[-1] += c
        if c in ".:_/+- ":
            parts.append("")
    return [p for p in parts if p]
