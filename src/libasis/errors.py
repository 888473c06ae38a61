"""Every error that libasis raises on purpose, under one root.

A message is one sentence that repeats what was given, says what was expected and what to do.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class LibasisError(Exception):
    """The root: catch it to catch everything that libasis raises on purpose.

    A message is one line that can be printed, whatever is quoted in it, and of a length that can be read.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(_readable(arg) if isinstance(arg, str) else arg for arg in args))


def _readable(text: str) -> str:
    text = re.sub(r"\S{300,}", lambda word: f"{word[0][:60]}... ({len(word[0])} characters)", text)
    return printable(" ".join((text if len(text) <= MOST else f"{text[: MOST // 2]} ... {text[-MOST // 2 :]}").split()))


def printable(text: str) -> str:
    """The text on one line, with what cannot be printed as Python would write it."""
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else repr(c)[1:-1] for c in text)


MOST = 2000
"""Characters of a message."""


class ModelStateError(LibasisError):
    """The model is in a state that cannot be measured (a module in training mode, say)."""


class SiteError(LibasisError):
    """A site does not exist, cannot be a cut, or stands in the wrong order."""


class BypassError(SiteError):
    """A value that depends on the inputs goes around a site."""


class ExportError(LibasisError):
    """The model cannot be turned into a graph by ``torch.export``; ``Chain`` is the way out."""


class ProcessError(LibasisError):
    """Of several processes one has ended, does not answer, or was given something else than the others."""


class BatchError(LibasisError):
    """The batches are empty, one-shot, of the wrong structure or of the wrong shape."""


class ActivationError(LibasisError):
    """An activation is not finite, or two runs on the same input differ."""


class OptionError(LibasisError, ValueError):
    """An option has a value that is not allowed."""


class LabelError(LibasisError, ValueError):
    """Labels of features cannot be read or do not fit the graph."""


class StoreError(LibasisError):
    """A result or another file cannot be written or read."""


def optional(module: str, extra: str, what: str) -> Any:
    """The module of an optional dependency.

    Args:
        module: its name.
        extra: the extra of libasis that brings it.
        what: what needs it, as the beginning of a sentence.

    Raises:
        OptionError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.replace("_", "-")
        raise OptionError(f"{what} needs {name}, which is missing: pip install 'libasis[{extra}]'.") from None


class SourceError(LibasisError):
    """A model or data source cannot be opened."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message that is not empty, without a full stop, cut where it is very long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".")[:300] if lines else type(error).__name__


def short(value: object, most: int = 60) -> str:
    """What was given, in quotes, for a sentence: of a long text the beginning and its length."""
    text = str(value)
    return repr(text) if len(text) <= most else f"{text[:most]!r}... ({len(text)} characters)"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The name among the known ones that was probably meant, as words to put behind the given one; or nothing."""
    given, names = str(name)[:100], [str(other)[:100] for other in known]
    same = [other for other in names if other.lower().strip() == given.lower().strip()]
    near = same or difflib.get_close_matches(given, names, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def renamed(**names: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """For a function whose options had other names: an old one is refused with a sentence that says the new one.

    Args:
        names: by old name what to write now.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            for name in kwargs:
                if name in names:
                    raise OptionError(f"{function.__name__} has no option {name!r} any more: {names[name]}.")
            return function(*args, **kwargs)

        return checked

    return decorate


ON_TRACE = {name: f"give {name} to libasis.trace, or traced.to({name}=...)" for name in ("dtype", "device", "mask")}
"""Options that belong to the traced model."""
