"""A failure at a chosen call of the operating system: the process dies there, or the system refuses once."""

import os
import signal
from contextlib import suppress

CALLS = ("open", "write", "fsync", "replace", "mkdir", "unlink", "rmdir", "chmod", "close", "listdir", "lstat", "stat")
WRITES = ("open", "write", "fsync", "replace", "mkdir", "unlink", "rmdir", "chmod")


class Killed(BaseException):
    pass


class Saboteur:
    """Lets the first calls of the operating system pass, and fails the next one.

    Without an ``error`` the process is dead from then on: every call raises `Killed`, or with ``truly`` it is killed.
    """

    def __init__(self, monkeypatch, allowed, *, error=None, half=False, calls=CALLS, truly=False):
        self.left, self.error, self.half, self.truly, self.done = allowed, error, half, truly, False
        self.open, self.close = set(), os.close
        for name in {*calls, "open", "close"}:
            monkeypatch.setattr(os, name, self.watched(name, getattr(os, name), counts=name in calls))

    def watched(self, name, real, *, counts):
        def call(*args, **kwargs):
            if (self.done and self.error is not None) or not (counts or self.done):
                return self.told(name, args, real(*args, **kwargs))
            if self.left > 0:
                self.left -= 1
                return self.told(name, args, real(*args, **kwargs))
            first, self.done = not self.done, True
            if first and self.half and name == "write":
                real(args[0], args[1][: len(args[1]) // 2])
            if self.truly:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Killed if self.error is None else self.error

        return call

    def told(self, name, args, found):
        if name == "open":
            self.open.add(found)
        if name == "close":
            self.open.discard(args[0])
        return found

    def bury(self):
        """What the system does for a dead process."""
        for handle in self.open:
            with suppress(OSError):
                self.close(handle)
