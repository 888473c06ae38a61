"""What several results have in common: the names and looks of their methods, sections and metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .canvas import clean, series_styles
from .words import texts

MAX_DROP = 0.001
"""The allowance of an ablation that states none."""


@dataclass(frozen=True)
class Series:
    """One result with the label and the look of its method."""

    method: str
    label: str
    style: dict[str, Any]
    result: Any


def method_of(result: Any) -> str:
    """The method of the basis behind a graph or an ablation; empty where nothing says it."""
    basis = getattr(result, "basis", None)
    return str(basis.method if basis is not None else result.info.get("basis", ""))


def method_label(method: str, lang: str) -> str:
    """The method's name for people."""
    return texts(lang).get(f"method_{method}") or clean(method) or texts(lang)["method_unnamed"]


def series_of(results: Sequence[Any], lang: str) -> list[Series]:
    """One series per result, in the given order; a second result of a method is numbered."""
    methods = [method_of(r) for r in results]
    out = []
    for k, (method, style) in enumerate(zip(methods, series_styles(methods), strict=True)):
        number = methods[: k + 1].count(method)
        label = method_label(method, lang) + (f" ({number})" if number > 1 else "")
        out.append(Series(method, label, style, results[k]))
    return out


def section_name(source: str, sites: Sequence[str]) -> str:
    """A section by both its ends, where the next site is known."""
    position = list(sites).index(source) if source in sites else len(sites)
    return f"{source} → {sites[position + 1]}" if position + 1 < len(sites) else source


def metric_name(results: Sequence[Any], lang: str) -> str:
    """The metric's name for people."""
    name = results[0].metric if results else ""
    return texts(lang).get(f"metric_{name}") or clean(name)


def percent(share: float) -> str:
    """A share as a percentage that never rounds to a false 0 or 100."""
    if 0 < share < 0.0005:
        return "< 0.1%"
    if 0.9995 <= share < 1:
        return "> 99.9%"
    return f"{share:.0%}" if share in (0.0, 1.0) else f"{share:.1%}"


def quantity(value: float) -> str:
    """A number with four digits that count, in plain notation where that is readable."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    size = math.floor(math.log10(abs(value)))
    if not -4 <= size < 7:
        digits, _, power = f"{value:.3e}".partition("e")
        return f"{digits}e{int(power)}".replace("e-", "e−")
    return f"{value:,.{max(0, 3 - size)}f}"


def score(value: float, drop: float = MAX_DROP) -> str:
    """A score with one digit more than the allowance has."""
    digits = max(2, 1 - math.floor(math.log10(drop))) if drop > 0 else 4
    return f"{value:.{min(digits, 10)}f}"
