"""Amounts as horizontal bars from one zero, a row for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .intervals import PITCH, ROOM, VALUES, WIDTH, shortened
from .markup import escape
from .words import Words


@dataclass(frozen=True)
class Bar:
    """A bar from one end to the other, or from 0.

    Attributes:
        name: what stands before it.
        value: where it ends.
        told: the same in a sentence.
        start: where it begins.
        text: what stands behind it; the value, if it is empty.
        on: whether it is the one that counts.
    """

    name: str
    value: float
    told: str
    start: float = 0.0
    text: str = ""
    on: bool = False


def bars(title: str, rows: Sequence[Bar], words: Words, *, middle: float | None = None) -> str:
    """The bars under a title; ``middle`` draws a line there."""
    if not rows:
        return ""
    ends = [end for row in rows for end in (row.start, row.value)] + ([0.0] if middle is None else [middle])
    low, high = min(ends), max(ends)
    unit = (WIDTH - ROOM - VALUES) / ((high - low) or 1.0)

    def at(value: float) -> float:
        return ROOM + (value - low) * unit

    parts = []
    for k, row in enumerate(rows):
        y, left, right = k * PITCH + 8, min(at(row.start), at(row.value)), max(at(row.start), at(row.value))
        kind = "d-bar1" if row.on else "d-bar0"
        text = row.text or f"{row.value:,.0f}"
        parts += [
            f'<text class="d-row" x="{ROOM - 12}" y="{y + 13}" text-anchor="end">{escape(shortened(row.name))}</text>',
            f'<rect class="{kind}" x="{left:.1f}" y="{y + 2}" width="{max(2, right - left):.1f}" height="13"/>',
            f'<text class="d-value" x="{right + 8:.1f}" y="{y + 13}">{escape(text)}</text>',
        ]
    if middle is not None:
        parts.append(f'<path class="d-axis" d="M{at(middle):.1f} 0v{PITCH * len(rows) + 6}"/>')
    label = escape(words.joined([f"{title}:", *(row.told for row in rows)]))
    return (
        f"<h3>{escape(title)}</h3>"
        f'<svg class="d-picture" viewBox="0 0 {WIDTH} {PITCH * len(rows) + 10}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )
