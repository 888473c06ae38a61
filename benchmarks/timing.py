"""What the benchmarks share: running one side several times."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def timed(work: Callable[[], T], times: int) -> tuple[T, list[float]]:
    """What it returns, and the seconds of each run; the first also pays for what is done once."""
    seconds = []
    while True:
        start = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - start)
        if len(seconds) >= times:
            return found, seconds
