"""The page to explore a graph in, and figures for papers; only the figures need ``libasis[figures]``.

Nothing here imports matplotlib before a figure is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .canvas import FiguresError, to_svg
    from .diff import write_diff
    from .figures import draw_edge_curves, draw_node_curves, draw_spectra
    from .layout import Layout, arrange
    from .page import notebook_frame, write_page
    from .picture import draw_graph
    from .suggest import suggested_groups

__all__ = [
    "FiguresError",
    "Layout",
    "arrange",
    "draw_edge_curves",
    "draw_graph",
    "draw_node_curves",
    "draw_spectra",
    "notebook_frame",
    "suggested_groups",
    "to_svg",
    "write_diff",
    "write_page",
]

_HOMES = {
    "FiguresError": "canvas",
    "Layout": "layout",
    "arrange": "layout",
    "draw_edge_curves": "figures",
    "draw_graph": "picture",
    "draw_node_curves": "figures",
    "draw_spectra": "figures",
    "notebook_frame": "page",
    "suggested_groups": "suggest",
    "to_svg": "canvas",
    "write_diff": "diff",
    "write_page": "page",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
