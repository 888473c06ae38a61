"""A pure function as a list of operations, each on the values of earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch.fx.node import map_aggregate


@dataclass(frozen=True, eq=False)
class Slot:
    """Stands for a value where an operation's arguments are written down: its number."""

    index: int


@dataclass(frozen=True, eq=False)
class _Step:
    operation: Callable[..., Any]
    args: Any
    kwargs: Any
    into: int
    module: str
    spent: list[int] = field(default_factory=list)  # values that no later step needs


class Steps:
    """Written down once, called often; a value is given up after the last step that needs it.

    Nothing is compiled: a module that torch.fx writes takes a millisecond to make, and reading the anatomy of a section
    makes half a dozen functions that are called once.

    Args:
        sources: how many values the function is given.
    """

    def __init__(self, sources: int) -> None:
        self.sources = sources
        self._size = sources
        self._steps: list[_Step] = []
        self._results: list[Any] = []

    def add(self, operation: Any, args: Any, kwargs: Any, module: str = "") -> Slot:
        """One more step, of a module; arguments may hold slots at any depth of tuples, lists, dicts and slices."""
        self._steps.append(_Step(operation, args, kwargs, self._size, module))
        self._size += 1
        return Slot(self._size - 1)

    def returning(self, results: Sequence[Any]) -> Callable[..., tuple[Any, ...]]:
        """The function from the sources to these slots (or plain values), as a tuple."""
        self._results = list(results)
        seen = set(_slots(self._results))
        for step in reversed(self._steps):
            last = {i for i in (*_slots([step.args, step.kwargs]), step.into) if i not in seen}
            step.spent.extend(last)
            seen |= last
        return self

    def __call__(self, *sources: Any) -> tuple[Any, ...]:
        """Run all steps."""
        if len(sources) != self.sources:
            raise TypeError(f"expected {self.sources} values, got {len(sources)}")
        values = [*sources, *[None] * len(self._steps)]
        for step in self._steps:
            args, kwargs = _filled(step.args, values), _filled(step.kwargs, values)
            try:
                values[step.into] = step.operation(*args, **kwargs)
            except Exception as error:
                error.add_note(f"{step.operation} in module {step.module!r}")
                raise
            del args, kwargs
            for i in step.spent:
                values[i] = None
        return tuple(_filled(self._results, values))


def _slots(arguments: Any) -> list[int]:
    found: list[int] = []

    def note(leaf: Any) -> Any:
        if isinstance(leaf, Slot):
            found.append(leaf.index)
        return leaf

    map_aggregate(arguments, note)
    return found


def _filled(arguments: Any, values: list[Any]) -> Any:
    if isinstance(arguments, Slot):
        return values[arguments.index]
    if isinstance(arguments, tuple):
        return tuple([_filled(a, values) for a in arguments])
    if isinstance(arguments, list):
        return [_filled(a, values) for a in arguments]
    if isinstance(arguments, dict):
        return {k: _filled(a, values) for k, a in arguments.items()}
    if isinstance(arguments, slice):
        return slice(*(_filled(a, values) for a in (arguments.start, arguments.stop, arguments.step)))
    return arguments
