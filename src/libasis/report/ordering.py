"""The order of the nodes in each column that leaves few edges crossing: weighted barycentre sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

SWEEPS = 24
FEEBLE = 1e-6
"""Weight of an edge that has none, so that its ends still have a centre."""

Places = np.ndarray[Any, np.dtype[np.int64]]
"""Place of each node of a column, 0 at the top, int64 ``[n]``."""


class Links(NamedTuple):
    """The edges between two neighbouring columns: node on the left, node on the right, weight; each ``[m]``."""

    left: np.ndarray[Any, Any]
    right: np.ndarray[Any, Any]
    weight: np.ndarray[Any, Any]


def order(
    columns: Sequence[Sequence[int]], links: Sequence[Sequence[tuple[int, int, float]]], *, sweeps: int = SWEEPS
) -> tuple[list[list[int]], int]:
    """Order the nodes of each column; the result never crosses more than the input order.

    Returns:
        The orders and their number of crossings.
    """
    spots = [{node: place for place, node in enumerate(column)} for column in columns]
    arrays = []
    for at, section in enumerate(links):
        left, right, weight = zip(*section, strict=True) if section else ((), (), ())
        arrays.append(
            Links(
                np.array([spots[at][i] for i in left], np.int64),
                np.array([spots[at + 1][j] for j in right], np.int64),
                np.array(weight, np.float64),
            )
        )
    places, crossings = untangle([len(column) for column in columns], arrays, sweeps=sweeps)
    return [[column[n] for n in np.argsort(p)] for column, p in zip(columns, places, strict=True)], crossings


def untangle(
    sizes: Sequence[int], links: Sequence[Links], *, judged: Sequence[Links] | None = None, sweeps: int = SWEEPS
) -> tuple[list[Places], int]:
    """`order` on arrays: nodes are numbered 0 … n-1 in each column, which is also their first order.

    Args:
        sizes: nodes of each column.
        links: the edges that draw nodes towards each other.
        judged: the edges whose crossings are counted; None counts those of ``links``.
        sweeps: passes, alternately to the right and to the left.

    Returns:
        The place of each node and the number of crossings.
    """
    judged = links if judged is None else judged
    places = [np.arange(size) for size in sizes]
    best, fewest = places, crossings_of(places, judged)
    still = 0
    for sweep in range(sweeps):
        if still == 2 or fewest == 0:
            break
        before, places = places, list(places)
        rightwards = sweep % 2 == 0
        for c in range(1, len(places)) if rightwards else range(len(places) - 2, -1, -1):
            section = links[c - 1] if rightwards else links[c]
            there, here = (section.left, section.right) if rightwards else (section.right, section.left)
            places[c] = _by_barycentre(places[c], here, places[c - 1 if rightwards else c + 1], there, section.weight)
        count = crossings_of(places, judged)
        if count < fewest:
            best, fewest = places, count
        still = still + 1 if all(np.array_equal(a, b) for a, b in zip(before, places, strict=True)) else 0
    return best, fewest


def _by_barycentre(
    places: Places, here: np.ndarray[Any, Any], fixed: Places, there: np.ndarray[Any, Any], w: np.ndarray[Any, Any]
) -> Places:
    """Sort a column by the weighted mean place of its neighbours; a node without neighbours keeps its place."""
    own = (places + 0.5) / max(1, len(places))
    w = np.maximum(w, FEEBLE)
    weight = np.bincount(here, w, len(places))
    total = np.bincount(here, w * (fixed[there] + 0.5) / max(1, len(fixed)), len(places))
    centre = np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), own)
    sorted_places = np.empty_like(places)
    sorted_places[np.lexsort((own, centre))] = np.arange(len(places))
    return sorted_places


def crossings_of(places: Sequence[Places], links: Sequence[Links]) -> int:
    """Pairs of edges that cross; edges that share an end do not."""
    count = 0
    for at, section in enumerate(links):
        left, right = places[at][section.left], places[at + 1][section.right]
        count += inversions(right[np.lexsort((right, left))])
    return count


def inversions(values: np.ndarray[Any, Any]) -> int:
    """Pairs ``a < b`` of positions with ``values[a] > values[b]``, for whole numbers of zero or more.

    Two values differ first at some binary digit. For each digit, among the values that agree in all higher ones, the
    pairs are counted in which a one stands before a zero: O(m log m) for each digit, all of it in numpy.
    """
    count = 0
    for digit in range(int(values.max()).bit_length() if len(values) else 0):
        higher, ones = values >> (digit + 1), (values >> digit) & 1
        grouped = np.argsort(higher, kind="stable")
        higher, ones = higher[grouped], ones[grouped]
        before = np.cumsum(ones) - ones
        start = np.searchsorted(higher, higher, side="left")
        count += int((before - before[start])[ones == 0].sum())
    return count
