"""How many of something to take at once, and the slices that this makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch


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


@dataclass(frozen=True)
class Blocks:
    """How large the blocks are in which the same sums are formed: what stays in a CPU's cache, or what fills a GPU.

    Attributes:
        numbers: in one matrix that is gone through several times.
        vectors: in one product of all vectors of a batch.
        width: columns in one product where only a triangle is wanted.
        rows: query positions in a band, at least: products of fewer rows are slow.
        steps: about how many numbers an activation is worked out for: its steps hold several times as many.
        together: whether all heads are taken together with all others, or one after the other.
    """

    numbers: int = 2**18
    vectors: int = 1024
    width: int = 128
    rows: int = 64
    steps: int = 2**19
    together: bool = False

    @classmethod
    def on(cls, device: torch.device, memory: int = 2**30) -> Blocks:
        """On a device, about ``memory`` bytes of which may be taken: some eight matrices of float64 at once."""
        if device.type == "cpu":
            return cls()
        return cls(max(int(memory) // 64, 2**18), vectors=2**13, width=1024, rows=128, steps=2**26, together=True)
