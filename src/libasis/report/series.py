"""What several results have in common: the names and looks of their methods, and the names of sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .words import Words

SERIES: dict[str, dict[str, Any]] = {
    "lib": {"color": "#5d3a9b", "linestyle": "-", "marker": "o"},
    "pca": {"color": "#d95700", "linestyle": (0, (5, 2)), "marker": "s"},
    "neuron": {"color": "#00796b", "linestyle": (0, (5, 1.5, 1, 1.5)), "marker": "^"},
    "global": {"color": "#7a6a00", "linestyle": (0, (1.2, 1.4)), "marker": "v"},
    "sparse": {"color": "#1f4e9c", "linestyle": (0, (8, 1.5)), "marker": "D"},
    "random": {"color": "#7d7788", "linestyle": (0, (2.5, 2.5)), "marker": "*"},
}
OTHER: list[dict[str, Any]] = [
    {"color": "#43404f", "linestyle": (0, (7, 2, 1, 2, 1, 2)), "marker": "P"},
    {"color": "#0b7285", "linestyle": (0, (3, 1.2)), "marker": "X"},
    {"color": "#a3195b", "linestyle": (0, (9, 3)), "marker": "p"},
]
"""Colour, line and marker per method: any two differ in all three."""


@dataclass(frozen=True)
class Series:
    """One result with its method and the look of it; a second result of a method has the number 2."""

    method: str
    number: int
    style: dict[str, Any]
    result: Any

    def label(self, words: Words) -> str:
        """The method's name for people."""
        return method_label(self.method, words) + (f" ({self.number})" if self.number > 1 else "")


def method_of(result: Any) -> str:
    """The method of the basis behind a graph or an ablation; empty where nothing says it."""
    basis = getattr(result, "basis", None)
    return str(basis.method if basis is not None else result.info.get("basis", ""))


def method_label(method: str, words: Words) -> str:
    """The method's name for people."""
    return words.named("method", method or "unnamed")


def series_of(results: Sequence[Any]) -> list[Series]:
    """One series per result, in the given order."""
    methods = [method_of(r) for r in results]
    return [
        Series(method, methods[: k + 1].count(method), style, results[k])
        for k, (method, style) in enumerate(zip(methods, series_styles(methods), strict=True))
    ]


def series_styles(methods: Sequence[str]) -> list[dict[str, Any]]:
    """Colour, line and marker of each series; a method that comes twice, or is unknown, gets one of its own."""
    taken: set[str] = set()
    spare = 0
    styles = []
    for method in methods:
        if method in SERIES and method not in taken:
            taken.add(method)
            styles.append(SERIES[method])
        else:
            styles.append(OTHER[spare % len(OTHER)])
            spare += 1
    return styles


def section_name(source: str, sites: Sequence[str]) -> str:
    """A section by both its ends, where the next site is known."""
    position = list(sites).index(source) if source in sites else len(sites)
    return f"{source} → {sites[position + 1]}" if position + 1 < len(sites) else source
