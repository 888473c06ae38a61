"""What a public call was given, held against its annotations before anything is done with it."""

from __future__ import annotations

import functools
import inspect
import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from torch import Tensor

from .errors import OptionError, short

P = ParamSpec("P")
T = TypeVar("T")

_WORDS = {
    bool: ("True or False", "True or False"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    types.NoneType: ("None", "None"),
}
_VARIADIC = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD


def typed(function: Callable[P, T]) -> Callable[P, T]:
    """For a public function: an argument of another type than its annotation says is refused.

    What only running can tell (a range, a name that must exist) is for the function to check.
    """
    signature = inspect.signature(function)
    plain = [name for name, one in signature.parameters.items() if one.kind not in _VARIADIC]
    own = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]  # a class goes by its own name

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        bound = signature.bind(*args, **kwargs)
        given = bound.arguments
        _check(function, {name: given[name] for name in plain if name in given}, own)
        arrays = [name for name in plain if isinstance(given.get(name), np.ndarray)]
        if lists := [name for name in arrays if _is_list(_hints(function).get(name))]:
            given.update({name: given[name].tolist() for name in lists})
            return function(*bound.args, **bound.kwargs)
        return function(*args, **kwargs)

    return checked


def check_fields(value: Any, *names: str) -> None:
    """For ``__post_init__`` of a public dataclass: its fields (those named, or all), as `typed` does it.

    Raises:
        OptionError: one is of another type.
    """
    kept = names or [one.name for one in fields(value)]
    _check(type(value), {name: getattr(value, name) for name in kept}, type(value).__name__)


@functools.cache
def _hints(owner: Any) -> dict[str, Any]:
    return get_type_hints(owner)


def _check(owner: Any, given: Mapping[str, Any], name: str) -> None:
    hints = _hints(owner)
    for key, value in given.items():
        if key in hints and not _fits(value, hints[key]):
            raise OptionError(f"{key} is {_shown(value)}; {name} takes {_words(hints[key])}.")
        if key == "seed" and not 0 <= value < 2**63:
            raise OptionError(f"seed is {_shown(value)}; {name} takes a whole number from 0 to 2**63 - 1.")


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any or isinstance(hint, TypeVar):
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in inner) and _is_path(value, inner)
    if origin is Literal:
        return any(value is one or (isinstance(value, type(one)) and value == one) for one in inner)
    if hint is bool:
        return isinstance(value, (bool, np.bool_)) or (isinstance(value, Integral) and value in (0, 1))
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool) and _finite(value)
    if isinstance(origin, type):
        return _holds(value, origin, inner)
    return not isinstance(hint, type) or _is(value, hint)


def _is_list(hint: Any) -> bool:
    """Whether a list is asked for, so that an array is given as one."""
    choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return all(get_origin(one) is Sequence for one in choices if one is not types.NoneType)


def _holds(value: Any, origin: Any, inner: tuple[Any, ...]) -> bool:
    """Whether it is a collection (or a function), of the right things where these can be looked at."""
    if origin is type or issubclass(origin, Callable):
        return callable(value) if origin is not type else isinstance(value, type)
    if issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(_fits(k, inner[0]) and _fits(v, inner[1]) for k, v in value.items())
    if isinstance(value, (str, bytes, Mapping)) and origin is not Iterable:
        return False
    if issubclass(origin, Sequence) or origin in (set, frozenset):
        value = value.tolist() if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 1 else value
        return _is(value, origin) and all(_fits(one, inner[0]) for one in value if inner)
    several = (hasattr(value, "__iter__") or hasattr(value, "__getitem__")) and getattr(value, "ndim", 1) != 0
    return several if origin is Iterable else _is(value, origin)


def _is(value: Any, kind: type) -> bool:
    """Whether it is of a class; what a protocol asks for is for the function to say."""
    return getattr(kind, "_is_protocol", False) or isinstance(value, kind)


def _finite(value: Any) -> bool:
    """Whether it is no whole number beyond what a float holds."""
    try:
        float(value)
    except OverflowError:
        return False
    return True


def _is_path(value: Any, choices: tuple[Any, ...]) -> bool:
    """Whether a text can be the name of a file, where it is to be one."""
    paths = any(isinstance(one, type) and issubclass(one, PurePath) for one in choices)
    return not (paths and isinstance(value, str)) or ("\0" not in value and _encodes(value))


def _encodes(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> str:
    if value is None or isinstance(value, (bool, float, complex)):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if abs(value) < 10**40 else f"a whole number of {value.bit_length()} bits"
    if isinstance(value, str):
        return short(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, (list, tuple)) and value:
        return f"a {type(value).__name__} of {', '.join(sorted({type(one).__name__ for one in value}))}"
    return f"of type {type(value).__name__}"


def _words(hint: Any, one: bool = True) -> str:
    """What an annotation asks for; of several such things where ``one`` is false."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        *most, last = dict.fromkeys(_words(choice, one) for choice in inner)
        return f"{', '.join(most)} or {last}" if most else last
    if origin is Literal:
        return " or ".join(repr(choice) for choice in inner)
    if isinstance(origin, type):
        return _collection(origin, inner, one)
    if isinstance(hint, type) and issubclass(hint, PurePath):
        return "a path" if one else "paths"
    name = getattr(hint, "__name__", str(hint))
    singular, plural = _WORDS.get(hint, (f"{'an' if name[0] in 'AEIO' else 'a'} {name}", name))
    return singular if one else plural


def _collection(origin: Any, inner: tuple[Any, ...], one: bool) -> str:
    if issubclass(origin, Callable):
        return "a function" if one else "functions"
    if origin is type:
        return "a class"
    of = [kind for kind in inner if kind not in (Any, ...)]
    if issubclass(origin, Mapping):
        return f"{'a mapping' if one else 'mappings'} from {_words(inner[0], False)} to {_words(inner[1], False)}"
    return ("a list" if one else "lists") + (f" of {_words(of[0], False)}" if of else "")
