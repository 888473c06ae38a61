"""How many of something to take at once, and the slices that this makes."""

from __future__ import annotations

from collections.abc import Iterator


def clamp(wanted: float, most: int) -> int:
    """A whole number from 1 to ``most``."""
    return int(max(1, min(wanted, most)))


def even(wanted: float, total: int) -> int:
    """At most as many as wanted, so that all blocks of the total are about as large."""
    blocks = -(-total // clamp(wanted, total))
    return -(-total // blocks)


def slices(total: int, step: int) -> Iterator[slice]:
    """Slices of ``step`` that cover ``range(total)``."""
    for start in range(0, total, step):
        yield slice(start, min(start + step, total))
