"""Which counts to measure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from ..errors import OptionError

Schedule = str | Sequence[int]

_NAMED = 6
"""Counts and places that a sentence names."""

_log = logging.getLogger("libasis")


def check_counts(option: str, counts: Iterable[int], sizes: Mapping[str, tuple[int, int]], things: str) -> None:
    """Hold a list of counts against what there is; those beyond are named in one sentence of the log.

    There all are kept in their place: a list may serve places of different sizes, and how many of a width the data
    leave is not known beforehand.

    Args:
        option: what the list is called.
        counts: given.
        sizes: by place how many there are, and how many there may be at its width.
        things: what is counted.

    Raises:
        OptionError: no place is so wide.
    """
    given = sorted({int(count) for count in counts})
    most = max((max(pair) for pair in sizes.values()), default=given[-1])
    if impossible := [count for count in given if count > most]:
        raise OptionError(
            f"{option} has {_few(impossible)}, but no place here can have more than {most} {things}; leave out larger "
            "counts."
        )
    beyond = {name: [count for count in given if count > has] for name, (has, _) in sizes.items()}
    told = [f"{_few(more)} at {name!r}, which has {sizes[name][0]}" for name, more in beyond.items() if more]
    if told:
        _log.warning(
            f"{option} has counts that are not measured, since there are not so many {things}: "
            f"{'; '.join(told[:_NAMED])}{'; ...' if len(told) > _NAMED else ''}; all {things} were kept there instead."
        )


def _few(counts: Sequence[int]) -> str:
    ends = counts if len(counts) <= _NAMED else [*counts[: _NAMED - 1], "...", counts[-1]]
    return ", ".join(map(str, ends))


def node_counts(schedule: Schedule, k: int) -> list[int]:
    """Numbers of features to keep out of k, ascending, 0 and k included.

    ``"linear"``: every count (at most about 256 of them, evenly spaced); ``"exponential"``: every count up to 16, then
    steps of about 6%; ``"auto"``: linear up to 128 features, exponential beyond; or a sequence of counts.

    Raises:
        OptionError: the schedule is unknown or has counts out of range.

    ``"bisect"`` has no counts of its own: they follow from the scores.
    """
    if isinstance(schedule, str) and schedule == "auto":
        schedule = "linear" if k <= 128 else "exponential"
    if isinstance(schedule, str) and schedule == "linear":
        return sorted({round(c) for c in np.linspace(0, k, min(k + 1, 257))})
    if isinstance(schedule, str) and schedule == "exponential":
        return sorted({*range(min(16, k) + 1), *geometric(16, k, ratio=1.0625)} if k > 16 else range(k + 1))
    if isinstance(schedule, str) and schedule == "bisect":
        return []
    if isinstance(schedule, str) or not hasattr(schedule, "__iter__"):
        raise OptionError(
            f'schedule is {schedule!r}; use "auto", "linear", "exponential", "bisect" or a list of counts.'
        )
    given = [c.item() if hasattr(c, "item") else c for c in schedule]  # pyright: ignore
    if not given or any(not isinstance(c, int) or c < 0 for c in given):
        raise OptionError(f"schedule is {given!r}; a list of counts needs whole numbers, at least one, none below 0.")
    counts = set(given)
    return sorted({min(c, k) for c in counts})


def geometric(low: int, high: int, *, points: int | None = None, ratio: float | None = None) -> list[int]:
    """Integers from low to high, both included, evenly spaced on a log scale."""
    if high <= low:
        return [high]
    if points is None:
        points = int(np.ceil(np.log(high / low) / np.log(ratio or 1.1))) + 1
    return sorted({round(c) for c in np.geomspace(low, high, points)})


def bisect_ablated(passes: Callable[[int], bool], total: int) -> int:
    """The published search: bisect the number of *ablated* edges between 0 and ``total``, midpoint rounded down.

    Args:
        passes: whether a number of kept edges passes.
        total: the untruncated count with the constant, (d_in + 1)(d_out + 1).

    Returns:
        The number kept at the end.
    """
    low, high = 0, total
    while high - low > 1:
        middle = (low + high) // 2
        if passes(total - middle):
            low = middle
        else:
            high = middle
    return total - low


def bisect_kept(passes: Callable[[int], bool], total: int) -> int | None:
    """The smallest count that a bisection over the number kept ends at; None if not even all pass."""
    if not passes(total):
        return None
    low, high = -1, total
    while high - low > 1:
        middle = (low + high) // 2
        if passes(middle):
            high = middle
        else:
            low = middle
    return high


def stable_count(
    measure: Callable[[Iterable[int]], None],
    passed: Callable[[int], bool],
    measured: Callable[[], list[int]],
    total: int,
) -> int | None:
    """The smallest count from which every larger count measured also passes.

    Goes down a geometric grid of at least 64 points from ``total``, as far as the largest failure known, then refines
    between that failure and the next count until they are neighbours. Below it no count can change the answer: there
    every fourth point of the grid is measured (every one of up to 64 edges), for the curve.

    Args:
        measure: measures some counts, those already measured at no cost.
        passed: whether a measured count passes.
        measured: all counts measured so far, by whomever, ascending.
        total: number of edges that exist.
    """
    points = 64
    grid = [0, *geometric(1, total, points=points)]
    while len(grid) <= min(64, total):
        points *= 2
        grid = [0, *geometric(1, total, points=points)]
    measure([0, total])

    def failed() -> int | None:
        return next((c for c in reversed(measured()) if not passed(c)), None)

    above = [c for c in grid if failed() is None or c > (failed() or 0)]
    while above and above[-1] > (failed() or -1):
        chunk, above = above[-4:], above[:-4]
        measure(chunk)
    while (last := failed()) is not None and last < total:
        next_up = next(c for c in measured() if c > last)
        if next_up - last <= 1:
            break
        step = max(1, (next_up - last) // 8)
        measure(range(last + step, next_up, step))
    measure([c for c in grid if c < (last or 0)][:: 4 if total > 64 else 1])
    if last is None:
        return measured()[0]
    return None if last == total else last + 1
