"""A digest of what a call was given, by content: two calls of the same digest compute the same."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..cut import Chain, Traced
from ..provenance import code_of, versions
from .records import Records

BESIDE = {"batches", "confirm", "groups", "progress", "spill", "tokenizer", "vocabulary"}
"""Arguments that decide no sum, or that are known by the samples of each pass."""


class UnknownError(Exception):
    """There is something whose content cannot be told."""


def digest_of_call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Of a function and its arguments by name; None where one of them cannot be told."""
    given = inspect.signature(function).bind(*args, **kwargs)
    given.apply_defaults()
    own = {name: value is None if name in BESIDE else value for name, value in given.arguments.items()}
    try:
        return digest([versions(), function.__qualname__, own])
    except UnknownError:
        return None


def digest(value: Any) -> str:
    """SHA-256 of plain data, tensors, results, cut models, and functions as they are written.

    Raises:
        UnknownError: it holds something else.
    """
    found = hashlib.sha256()
    _feed(found.update, value)
    return found.hexdigest()


def _feed(add: Callable[[bytes], object], value: Any) -> None:
    add(type(value).__qualname__.encode())
    if value is None or isinstance(value, (bool, int, float, str, bytes, torch.dtype, torch.device, type)):
        add(f"{value!r};".encode())
    elif isinstance(value, (Tensor, np.ndarray)):
        array = torch.as_tensor(value).detach().cpu().contiguous()
        add(f"{array.dtype}{tuple(array.shape)};".encode())
        add(array.reshape(-1).view(torch.uint8).numpy())  # pyright: ignore - a buffer
    elif isinstance(value, (Mapping, list, tuple, set, frozenset)):
        parts = list(value.items()) if isinstance(value, Mapping) else list(value)
        add(f"{len(parts)};".encode())
        for part in sorted(parts, key=repr) if isinstance(value, (set, frozenset)) else parts:
            _feed(add, part)
    elif isinstance(value, Traced):
        functions = value.functions if isinstance(value, Chain) else ()
        _feed(add, [value.facts(), value.mask, str(getattr(value, "device", None)), [_written(f) for f in functions]])
    elif is_dataclass(value):
        _feed(add, [type(value).__module__, *((f.name, getattr(value, f.name)) for f in fields(value))])
    elif callable(value) and not isinstance(value, nn.Module):
        _feed(add, _written(value))
    elif not isinstance(value, Records):
        raise UnknownError


def _written(function: Any) -> Any:
    """How a function, or the forward of each kind of module in one, is written, with what it holds."""
    if isinstance(function, nn.Module):
        kinds = {type(module) for module in function.modules()}
        kinds = sorted(kinds, key=lambda kind: kind.__qualname__)
        return [(_written(kind.forward), *code_of(kind.forward, kind)) for kind in kinds]
    if isinstance(function, partial):
        return [_written(function.func), function.args, function.keywords]
    function = inspect.unwrap(getattr(function, "__func__", function))
    code = getattr(function, "__code__", None)
    if code is None and not inspect.isbuiltin(function):
        raise UnknownError
    held = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    return [
        function.__module__,
        function.__qualname__,
        list(code_of(function)),
        held,
        getattr(function, "__defaults__", 0),
    ]
