"""How large records are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..cut import Record
from ..numerics import Sums


class RecordSizes(Sums):
    """What the first pass learns of the records.

    Attributes:
        positions: at each site, in the longest batch, int64.
        bytes: of all records together.
    """

    sums = ("positions", "bytes")

    def __init__(self, sites: int, *, inputs: bool) -> None:
        self.positions = torch.zeros(sites, dtype=torch.int64)
        self.bytes, self.inputs = 0, inputs

    def add(self, record: Record) -> None:
        """Look at a record."""
        self.positions = self.positions.maximum(torch.tensor([x.shape[1] for x in record.activations]))
        self.bytes += nbytes(record) + (input_bytes(record) if self.inputs else 0)

    def merge(self, other: RecordSizes) -> None:
        """See `Sums`."""
        self.positions, self.bytes = self.positions.maximum(other.positions), self.bytes + other.bytes


def nbytes(record: Record) -> int:
    """The size of a record's tensors in bytes, without the inputs."""
    tensors = [*record.activations, record.targets, *record.counted]
    for context in (*record.contexts, record.tail):
        tensors += context.values
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, Tensor))


def input_bytes(record: Record) -> int:
    """The size of a record's inputs in bytes."""
    leaves = pytree.tree_leaves((record.batch.args, record.batch.kwargs))
    return sum(t.numel() * t.element_size() for t in leaves if isinstance(t, Tensor))
