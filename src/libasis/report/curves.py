"""What the pictures of spectra and score curves show, in the page and in figures for papers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..ablation.results import EdgeAblation

MAX_PANELS = 24
"""Panels of a picture; a line of words counts the rest."""
MAX_POINTS = 200
"""Points of a line; of more, geometrically spread ones are drawn, with the first and the last."""
CLOSE_UP = (-1.5, 4.5)
"""The close-up ends this many allowed drops above and below the base score."""

T = TypeVar("T")


def falling(importances: Tensor) -> list[tuple[float, float]]:
    """Rank and importance over the largest, of the positive importances, falling."""
    values = torch.sort(importances.double().cpu(), descending=True).values
    values = values[values > 0]
    return [(rank + 1.0, value) for rank, value in enumerate((values / values[:1]).tolist())]


def thinned(points: Sequence[T]) -> Sequence[T]:
    """At most `MAX_POINTS` of them."""
    if len(points) <= MAX_POINTS:
        return points
    last = len(points) - 1
    return [points[k] for k in sorted({round(last ** (j / (MAX_POINTS - 1))) for j in range(MAX_POINTS)} | {0, last})]


def worst_passing(result: EdgeAblation) -> float:
    """The worst score that is still allowed."""
    return result.base_score - result.max_drop * (1 if result.higher_is_better else -1)


def close_up_scores(result: EdgeAblation) -> tuple[float, float]:
    """The scores that the close-up shows: around the allowed band."""
    base, drop = result.base_score, worst_passing(result) - result.base_score
    low, high = sorted(base + times * drop for times in CLOSE_UP)
    return low, high


def close_up_counts(results: Sequence[EdgeAblation], section: str) -> tuple[float, float]:
    """The counts that the close-up shows: around the numbers needed, or all where none passes."""
    kinds = [counts for r in results for counts in (r.edges_required, r.edges_required_stable)]
    needed = [count for counts in kinds if (count := counts.get(section))]
    most = max(2, *(max(r.curves[section], default=2) for r in results))
    return (max(1.0, min(needed) / 2.5), min(max(needed) * 2.5, most * 1.1)) if needed else (1.0, most * 1.1)


def round_counts(low: float, high: float) -> list[int]:
    """1, 2, 5, 10, 20, … between two numbers."""
    return [m * 10**p for p in range(10) for m in (1, 2, 5) if low <= m * 10**p <= high]


def names_of(results: Sequence[Any]) -> list[str]:
    """The sites or sections whose curves the results have, each once."""
    return list(dict.fromkeys(name for result in results for name in result.curves))
