"""Single samples of the user's batches: drawn at random, and put together again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..cut import Record
from ..data import Batch, by_sample, joined, select
from ..measure.draw import Draw, Item
from ..numerics import Sums


class DrawnSamples(Sums):
    """A draw of samples, with inputs and targets, of which batches can be made again.

    Args:
        first: the first batch: it says which parts of the inputs belong to samples, and has what they share.
        size: its number of samples.
        count: samples to draw.
        seed: of the draw.
    """

    sums = ("draw",)

    def __init__(self, first: Batch, size: int, count: int, seed: int) -> None:
        leaves, self.spec = pytree.tree_flatten((first.args, first.kwargs))
        self.own = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and by_sample(leaf, size)]
        self.shared = [None if i in self.own else leaf for i, leaf in enumerate(leaves)]
        self.size = size
        self.draw = Draw(count, seed)

    def add(self, record: Record) -> None:
        """Look at a batch."""
        leaves = pytree.tree_leaves((record.batch.args, record.batch.kwargs))
        targets = record.batch.targets

        def make(row: int) -> Item:
            item: Item = {str(i): leaves[i][row : row + 1].clone() for i in self.own}
            if targets is not None:
                item["target"] = select(targets, torch.tensor([row]), record.size)
            return item

        self.draw.add(record.numbers, make)

    @property
    def numbers(self) -> Tensor:
        """Of the samples drawn, ascending."""
        return torch.tensor([number for number, _ in self.draw.items()], dtype=torch.int64)

    def batches(self, most: int | None = None) -> Iterator[Batch]:
        """The samples in batches no larger than the first, those of one shape together, otherwise in their order.

        At most so many of them, as far apart as they can be.
        """
        alike: dict[Any, list[Item]] = {}
        items = self.draw.items()
        for _, item in items[:: -(-len(items) // max(1, most or len(items))) or 1]:
            alike.setdefault(_shape(item), []).append(item)
        parts = [items[at : at + self.size] for items in alike.values() for at in range(0, len(items), self.size)]
        for index, items in enumerate(parts):
            yield self._joined(items, index)

    def _joined(self, items: Sequence[Item], index: int) -> Batch:
        leaves = list(self.shared)
        for i in self.own:
            leaves[i] = torch.cat([item[str(i)] for item in items])
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        targets = joined([item["target"] for item in items]) if "target" in items[0] else None
        return Batch(args, kwargs, targets, index)


def _shape(item: Item) -> Any:
    """What samples of one batch have in common."""
    leaves, spec = pytree.tree_flatten(dict(item))
    return (str(spec), tuple((tuple(t.shape), t.dtype) if isinstance(t, Tensor) else None for t in leaves))
