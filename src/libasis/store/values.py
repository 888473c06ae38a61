"""Values as JSON and tensors, and back.

What JSON has no word for is marked by a key that begins with ``$``:

- ``{"$float": "nan"}``, also ``"inf"`` and ``"-inf"``;
- ``{"$map": [[key, value], ...]}``: a mapping whose keys are not texts, or begin with ``$``;
- ``{"$tensor": name}``, ``{"$array": name}`` (NumPy), ``{"$sparse": name, "shape": [...]}`` (COO, as the tensors
  ``name.places`` and ``name.values``): what stands among the tensors.

Dataclasses are objects of their fields. Reading is led by their annotations: a value of another type is refused.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from functools import singledispatch
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor

from ..errors import LibasisError
from ..types import Plain

Tensors = dict[str, Tensor]
_LARGEST = 10**38


class MisfitError(Exception):
    """A value cannot be stored, or what is stored is no such value; its text completes "The result is damaged: "."""


@singledispatch
def to_plain(value: Any, name: str, tensors: Tensors) -> Any:
    """A value as JSON-serialisable data; its tensors are put among ``tensors``, named by where they stand.

    Raises:
        MisfitError: there is a value of a type that is not stored.
    """
    if is_dataclass(value) and not isinstance(value, type):
        table = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
        return {key: to_plain(item, _joined(name, key), tensors) for key, item in table.items()}
    raise MisfitError(f"{name or 'it'} is of type {type(value).__name__}, which is not stored")


@to_plain.register(str)
@to_plain.register(bool)
@to_plain.register(np.bool_)
@to_plain.register(type(None))
def _(value: Any, name: str, tensors: Tensors) -> Any:
    return value if value is None else str(value) if isinstance(value, str) else bool(value)


@to_plain.register
def _(value: Integral, name: str, tensors: Tensors) -> int:
    if abs(int(value)) > _LARGEST:
        raise MisfitError(f"{name} is a whole number beyond 1e38, which is not stored")
    return int(value)


@to_plain.register
def _(value: Real, name: str, tensors: Tensors) -> Any:
    number = float(value)
    return number if math.isfinite(number) else {"$float": str(number)}


@to_plain.register(list)
@to_plain.register(tuple)
def _(value: Sequence[Any], name: str, tensors: Tensors) -> list[Any]:
    return [item if _is_plain(item) else to_plain(item, _joined(name, i), tensors) for i, item in enumerate(value)]


@to_plain.register
def _(value: Mapping, name: str, tensors: Tensors) -> Plain:  # type: ignore[type-arg]
    if all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {
            key: item if _is_plain(item) else to_plain(item, _joined(name, key), tensors) for key, item in value.items()
        }
    if any(isinstance(key, (list, tuple, Mapping)) for key in value):
        raise MisfitError(f"{name} has keys that are neither texts nor numbers, which are not stored")
    return {"$map": [[to_plain(k, name, {}), to_plain(item, _joined(name, k), tensors)] for k, item in value.items()]}


@to_plain.register
def _(value: Tensor, name: str, tensors: Tensors) -> Plain:
    if value.layout == torch.sparse_coo:
        value = value.detach().coalesce()
        name = _free(name, tensors)
        tensors[f"{name}.places"], tensors[f"{name}.values"] = _own(value.indices()), _own(value.values())
        return {"$sparse": name, "shape": list(value.shape)}
    name = _free(name, tensors)
    tensors[name] = _own(value)
    return {"$tensor": name}


@to_plain.register
def _(value: np.ndarray, name: str, tensors: Tensors) -> Plain:
    name = _free(name, tensors)
    try:
        tensors[name] = torch.tensor(value)
    except TypeError:
        raise MisfitError(f"{name} is an array of {value.dtype}, which is not stored") from None
    return {"$array": name}


def _is_plain(value: Any) -> bool:
    """Whether `to_plain` gives the value itself: most of all values, and neither dispatch nor name is needed there."""
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    return kind is str or value is None or kind is bool or (kind is int and -_LARGEST <= value <= _LARGEST)


def _joined(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)


def _free(name: str, tensors: Tensors) -> str:
    """The name as a safetensors file takes it, with as many strokes as make it the only one."""
    name = name.encode("utf-8", "backslashreplace").decode("utf-8")
    while not tensors.keys().isdisjoint((name, f"{name}.places", f"{name}.values")):
        name += "'"
    return name


def _own(tensor: Tensor) -> Tensor:
    """Memory of its own: a safetensors file has none that is shared."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def all_finite(tensor: Tensor) -> bool:
    """Whether a tensor of real numbers holds neither nan nor infinity; takes no memory beside it."""
    return tensor.numel() == 0 or bool(torch.stack(tensor.aminmax()).isfinite().all())


def without_tensors(value: Any) -> Any:
    """What `to_plain` gives for people and other programs: not finite numbers as texts, mappings by numbers as pairs.

    Fields and entries that hold tensors are left out.
    """
    if isinstance(value, list):
        return [without_tensors(item) if isinstance(item, (list, dict)) else item for item in value]
    if isinstance(value, dict):
        if "$float" in value:
            return value["$float"]
        if "$map" in value:
            pairs = without_tensors(value["$map"])
            return dict(pairs) if all(isinstance(key, str) for key, _ in pairs) else pairs
        return {k: without_tensors(item) if isinstance(item, (list, dict)) else item for k, item in value.items()}
    return value


def from_plain(plain: Any, tensors: Tensors) -> Any:
    """What `to_plain` was given, with dataclasses still as mappings; each tensor is taken out of ``tensors``.

    Raises:
        MisfitError: a mark is unknown, or a tensor missing.
    """
    if isinstance(plain, list):
        return [from_plain(item, tensors) for item in plain]
    if not isinstance(plain, dict):
        return plain
    mark = next(iter(plain), "")
    if not mark.startswith("$"):
        return {key: from_plain(item, tensors) for key, item in plain.items()}
    try:
        return _MARKS[mark](plain, tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise MisfitError(f"it has a value {_short(plain)} that cannot be read ({_short(error)})") from None


_MARKS: dict[str, Callable[[Plain, Tensors], Any]] = {
    "$float": lambda plain, tensors: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[plain["$float"]],
    "$map": lambda plain, tensors: {from_plain(k, tensors): from_plain(item, tensors) for k, item in plain["$map"]},
    "$tensor": lambda plain, tensors: tensors.pop(plain["$tensor"]),
    "$array": lambda plain, tensors: tensors.pop(plain["$array"]).numpy(),
    "$sparse": lambda plain, tensors: torch.sparse_coo_tensor(
        tensors.pop(f"{plain['$sparse']}.places"),
        tensors.pop(f"{plain['$sparse']}.values"),
        plain["shape"],
        is_coalesced=True,
        check_invariants=True,
    ),
}


def fit(hint: Any, value: Any, where: str = "") -> Any:
    """A value of the annotated type, out of what `from_plain` gave: dataclasses and tuples are made again.

    Raises:
        MisfitError: the value is of another type.
    """
    if hint is Any or (isinstance(hint, type) and type(value) is hint):
        return value
    if hint is float and type(value) is int:
        return float(value)
    kind = get_origin(hint) or hint
    for known, read in _READERS:
        if known(kind):
            return read(hint, value, where)
    raise _misfit(hint, value, where)


def _union(hint: Any, value: Any, where: str) -> Any:
    options = [option for option in get_args(hint) if option is not types.NoneType]
    if value is None and len(options) < len(get_args(hint)):
        return None
    for option in options[:-1]:
        with suppress(MisfitError):
            return fit(option, value, where)
    return fit(options[-1], value, where)


def _literal(hint: Any, value: Any, where: str) -> Any:
    if value not in get_args(hint):
        raise _misfit(hint, value, where)
    return value


def _list(hint: Any, value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _misfit(hint, value, where)
    (item,) = get_args(hint) or (Any,)
    return [fit(item, one, f"{where}[{i}]") for i, one in enumerate(value)]


def _tuple(hint: Any, value: Any, where: str) -> tuple[Any, ...]:
    items = get_args(hint)
    if not isinstance(value, list) or (items[-1:] != (...,) and len(items) != len(value)):
        raise _misfit(hint, value, where)
    items = items[:1] * len(value) if items[-1:] == (...,) else items
    return tuple(fit(item, one, f"{where}[{i}]") for i, (item, one) in enumerate(zip(items, value, strict=True)))


def _mapping(hint: Any, value: Any, where: str) -> Any:
    """A dict, or a mapping of its own class that is made from one."""
    own: Any = hint if get_origin(hint) is None and hint not in (dict, Mapping) else None
    key, item = get_args(own.__orig_bases__[0] if own else hint) or (Any, Any)
    if not isinstance(value, dict):
        raise _misfit(hint, value, where)
    table = {fit(key, k, f"a key of {where}"): fit(item, one, f"{where}[{k!r}]") for k, one in value.items()}
    return own(table) if own else table


def _array(hint: Any, value: Any, where: str) -> Any:
    if not isinstance(value, get_origin(hint) or hint):
        raise _misfit(hint, value, where)
    return value


def _dataclass(hint: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _misfit(hint, value, where)
    hints = get_type_hints(hint)
    needed = {field.name for field in fields(hint) if field.default is MISSING and field.default_factory is MISSING}
    known = {field.name for field in fields(hint) if field.init}
    for wrong, names in (("lacks", needed - set(value)), ("has the unknown field", set(value) - known)):
        if names:
            raise MisfitError(f"{where or 'it'} {wrong} {min(names)!r}")
    values = {key: fit(hints[key], item, _joined(where, key)) for key, item in value.items()}
    try:
        return hint(**values)
    except (TypeError, ValueError, LibasisError) as error:
        raise MisfitError(f"{where or 'it'} cannot be made again: {error}") from error


def _is(*types_: Any) -> Callable[[Any], bool]:
    return lambda kind: kind in types_


_READERS: tuple[tuple[Callable[[Any], bool], Callable[[Any, Any, str], Any]], ...] = (
    (_is(Union, types.UnionType), _union),
    (_is(Literal), _literal),
    (_is(list, Sequence), _list),
    (_is(tuple), _tuple),
    (_is(Tensor, np.ndarray), _array),
    (is_dataclass, _dataclass),
    (lambda kind: isinstance(kind, type) and issubclass(kind, Mapping), _mapping),
)


def _misfit(hint: Any, value: Any, where: str) -> MisfitError:
    wanted = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
    return MisfitError(f"{where or 'it'} is {_short(value)}, but it must be of type {wanted}")


def _short(value: Any) -> str:
    text = type(value).__name__ if isinstance(value, (Tensor, np.ndarray)) else ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."
