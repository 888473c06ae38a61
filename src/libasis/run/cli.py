"""The command ``libasis``: exit codes, and errors as sentences; the verbs are in `libasis.run.commands`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import FrameType
from typing import Any

import torch
import typer

from ..data import from_seed
from ..errors import LibasisError, ProcessError, short
from ..measure import listening, speaks, started
from ..types import Plain
from . import diagnose_verbs as _diagnose_verbs  # noqa: F401 - which adds them
from . import practice_verbs as _practice_verbs  # noqa: F401 - which adds them
from . import verify_verbs as _verify_verbs  # noqa: F401 - which adds them
from .commands import app

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


SHARED = {"fit", "graph", "ablate", "report"}
"""Commands whose work is shared among the processes that torchrun starts; the first process does the others alone."""

EACH_MINUTE = 60

INTERRUPTED = 130
"""What typer gives for a KeyboardInterrupt of the user's own code."""


def run(arguments: list[str], told: Callable[[Plain], None] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: of the command.
        told: what is told of progress, in place of bars and lines, see `libasis.measure.listening`.

    Returns:
        The exit code: 0, or 2 with one sentence on stderr for bad input and for what the system refuses, or 128 and the
        number of the signal that stopped it (130 for Ctrl-C).
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    if started()[1] > 1 and not _takes_part(arguments):
        return 0
    try:
        listener = told or _listener(arguments)
        heard = nullcontext() if listener is None else listening(listener)
        with _stopped_by_signals(), heard, from_seed(0):  # what is shuffled or augmented is the same in every command
            code = app(args=arguments, prog_name="libasis", standalone_mode=False)
            sys.stdout.flush()
        return _end(code, "Stopped.") if code == INTERRUPTED else code if isinstance(code, int) else 0
    except Stopped as stopped:
        return _end(128 + stopped.args[0], "Stopped.")
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        return _end(0, None)  # the reader of our output has gone, as in "libasis sites | head"
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        if isinstance(error, ProcessError) and started()[0]:
            time.sleep(2)  # whoever ended first has something better to say
        return _end(2, " ".join(sentence.split()))


def _takes_part(arguments: list[str]) -> bool:
    """Whether one of several processes has something to do; on GPUs each has its own."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if started()[0] == 0:
        return True
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - the first says what there is to say
    logging.getLogger("libasis").setLevel(logging.CRITICAL)
    return not SHARED.isdisjoint(arguments)


def _listener(arguments: list[str]) -> Callable[[Plain], None] | None:
    """What tells progress in lines; None where there are bars, or another process tells."""
    if started()[0]:
        return _silent
    if "--json" in arguments:
        return _events()
    return None if sys.stderr and sys.stderr.isatty() else _lines()


def _silent(event: Plain) -> None:
    pass


def _events() -> Callable[[Plain], None]:
    """Tells progress as one JSON object a line on stderr: the beginning and the end of each pass, and each second."""
    last = 0.0

    def tell(event: Plain) -> None:
        nonlocal last
        if event["event"] != "batch" or time.monotonic() - last >= 1:
            last = time.monotonic()
            _tell(json.dumps(event, ensure_ascii=False))

    return tell


def _lines() -> Callable[[Plain], None]:
    """Tells progress in a log, each minute."""
    last = time.monotonic()

    def tell(event: Plain) -> None:
        nonlocal last
        if time.monotonic() - last >= EACH_MINUTE:
            last = time.monotonic()
            of = "" if event["of"] is None else f" of {event['of']}"
            left = "" if event["left"] is None else f", {event['left'] / 60:.1f} minutes left"
            more = f" ({event['left_in_all'] / 60:.1f} in all)" if left else ""
            _tell(f"{event['pass']}: {event['done']}{of} batches{left}{more}")

    return tell


def _tell(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        print(line, file=sys.stderr, flush=True)


class Stopped(BaseException):
    """A signal came; not KeyboardInterrupt, of which Python remembers that it went through a text that was executed."""


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Signals that would end the process end the command, and files are tidied up."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in SIGNALS}
        before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(code: int, sentence: str | None) -> int:
    """Say how it ended as far as the streams still take it; what they hold back is thrown away, not tried again."""
    sentence = sentence if sentence and speaks() else None
    for stream, text in ((sys.stdout, None), (sys.stderr, sentence)):
        try:
            if text:
                print(text, file=stream)
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), stream.fileno())
    return code


def _sentence(error: Any) -> str | None:
    """What to tell the user of bad input; None for an error that nobody foresaw."""
    if isinstance(error, LibasisError):
        return str(error)
    if isinstance(error, CLICK_ERROR):
        return _no_number(error) or f"{error.format_message().rstrip('.')}; see libasis --help."
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRAS.get((error.name or "").split(".")[0])
        return extra and f"This command needs {error.name}: pip install 'libasis[{extra}]'"
    if isinstance(error, OSError):
        named = "Reading or writing failed" if error.filename is None else short(error.filename, 200)
        return f"{named}: {error.strerror or error}."
    return None


def _no_number(error: Any) -> str | None:
    """For an option that takes a number and was given something else, where typer says what it was given."""
    try:
        (wrong,) = error.__cause__.errors()
        option = " / ".join(error.param.opts)
    except (AttributeError, ValueError):
        return None
    kind = NUMBERS.get(wrong["type"].partition("_")[0])
    return kind and f"{option} is {short(wrong['input'])}, which is no {kind}."


CLICK_ERROR: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
NUMBERS = {"float": "number; give one such as 0.05, without a unit", "int": "whole number; give one such as 3"}
EXTRAS = {
    "matplotlib": "figures",
    "networkx": "graph",
    "pandas": "data",
    "PIL": "data",
    "pyarrow": "data",
    "sklearn": "demo",
    "statsmodels": "practice",
    "transformers": "hf",
}
