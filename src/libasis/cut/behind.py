"""Whether there is a module behind a value, wherever the value keeps it."""

from __future__ import annotations

import copyreg
import functools
import sys
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None), type})


class Behind:
    """Says of values whether there is a module behind them; remembers those where there is none."""

    def __init__(self) -> None:
        self._none: dict[int, Any] = {}  # held, so that an id stays its own

    def __call__(self, value: Any) -> bool:
        """Whether a module is reached from a value through what a twin goes through."""
        seen: dict[int, Any] = {}
        stack = [value]
        while stack:
            one = stack.pop()
            if type(one) in PLAIN or id(one) in seen or id(one) in self._none:
                continue
            seen[id(one)] = one
            one = referent(one)
            if isinstance(one, nn.Module):
                return True
            stack.extend(_parts(one))
        self._none.update(seen)
        return False


def referent(value: Any) -> Any:
    """What a weak reference refers to, None if it is gone; any other value itself."""
    if isinstance(value, weakref.ref):
        return value()
    if type(value) not in weakref.ProxyTypes:
        return value
    try:
        return value.__init__.__self__
    except ReferenceError:
        return None


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, types.MethodType):
        return (value.__self__,)
    if isinstance(value, functools.partial):
        return (value.func, *value.args, *value.keywords.values())
    if isinstance(value, types.FunctionType):
        filled = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
        return (*filled, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
    own = attributes(value).values()
    if isinstance(value, dict):
        return (*dict.keys(value), *dict.values(value), *own)
    return (*value, *own) if isinstance(value, (list, tuple, set, frozenset, deque)) else own


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def attributes(value: Any) -> dict[str, Any]:
    """What an object keeps in its attributes; nothing of one that a copy could not be made of, or would be harmful.

    Those are Python's own (loggers, threads, files), and those that clean up after themselves.
    """
    kind = type(value)
    pythons_own = kind.__module__.split(".")[0] in _PYTHONS
    if pythons_own or isinstance(value, (type, Tensor)) or hasattr(kind, "__del__") or base_of(kind) not in _BASES:
        return {}
    own = dict(getattr(value, "__dict__", {}))
    return own | {name: getattr(value, name) for name in copyreg._slotnames(kind) if hasattr(value, name)}  # pyright: ignore


def base_of(kind: type) -> type:
    """The nearest base of a class that is not written in Python, whose state an object has."""
    return next(base for base in kind.__mro__ if not base.__flags__ & _HEAP)


_HEAP = 1 << 9  # of a class that is made while Python runs

_BASES = {object, dict, OrderedDict, defaultdict, list, set, tuple, deque, types.SimpleNamespace}

_PYTHONS = sys.stdlib_module_names - {"__main__", "argparse", "collections", "types"}
