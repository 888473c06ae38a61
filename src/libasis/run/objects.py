"""Objects that the user names by ``"package.module:name"``."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import SourceError, did_you_mean, first_line
from .errors import MissingDataError


def load_object(name: str, key: str) -> Any:
    """The callable named by ``"package.module:name"``; modules of the current folder can be named.

    Raises:
        SourceError: the module cannot be imported, has no such attribute, or the attribute is not callable.
    """
    module_name, _, path = name.partition(":")
    make_current_folder_importable()
    value: Any = _import(module_name, name, key)
    for part in path.split("."):
        if not hasattr(value, part):
            hint = did_you_mean(part, dir(value))
            raise SourceError(f"{key} is {name!r}, but {module_name} has no {part!r}{hint}.")
        value = getattr(value, part)
    if not callable(value):
        raise SourceError(f"{key} is {name!r}, which is a {type(value).__name__}; name a function without arguments.")
    return value


def call_factory(name: str, key: str, arguments: Mapping[str, Any] | None = None) -> Any:
    """What the factory named by ``"package.module:factory"`` returns, called with keyword arguments, none by default.

    Raises:
        MissingDataError: the factory raises it.
        SourceError: as `load_object`, or the call fails.
    """
    factory = load_object(name, key)
    try:
        return factory(**(arguments or {}))
    except MissingDataError:
        raise
    except Exception as error:
        raise SourceError(f"{key} is {name!r}, but calling it failed with {_where(error)}") from error


def make_current_folder_importable() -> None:
    """As ``python -m`` does; it stays so, since the user's code may import more later."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()


def _import(module_name: str, name: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise SourceError(
                f"{key} is {name!r}, but there is no module {error.name!r} in the current folder or installed."
            ) from error
        raise SourceError(f"{key} is {name!r}, but importing {module_name} failed with {_where(error)}") from error
    except Exception as error:
        raise SourceError(f"{key} is {name!r}, but importing {module_name} failed with {_where(error)}") from error


def _where(error: Exception) -> str:
    """The error's class, its first line, and the place in the user's code."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})."
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    theirs = [f for f in frames if f.filename != __file__ and f.filename != importlib.__file__]
    place = f" ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else ""
    return f"{type(error).__name__}: {first_line(error)}{place}."
