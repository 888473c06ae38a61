"""What every result records: versions, and how functions are written."""

from __future__ import annotations

import inspect
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from types import CellType, CodeType, ModuleType
from typing import Any

import torch


def versions() -> dict[str, str]:
    """Versions of libasis, torch and Python."""
    try:
        own = version("libasis")
    except PackageNotFoundError:
        own = "unknown"
    return {"libasis": own, "torch": torch.__version__, "python": platform.python_version()}


def readout_of(info: Mapping[str, Any]) -> str:
    """What importance is for, of the record of a fit, with what M' was shrunk by; nothing for the next site."""
    readout = info.get("readout") or "next"
    shrunk = sorted({f"{rule['shrink']:.2g}" for rule in info.get("rules") or () if "shrink" in rule}, key=float)
    ends = " to ".join(dict.fromkeys([*shrunk[:1], *shrunk[-1:]]))
    return "" if readout == "next" else f"{readout}, shrinkage {ends}" if ends else str(readout)


def code_of(function: Any, kind: type = object, seen: set[Any] | None = None) -> Iterator[str]:
    """What a function does, with the functions, methods and plain values that it names; what torch has, by name.

    Args:
        function: written in Python; nothing comes of another.
        kind: the class whose methods it may name.
        seen: of what was said already.
    """
    seen = set() if seen is None else seen
    function = inspect.unwrap(getattr(function, "__func__", function))
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType) or function in seen or str(function.__module__).startswith("torch."):
        return
    seen.add(function)
    yield f"{[one for one in function.__defaults__ or () if is_plain(one)]}"
    todo = [code]
    for one in todo:
        todo += [part for part in one.co_consts if isinstance(part, CodeType)]
        yield f"{one.co_code.hex()} {one.co_names} {[_said(part) for part in one.co_consts]}"
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    around = {name: cell.cell_contents for name, cell in cells if cell != CellType()}
    named = [name for one in todo for name in one.co_names]
    known = {**function.__globals__, **around}
    modules = [known[name] for name in named if isinstance(known.get(name), ModuleType) and name != "torch"]
    for name in dict.fromkeys([*named, *around]):
        for value in [known.get(name), *(getattr(one, name, None) for one in (*modules, *inspect.getmro(kind)))]:
            value = getattr(value, "fget", value)  # of a property
            if is_plain(value):
                yield f"{name} {value!r}"
            elif callable(value) and not isinstance(value, type):
                yield from code_of(value, kind, seen)


def _said(constant: Any) -> Any:
    return constant if is_plain(constant) else sorted(map(repr, constant)) if isinstance(constant, frozenset) else None


def is_plain(value: Any) -> bool:
    """Whether it is a number, a text, or a tuple of them."""
    kinds = (bool, int, float, complex, str)
    return isinstance(value, kinds) or (isinstance(value, tuple) and all(map(is_plain, value)))
