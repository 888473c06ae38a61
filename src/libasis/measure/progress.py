"""How far a pass over the data is, and what is left: a bar in a terminal or a notebook, or whatever listens."""

from __future__ import annotations

import contextlib
import contextvars
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from tqdm.auto import tqdm

from ..ambient import calling
from ..types import Plain

T = TypeVar("T")
Listener = Callable[[Plain], None]

_listener: contextvars.ContextVar[Listener | None] = contextvars.ContextVar("listener", default=None)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """In this context events go to a function in place of bars.

    Each has ``event`` ("begin", "batch", "end", or "resumed" with what a checkpoint had), ``pass``, ``done`` and ``of``
    (batches; None where their number is not known), ``seconds`` since the pass began, ``left`` (seconds to the end of
    the pass, or None) and ``left_in_all`` (to the end of the last pass that is known of).
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def expect(passes: int) -> None:
    """Say how many passes of about the same length are to come in the public call that runs."""
    if call := calling():
        call.known["passes to come"] = passes


def _more() -> int:
    """How many passes follow the one that begins."""
    call = calling()
    more = max(0, call.known.get("passes to come", 0) - 1) if call else 0
    expect(more)
    return more


def silent(progress: bool | None) -> bool | None:
    """What tqdm takes as ``disable``; None shows a bar on a terminal only."""
    unheard = sys.stderr is None or _listener.get() is not None
    return unheard or (None if progress is None else not progress)


def watched(items: Iterable[T], total: int | None, label: str, progress: bool | None) -> Iterator[T]:
    """The items of a pass, while what is left is shown."""
    more, listener = _more(), None if progress is False else _listener.get()
    clock = _Clock(label, total, more, listener)
    clock.tell("begin", 0)
    with tqdm(total=total, desc=label, disable=silent(progress), leave=False, unit="batch") as bar:
        done = 0
        for done, item in enumerate(items, 1):
            yield item
            bar.update()
            if listener is not None:
                clock.tell("batch", done)
            elif more and not bar.disable and (left := clock.left(done)[1]) is not None:
                bar.set_postfix_str(f"{tqdm.format_interval(left)} in all", refresh=False)
    clock.tell("end", done)


def resumed(label: str, done: int, total: int) -> None:
    """Tell that so many batches of a pass need not be gone through again."""
    _Clock(label, total, 0, _listener.get()).tell("resumed", done)


class _Clock:
    def __init__(self, label: str, total: int | None, more: int, listener: Listener | None) -> None:
        self.label, self.total, self.more, self.listener = label, total, more, listener
        self.start = time.monotonic()

    def left(self, done: int) -> tuple[float | None, float | None]:
        """Seconds to the end of the pass, and of all passes that are known of."""
        if not done or self.total is None:
            return None, None
        each = (time.monotonic() - self.start) / done
        return each * (self.total - done), each * (self.total * (1 + self.more) - done)

    def tell(self, event: str, done: int) -> None:
        if self.listener is None:
            return
        left, in_all = self.left(done)
        facts: dict[str, Any] = {"event": event, "pass": self.label, "done": done, "of": self.total}
        seconds = time.monotonic() - self.start
        self.listener({**facts, "seconds": seconds, "left": left, "left_in_all": in_all})
