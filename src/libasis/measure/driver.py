"""The one loop over the data."""

from __future__ import annotations

from typing import Any, TypeVar

import torch

from .accumulator import Accumulator
from .records import Records
from .shards import Sharing

Result = TypeVar("Result")


def measure(records: Records, accumulator: Accumulator[Result], label: str) -> Result:
    """Add all batches to an accumulator, as many rounds as it asks for, and give its result.

    Raises:
        BatchError: the data are empty, or changed between two passes.
    """
    measure_all(records, [accumulator], label)
    return accumulator.finish()


def measure_all(records: Records, accumulators: list[Any], label: str) -> None:
    """Add all batches to several accumulators in the same passes; each is asked for its result by whoever made it."""
    waiting, sharing = accumulators, Sharing.now()
    while waiting:
        if sharing is not None and not any(one.whole for one in waiting) and sharing.can(records):
            sharing.one_pass(records, waiting, label)
        else:
            for record in records.stream(label=label):
                with torch.no_grad():
                    for accumulator in waiting:
                        accumulator.add(record)
        waiting = [accumulator for accumulator in waiting if accumulator.another_round()]
