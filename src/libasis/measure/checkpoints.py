"""Checkpoints: what was summed over the data so far, in files, so that a run that ended early is gone on with."""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from ..ambient import calling
from ..arguments import typed
from ..errors import LibasisError, OptionError
from ..files import alone, read_bytes, told, write_bytes
from ..numerics import State
from .content import digest_of_call
from .wire import packed, unpacked

_log = logging.getLogger("libasis")
_NAME = re.compile(r"[0-9a-f]{64}\.checkpoint")
_MARK = b"libasis checkpoint 1\n"
PENDING = 2**26
"""Bytes of finished passes that wait for the next moment at which files are written."""


class Checkpoints:
    """The files of one folder, each of one pass over the data, named by all that decides its sums.

    Attributes:
        read: how many passes were found finished.
        taken: how many shards were found done, in passes that were not finished.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self.read = self.taken = 0
        self._written = time.monotonic()
        self._waiting: dict[str, bytes] = {}
        self._size = 0

    def find(self, key: str, device: torch.device | None) -> tuple[int, list[State]]:
        """How many shards of a pass are done, and the states then; 0 where nothing is known."""
        data = self._waiting.get(key) or self._of_file(key)
        if data is None:
            return 0, []
        states, facts = unpacked(data, device)
        self.read += facts["finished"]
        self.taken += 0 if facts["finished"] else facts["done"]
        return facts["done"], states

    def _of_file(self, key: str) -> bytes | None:
        path = self.folder / f"{key}.checkpoint"
        if not path.exists():
            return None
        try:
            data = read_bytes(path)
            head = len(_MARK) + 32
            if data[:head] == _MARK + hashlib.sha256(data[head:]).digest():
                unpacked(data[head:])
                return data[head:]
        except (LibasisError, SafetensorError, ValueError, KeyError):
            pass
        _log.warning("%s is damaged and is not used: that pass over the data begins anew", path)
        return None

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self._written >= self.seconds or self._size > PENDING

    def keep(self, key: str, done: int, states: Sequence[State], *, finished: bool) -> None:
        """Keep the states after so many shards: in memory, and in files when it is time.

        Raises:
            StoreError: a file cannot be written.
        """
        data = packed(states, done=done, finished=finished)
        self._size += len(data) - len(self._waiting.get(key, b""))
        self._waiting[key] = data
        if self.due:
            self.write()

    def write(self) -> None:
        """Write what waits, in its order.

        Raises:
            StoreError: a file cannot be written.
        """
        for key, data in list(self._waiting.items()):
            write_bytes(self.folder / f"{key}.checkpoint", _MARK + hashlib.sha256(data).digest() + data)
            self._size -= len(self._waiting.pop(key))
        self._written = time.monotonic()

    def remove(self) -> None:
        """Remove the files."""
        with told(self.folder):
            for name in os.listdir(self.folder):
                if _NAME.fullmatch(name):
                    (self.folder / name).unlink(missing_ok=True)


_current: contextvars.ContextVar[Checkpoints | None] = contextvars.ContextVar("checkpoints", default=None)


def current() -> Checkpoints | None:
    """Those of the context that the call stands in."""
    return _current.get()


@contextlib.contextmanager
@typed
def checkpoints(folder: str | Path, *, seconds: float = 60.0) -> Iterator[Checkpoints]:
    """In this context, every call that goes through data writes down what it has summed, and goes on from it.

    ``with libasis.checkpoints("run"):`` around `fit`, `interactions`, `ablate_nodes` and the like: where the process is
    killed, interrupted or the disk is full, the same code, run again, repeats at most the last ``seconds`` and the
    shard at work (an eighth of a pass over few batches, at most eight batches or 1/256 of a pass over many), and gives
    the same result to the bit. What was summed is found again by its content: weights, graph, samples and their order,
    batches, options and versions; whatever else was changed begins anew. At the end of the context the files are
    removed; an error leaves them. A call with a function or an object that cannot be read (see the log) has none.

    Args:
        folder: for the files; it is made if need be, and belongs to one process at a time.
        seconds: how often they are written; 0 for after every shard.

    Raises:
        OptionError: ``seconds`` is negative or no number.
        StoreError: another process has the folder, or it cannot be written to.
    """
    if not seconds >= 0:
        raise OptionError(f"seconds is {seconds!r}; give a number of seconds, 0 or more.")
    folder = Path(folder)
    with alone(folder):
        found = Checkpoints(folder, seconds)
        token = _current.set(found)
        try:
            yield found
        except BaseException:
            with contextlib.suppress(LibasisError, OSError):
                found.write()
            raise
        finally:
            _current.reset(token)
        found.remove()


class Passes:
    """The passes of one public call, each known by the call and all that went before it."""

    def __init__(self, key: str | None) -> None:
        self.key = key

    def next(self, label: str, data: str) -> str | None:
        """The key of the next pass; None where the call cannot be told from others."""
        if self.key is None:
            return None
        self.key = hashlib.sha256(f"{self.key} {label} {data}".encode()).hexdigest()
        return self.key


def passes_now() -> Passes:
    """The passes of the public call that runs."""
    found = calling()
    if found is None:
        return Passes(None)
    if "passes" not in found.known:
        key = digest_of_call(found.function, found.args, found.kwargs)
        if key is None:
            _log.warning("%s has no checkpoints: something given has no digest", found.function.__qualname__)
        found.known["passes"] = Passes(key)
    passes: Any = found.known["passes"]
    return passes
