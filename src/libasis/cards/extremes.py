"""The samples at which each feature is largest, or smallest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..measure.draw import Item, read, written
from ..numerics import State, Sums
from ..types import Matrix


class Extremes(Sums):
    """For each feature the samples with the largest values; equal values stand in the order of the samples.

    Args:
        features: their number.
        count: samples to keep for each feature.
        sign: 1 for the largest values, -1 for the smallest.

    Attributes:
        entries: for each feature what ``make`` returned for its samples, the most extreme first.
    """

    def __init__(self, features: int, count: int, sign: int) -> None:
        self.count, self.sign = count, sign
        self.keys = torch.empty(features, 0, dtype=torch.float64)
        self.numbers = torch.empty(features, 0, dtype=torch.int64)
        self.entries: list[list[Item]] = [[] for _ in range(features)]

    def add(self, values: Matrix, numbers: Tensor, make: Callable[[int, int], Item]) -> None:
        """Look at more samples.

        Args:
            values: ``[samples, features]``, NaN where a sample has no value.
            numbers: of the samples.
            make: called with (row, feature) for each sample that is kept.
        """
        keys = (self.sign * values).nan_to_num(nan=-torch.inf).T.cpu()
        self._take(keys, numbers.expand(keys.shape), make)

    def emptied(self) -> Extremes:
        """See `Sums`."""
        return Extremes(len(self.entries), self.count, self.sign)

    def merge(self, other: Extremes) -> None:
        """See `Sums`."""
        self._take(other.keys, other.numbers, lambda place, feature: other.entries[feature][place])

    def _take(self, keys: Matrix, numbers: Tensor, make: Callable[[int, int], Item]) -> None:
        known = self.keys.shape[1]
        keys, numbers = torch.cat([self.keys, keys], 1), torch.cat([self.numbers, numbers], 1)
        order = numbers.argsort(dim=1, stable=True)
        best, place = torch.sort(keys.gather(1, order), dim=1, descending=True, stable=True)
        best, where = best[:, : self.count], order.gather(1, place)[:, : self.count]
        for f in torch.nonzero((where >= known).any(1)).flatten().tolist():
            self.entries[f] = [
                self.entries[f][w] if w < known else make(w - known, f)
                for w, key in zip(where[f].tolist(), best[f].tolist(), strict=True)
                if key > -torch.inf
            ]
        self.keys, self.numbers = best, numbers.gather(1, where)

    def state(self) -> State:
        """See `Sums`."""
        return {
            "keys": self.keys,
            "numbers": self.numbers,
            **written([item for entries in self.entries for item in entries]),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """See `Sums`."""
        self.keys, self.numbers = state["keys"], state["numbers"]
        sizes = (self.keys > -torch.inf).sum(1).tolist()
        items = iter(read(state, sum(sizes)))
        self.entries = [[next(items) for _ in range(size)] for size in sizes]


def extreme_positions(values: Tensor, counted: Tensor | None, sign: int) -> tuple[Matrix, Tensor]:
    """Each sample's most extreme value among its counted positions, and the first position that has it.

    Args:
        values: ``[sample, position, feature]``.
        counted: bool ``[sample, position]``, or None where every position counts.
        sign: 1 for the largest, -1 for the smallest.

    Returns:
        Values ``[sample, feature]``, NaN where no position counts, and positions ``[sample, feature]``.
    """
    keys = sign * values
    if counted is not None:
        keys = keys.masked_fill(~counted[..., None], -torch.inf)
    best = keys.amax(1)
    where = (keys == best[:, None]).long().argmax(1)  # the first among equals, which max(1) does not promise
    return torch.where(best > -torch.inf, sign * best, torch.nan), where
