"""Sums over the data: parts of them are merged exactly, and their state can be written down."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

State = dict[str, Tensor | float | int]
"""Sums by name, those of a part as ``"part.name"``: plain tensors and numbers."""


class Sums:
    """Attributes that add up.

    Attributes:
        sums: their names. Each is a tensor or a number, None before anything was added, or further `Sums`: one, a list
            or a dictionary of them.
        plan: names of tensors and numbers (or None) that all parts of one round share: written down, but not added.
    """

    sums: ClassVar[tuple[str, ...]] = ()
    plan: ClassVar[tuple[str, ...]] = ()

    def merge(self, other: Self) -> None:
        """Add all that another has seen, which is given up for it; equal to seeing it all here, up to rounding."""
        for name in self.sums:
            setattr(self, name, _merged(getattr(self, name), getattr(other, name)))

    def emptied(self) -> Self:
        """Another of the same plan that has seen nothing: for other batches of the same round."""
        found = copy.copy(self)
        for name in self.sums:
            setattr(found, name, _emptied(getattr(self, name)))
        return found

    def settle(self) -> None:
        """Put together what a state does not tell apart, so that going on from the state gives the same to the bit."""

    def state(self) -> State:
        """All sums so far, and the plan, as plain tensors and numbers."""
        found: State = {}
        for name in (*self.sums, *self.plan):
            _write(found, name, getattr(self, name))
        return found

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, in an object that was made in the same way and has seen nothing yet."""
        for name in (*self.sums, *self.plan):
            setattr(self, name, _read(state, name, getattr(self, name)))


def _merged(mine: Any, theirs: Any) -> Any:
    if mine is None or theirs is None:
        return theirs if mine is None else mine
    if isinstance(mine, Sums):
        mine.merge(theirs)
        return mine
    if isinstance(mine, dict):
        return {key: _merged(mine.get(key), theirs.get(key)) for key in {**mine, **theirs}}
    if isinstance(mine, list):
        return [_merged(a, b) for a, b in zip(mine, theirs, strict=True)] if mine and theirs else mine or theirs
    return mine + theirs.to(mine.device) if isinstance(mine, Tensor) else mine + theirs


def _emptied(value: Any) -> Any:
    if isinstance(value, list):
        return [_emptied(part) for part in value]
    if isinstance(value, dict):
        return {key: _emptied(part) for key, part in value.items()}
    if isinstance(value, Tensor):
        return torch.zeros_like(value)
    return value.emptied() if isinstance(value, Sums) else None if value is None else 0


def _write(found: State, name: str, value: Any) -> None:
    if isinstance(value, Sums):
        found.update({f"{name}.{key}": part for key, part in value.state().items()})
    elif isinstance(value, (list, dict)):
        for key, part in enumerate(value) if isinstance(value, list) else value.items():
            _write(found, f"{name}.{key}", part)
    elif value is not None:
        found[name] = value.clone() if isinstance(value, Tensor) else value


def _read(state: Mapping[str, Any], name: str, value: Any) -> Any:
    if isinstance(value, Sums):
        value.load({key[len(name) + 1 :]: part for key, part in state.items() if key.startswith(f"{name}.")})
        return value
    if isinstance(value, list):
        return [_read(state, f"{name}.{i}", part) for i, part in enumerate(value)]
    if isinstance(value, dict):
        return {key: _read(state, f"{name}.{key}", part) for key, part in value.items()}
    found = state.get(name, value)
    return found.clone() if isinstance(found, Tensor) else found
