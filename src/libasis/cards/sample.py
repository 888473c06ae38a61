"""Single samples of the user's batches: drawn at random from a stream, and put together again."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..data.batches import Batch

T = TypeVar("T")


class Drawn(Generic[T]):
    """Samples drawn without replacement from a stream of unknown length: all of them while there are few enough.

    Each sample gets a random priority by its number, those of the lowest priorities are kept. Which they are depends on
    the seed and the number of samples, not on how these are cut into batches; a smaller draw with the same seed is a
    part of a larger one.
    """

    def __init__(self, capacity: int, seed: int) -> None:
        self.capacity = capacity
        self._random = np.random.default_rng(seed)
        self._heap: list[tuple[float, int, T]] = []

    def add(self, first: int, count: int, make: Callable[[int], T]) -> None:
        """Look at ``count`` samples numbered from ``first``; ``make(row)`` is called for those that are kept."""
        for row, priority in enumerate(self._random.random(count)):
            if len(self._heap) < self.capacity:
                heapq.heappush(self._heap, (-priority, first + row, make(row)))
            elif self._heap and -priority > self._heap[0][0]:
                heapq.heapreplace(self._heap, (-priority, first + row, make(row)))

    def items(self) -> list[tuple[int, T]]:
        """Number and content of the samples drawn, in the order of their numbers."""
        return sorted(((number, item) for _, number, item in self._heap), key=lambda pair: pair[0])


@dataclass(frozen=True)
class Row:
    """One sample of a batch; ``batched`` says which leaves of the inputs belong to the sample alone."""

    leaves: tuple[Any, ...]
    spec: Any
    batched: tuple[bool, ...]
    target: Any

    @classmethod
    def of(cls, batch: Batch, row: int, size: int) -> Row:
        """Sample ``row`` of a batch of ``size`` samples, copied."""
        leaves, spec = pytree.tree_flatten((batch.args, batch.kwargs))
        batched = tuple(isinstance(t, Tensor) and t.ndim > 0 and len(t) == size for t in leaves)
        own = tuple(t[row : row + 1].clone() if b else t for t, b in zip(leaves, batched, strict=True))
        return cls(own, spec, batched, target_of(batch.targets, row, size))

    def shape(self) -> Any:
        """What samples of one batch have in common."""
        shapes = tuple((tuple(t.shape), t.dtype) if b else None for t, b in zip(self.leaves, self.batched, strict=True))
        target = tuple(self.target.shape) if isinstance(self.target, Tensor) else None
        return (str(self.spec), shapes, target)


def target_of(targets: Any, row: int, size: int) -> Any:
    """The target of one sample with a batch dimension of 1; None where targets are no tensor or list of samples."""
    if isinstance(targets, Tensor) and targets.ndim and len(targets) == size:
        return targets[row : row + 1].clone()
    if isinstance(targets, (list, tuple)) and len(targets) == size:
        return [targets[row]]
    return None


def batches_of(rows: Sequence[Row], size: int) -> Iterator[Batch]:
    """The samples in batches of at most ``size``, those of one shape together, otherwise in their order."""
    alike: dict[Any, list[Row]] = {}
    for row in rows:
        alike.setdefault(row.shape(), []).append(row)
    index = 0
    for group in alike.values():
        for start in range(0, len(group), size):
            yield _joined(group[start : start + size], index)
            index += 1


def _joined(rows: Sequence[Row], index: int) -> Batch:
    first = rows[0]
    leaves = [
        torch.cat([row.leaves[i] for row in rows]) if batched else first.leaves[i]
        for i, batched in enumerate(first.batched)
    ]
    args, kwargs = pytree.tree_unflatten(leaves, first.spec)
    targets: Any = None
    if isinstance(first.target, Tensor):
        targets = torch.cat([row.target for row in rows])
    elif first.target is not None:
        targets = [target for row in rows for target in row.target]
    return Batch(args, kwargs, targets, index)
