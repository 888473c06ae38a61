"""Effects with their intervals as a picture, a row for each, and the numbers beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .markup import escape
from .numbers import quantity
from .words import Words

WIDTH, ROOM, VALUES, PITCH = 760, 250, 130, 34


@dataclass(frozen=True)
class Row:
    """An effect in a picture.

    Attributes:
        name: what stands before it.
        value: the effect.
        ends: of its interval; infinite ones are not drawn.
        told: the same in a sentence, for who does not see the picture.
        sure: whether it is marked as shown.
        limits: where dashed lines stand.
        around: a range that is shaded behind it, or None.
    """

    name: str
    value: float
    ends: tuple[float, float]
    told: str
    sure: bool = False
    limits: tuple[float, ...] = ()
    around: tuple[float, float] | None = None

    @property
    def most(self) -> float:
        """How far from 0 its scale has to reach."""
        ends = [self.value, *self.limits, *(self.around or ()), *self.ends]
        return max((abs(end) for end in ends if math.isfinite(end)), default=0.0) or 1.0


def picture(title: str, rows: Sequence[Row], words: Words, *, common: bool = False) -> str:
    """A row for each effect, on a scale of its own or one for all; nothing without rows."""
    rows = [row for row in rows if math.isfinite(row.value)]
    if not rows:
        return ""
    label = escape(words.joined([f"{title}:", *(row.told for row in rows)]))
    most = max(row.most for row in rows) if common else 0.0
    parts = [part for k, row in enumerate(rows) for part in _row(k * PITCH + 10, row, most or row.most)]
    return (
        f"<h3>{escape(title)}</h3>"
        f'<svg class="d-picture" viewBox="0 0 {WIDTH} {PITCH * len(rows) + 14}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def _row(y: float, row: Row, most: float) -> Iterator[str]:
    middle, unit = (ROOM + WIDTH - VALUES) / 2, (WIDTH - VALUES - ROOM) / 2 / (1.05 * most)

    def at(value: float) -> float:
        return middle + unit * max(-1.05 * most, min(1.05 * most, value))

    name = ("✓ " if row.sure else "") + shortened(row.name)
    yield f'<text class="d-row" x="{ROOM - 12}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
    yield f'<path class="d-axis" d="M{at(0):.1f} {y - 4}v26"/>'
    if row.limits:
        lines = "".join(f"M{at(limit):.1f} {y - 4}v26" for limit in row.limits)
        yield f'<path class="d-link" stroke-dasharray="3 3" d="{lines}"/>'
    if row.around and all(map(math.isfinite, row.around)):
        a, b = (at(end) for end in row.around)
        yield f'<rect class="d-bar0" x="{min(a, b):.1f}" y="{y + 5}" width="{max(2, abs(b - a)):.1f}" height="8"/>'
    if all(map(math.isfinite, row.ends)):
        yield f'<path class="d-whisker" d="M{at(row.ends[0]):.1f} {y + 9}H{at(row.ends[1]):.1f}"/>'
    on = "d-dot d-on" if row.sure else "d-dot"
    yield f'<circle class="{on}" cx="{at(row.value):.1f}" cy="{y + 9}" r="5"/>'
    yield f'<text class="d-value" x="{WIDTH - VALUES + 12}" y="{y + 13}">{escape(moved(row.value))}</text>'


def shortened(name: str, most: int = 36) -> str:
    """A name that fits before a row."""
    return name if len(name) <= most else name[: most - 1] + "…"


def moved(value: float) -> str:
    """A change with its sign."""
    if not math.isfinite(value):
        return "–"
    sign = "+" if value > 0 else "−" if value < 0 else ""
    return sign + quantity(abs(value), 3)


def between(low: float, high: float) -> str:
    """Both ends of the interval of a change."""
    return f"{moved(low)} … {moved(high)}" if math.isfinite(low) and math.isfinite(high) else "–"


def chance(p: float | None) -> str:
    """A p-value."""
    if p is None or math.isnan(p):
        return "–"
    return f"{p:.2g}" if p >= 1e-4 else "< 0.0001"
