"""Samples drawn at random from a stream of unknown length, the same however the data are cut or ordered."""

from __future__ import annotations

import copy
import heapq
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import OptionError
from ..numerics import State, Sums

Item = dict[str, Any]
"""What is held of one sample, by name: tensors, as far as it is to be written down."""


class _Chances:
    """The random numbers of samples, drawn as far as they are asked for."""

    def __init__(self, seed: int | Sequence[int]) -> None:
        self._random = np.random.default_rng(seed)
        self._drawn = np.zeros(0)

    def of(self, numbers: Tensor) -> np.ndarray:
        """``[n]``."""
        missing = int(numbers.max()) + 1 - len(self._drawn) if len(numbers) else 0
        if missing > 0:
            self._drawn = np.concatenate([self._drawn, self._random.random(missing)])
        return self._drawn[numbers.numpy()]


class Draw(Sums):
    """Samples drawn without replacement: all of them while there is room.

    Each sample has a random number in [0, 1), by the seed and its own number. Those of the lowest are held, as many as
    fit together; so which they are depends on the seed, the samples and their sizes alone, and a smaller draw with the
    same seed is a part of a larger one.

    Args:
        room: what the sizes of the samples held may add up to.
        seed: of the random numbers.
        least: so many samples are held whatever their size.
    """

    def __init__(self, room: float, seed: int | Sequence[int], least: int = 0) -> None:
        self.room, self.least = room, least
        self._chances = _Chances(seed)
        self._held: list[tuple[float, int, float, Item]] = []  # a heap, the highest chance first
        self._used = 0.0
        self._limit = math.inf  # samples of this chance or a higher one do not fit

    def chances(self, numbers: Tensor) -> np.ndarray:
        """The random numbers of samples, ``[n]``."""
        return self._chances.of(numbers)

    def add(self, numbers: Tensor, make: Callable[[int], Item], size: float = 1) -> None:
        """Look at samples, each of this size; ``make(row)`` is called for those that are held."""
        chances = self.chances(numbers)
        for row in np.nonzero(chances < self._limit)[0].tolist():
            if chances[row] < self._limit:  # which the samples before it may have lowered
                self._hold(chances[row], int(numbers[row]), size, make(row))

    def _hold(self, chance: float, number: int, size: float, item: Item) -> None:
        heapq.heappush(self._held, (-chance, number, size, item))
        self._used += size
        while self._used > self.room and len(self._held) > self.least:
            chance, _, size, _ = heapq.heappop(self._held)
            self._limit = -chance
            self._used -= size

    def items(self) -> list[tuple[int, Item]]:
        """Number and content of the samples drawn, in the order of their numbers."""
        return sorted(((number, item) for _, number, _, item in self._held), key=lambda pair: pair[0])

    def __len__(self) -> int:
        return len(self._held)

    def emptied(self) -> Draw:
        """See `Sums`."""
        found = copy.copy(self)
        found._held, found._used, found._limit = [], 0.0, math.inf
        return found

    def merge(self, other: Draw) -> None:
        """See `Sums`."""
        held, self._limit = self._held + other._held, min(self._limit, other._limit)
        self._held, self._used = [], 0.0
        for chance, number, size, item in held:
            if -chance < self._limit:
                self._hold(-chance, number, size, item)

    def state(self) -> State:
        """See `Sums`."""
        held = sorted(self._held, key=lambda entry: entry[1])
        numbers = torch.tensor([number for _, number, _, _ in held], dtype=torch.int64)
        sizes = torch.tensor([size for _, _, size, _ in held], dtype=torch.float64)
        return {"numbers": numbers, "sizes": sizes, "limit": self._limit, **written([item for *_, item in held])}

    def load(self, state: Mapping[str, Any]) -> None:
        """See `Sums`."""
        self._limit, numbers = state["limit"], state["numbers"]
        items = read(state, len(numbers))
        for chance, number, size, item in zip(
            self.chances(numbers).tolist(), numbers.tolist(), state["sizes"].tolist(), items, strict=True
        ):
            heapq.heappush(self._held, (-chance, number, size, item))
            self._used += size


def written(items: Iterable[Item]) -> State:
    """Items as plain tensors, by ``"place.name"``.

    Raises:
        OptionError: one of them holds something else.
    """
    found: State = {}
    for place, item in enumerate(items):
        for name, value in item.items():
            if not isinstance(value, Tensor):
                raise OptionError(
                    f"A sample holds {name} of type {type(value).__name__}, which cannot be written down; give tensors."
                )
            found[f"{place}.{name}"] = value
    return found


def read(state: Mapping[str, Any], count: int) -> list[Item]:
    """So many items of what `written` made."""
    items: list[Item] = [{} for _ in range(count)]
    for key, value in state.items():
        place, _, name = key.partition(".")
        if place.isdigit():
            items[int(place)][name] = value
    return items
