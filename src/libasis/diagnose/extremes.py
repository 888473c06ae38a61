"""Values far outside all others of their column, which may stand for no value, as findings."""

from __future__ import annotations

import re

import numpy as np

from ..errors import short
from ..types import Plain
from .groups import LEAST, Groups
from .sentences import finding

FAR, TAIL = 20.0, 12.0
"""Usual spreads from all other values; and of a value that is no code, how long in such spreads the others are."""
SINGLE, SEVERAL, RARE, MANY = 5, 2, 0.05, 0.5
"""Lengths of the others that a value of one row, or of several, is away; shares of rows that it, or a code, has."""
ENOUGH, DISTINCT = 90, 20
"""Other rows and other values, at least, where a value is no code: fewer may be of a long tail, or states."""
NAMED, MOST = 5, 1000
"""Findings, and columns that are looked at, at most."""
NINES = re.compile(r"-?9{2,}(\.9+)?")
CODES = (-32768, 32767, 65535, -2147483648, 2147483647)
HUGE = 1e20


def extremes_of(groups: Groups) -> list[Plain]:
    """The lowest or highest value of a column, where it is apart from all others.

    That is one of the usual codes (-999, 9999, 1e30, 65535) more than 20 robust spreads (interquartile range / 1.349)
    and more than the length of all others away from the nearest; or another value so far that is two such lengths away
    and in several rows exactly, or five in one row, where the others have no long tails. 0 is none: it is what a
    machine at rest says. A step has many values. Looked at in each group and in both together, as the groups may be
    far apart.
    """
    both = np.concatenate([groups.normal.numpy(), groups.anomalous.numpy()])
    parts = [rows for rows in (both, groups.normal.numpy(), groups.anomalous.numpy()) if len(rows) >= LEAST]
    out: list[Plain] = []
    for j, name in enumerate(groups.names[:MOST]):
        found = {value: away for rows in parts[::-1] for value, away in _odd(rows[:, j])}
        for value, away in found.items():
            count = int((both[:, j] == value).sum())
            far = f"{away:,.0f}" if away < 1e6 else f"{away:.0e}"
            out.append(finding("extreme", name=short(name), value=value, rows=count, all=len(both), away=far))
    return out[:NAMED]


def _odd(column: np.ndarray) -> list[tuple[float, float]]:
    """Extreme values that are apart, with their distance to the nearest other in usual spreads."""
    ends = (float(column.min()), float(column.max()))
    rest = column[(column != ends[0]) & (column != ends[1])]
    if len(rest) < LEAST or ends[0] == ends[1]:
        return []
    low, high = float(rest.min()), float(rest.max())
    gaps = (low - ends[0], ends[1] - high)
    if max(gaps) <= high - low:
        return []
    lower, upper = np.quantile(rest, [0.25, 0.75])
    spread = float((upper - lower) / 1.349 or rest.std())
    out = []
    for value, gap in zip(ends, gaps, strict=True):
        share, known = float((column == value).mean()), _known(value)
        if value == 0 or not spread > 0 or gap <= max(FAR * spread, high - low):
            continue
        lengths = SEVERAL if share * len(column) > 1.5 else SINGLE
        odd = share <= RARE and high - low <= TAIL * spread and gap > lengths * (high - low)
        if (known and share <= MANY) or (odd and len(rest) >= ENOUGH and len(np.unique(rest)) >= DISTINCT):
            out.append((value, gap / spread))
    return out


def _known(value: float) -> bool:
    """Whether a value is one of those that are often written where there is none."""
    text = str(int(value)) if value.is_integer() else f"{value:.6g}"
    return abs(value) >= HUGE or value in CODES or NINES.fullmatch(text) is not None
