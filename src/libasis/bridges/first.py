"""The tensor that a site names among what a module takes or returns: the first of floating-point numbers."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


def change_first(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The value with another first tensor, as far down as `trace` looks for one; None where it holds none."""
    if isinstance(value, Tensor):
        return change(value) if value.is_floating_point() else None
    if isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, (tuple, list)):
        parts = list(enumerate(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    else:
        return None
    for key, part in parts:
        if (new := change_first(part, change)) is not None:
            return _with(value, key, new)
    return None


def _with(value: Any, key: Any, new: Any) -> Any:
    """A copy with something else at a key."""
    if isinstance(value, tuple):
        made = (*value[:key], new, *value[key + 1 :])
        return type(value)(*made) if hasattr(value, "_fields") else made
    if dataclasses.is_dataclass(value):  # also one that is a mapping, as transformers' outputs are
        return dataclasses.replace(value, **{key: new})  # pyright: ignore
    made = copy.copy(value)
    made[key] = new
    return made
