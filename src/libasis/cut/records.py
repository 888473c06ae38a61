"""The records of all batches: run once and kept where they fit into memory, run again where they do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor
from tqdm import tqdm

from ..errors import OptionError
from .batches import check_reiterable
from .traced import Record, Traced


class Records:
    """The batches of one call, to be gone through several times.

    The first complete pass keeps the records if they take at most ``memory`` bytes; otherwise every pass runs the model
    again, so that memory is bounded by the batch.

    Args:
        traced: the model.
        batches: a re-iterable.
        memory: bound in bytes for what is kept.

    Raises:
        BatchError: the batches are one-shot.
        OptionError: ``memory`` is no number of bytes.
    """

    def __init__(self, traced: Traced, batches: Iterable[Any], memory: int) -> None:
        check_reiterable(batches)
        check_memory(memory)
        self.traced = traced
        self.batches = batches
        self.memory = memory
        self.kept: list[Record] | None = None

    def stream(self, *, progress: bool | None = None, label: str = "") -> Iterator[Record]:
        """All records, one at a time."""
        if self.kept is not None:
            disable = None if progress is None else not progress
            yield from tqdm(self.kept, desc=label, disable=disable, leave=False, unit="batch")
            return
        kept: list[Record] | None = []
        size = 0
        for record in self.traced.stream(self.batches, progress=progress, label=label):
            yield record
            size += nbytes(record)
            if kept is not None and size <= self.memory:
                kept.append(record)
            else:
                kept = None
        self.kept = kept


def check_memory(memory: int) -> None:
    """Refuse what is no number of bytes.

    Raises:
        OptionError: it is none.
    """
    if not isinstance(memory, (int, float)) or not memory > 0:
        raise OptionError(f"memory is {memory!r}; give a number of bytes above 0.")


def nbytes(record: Record) -> int:
    """The size of a record's tensors in bytes."""
    tensors = [*record.activations, record.targets, *record.counted]
    for context in (*record.contexts, record.tail):
        tensors += context.values
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, Tensor))
