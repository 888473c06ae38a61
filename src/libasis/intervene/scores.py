"""The one scorer: what runs of a model score, altogether and sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cut import Record
from ..errors import BatchError
from ..measure import Accumulator
from ..numerics import State, Sums
from ..types import Activations, Matrix, Vector
from .metrics import Metric

AT_ONCE = 2048
"""At most so many samples go through the model together."""


class BySample(Sums):
    """Rows of numbers, one for each sample, kept by the sample's number."""

    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, Matrix]] = []

    def add(self, numbers: Tensor, rows: Matrix) -> None:
        """Add rows ``[n, width]`` of samples ``[n]``."""
        self._parts.append((numbers, rows))

    def table(self) -> tuple[Tensor, Matrix]:
        """The numbers of all samples, ascending, and their rows."""
        if not self._parts:
            return torch.zeros(0, dtype=torch.int64), torch.zeros(0, 0, dtype=torch.float64)
        numbers, rows = (torch.cat(column) for column in zip(*self._parts, strict=True))
        order = numbers.argsort(stable=True)
        return numbers[order], rows[order]

    def emptied(self) -> BySample:
        """See `Sums`."""
        return BySample()

    def merge(self, other: BySample) -> None:
        """See `Sums`."""
        self._parts += other._parts

    def state(self) -> State:
        """See `Sums`."""
        numbers, rows = self.table()
        return {"numbers": numbers, "rows": rows}

    def load(self, state: Mapping[str, Any]) -> None:
        """See `Sums`."""
        if len(state["numbers"]):
            self._parts = [(state["numbers"], state["rows"])]


class Scores(Accumulator["Scores"]):
    """The scores of several runs of a model on the same data.

    Args:
        metric: what scores.
        outputs: gives for a batch the model's output in each run, one after the other.
        runs: how many there are.
        per_sample: also keep each sample's scores, 8 bytes for each sample and run.

    Attributes:
        totals: the sum of each run's scores, float64 ``[runs]``.
        count: the number of scores summed, the same in each run.
        samples: by sample the number of its scores, then their sum in each run; None where it is not asked for.
    """

    sums = ("totals", "count", "samples")

    def __init__(
        self, metric: Metric, outputs: Callable[[Record], Iterable[Tensor]], runs: int = 1, *, per_sample: bool = False
    ) -> None:
        self.metric = metric
        self.outputs = outputs
        self.totals: Vector = torch.zeros(runs, dtype=torch.float64)
        self.count = 0
        self.samples = BySample() if per_sample else None

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        targets = self.metric.targets(record)
        sums, counts = zip(*(self.metric.scores(out, targets) for out in self.outputs(record)), strict=True)
        rows = torch.stack([counts[0], *sums], 1).cpu()
        self.totals = self.totals + rows[:, 1:].sum(0)
        self.count += int(rows[:, 0].sum())
        if self.samples is not None:
            self.samples.add(record.numbers, rows)

    def finish(self) -> Scores:
        """See `Accumulator`.

        Raises:
            BatchError: nothing was counted.
        """
        if not self.count:
            raise BatchError(
                "No sample was scored: everywhere the target is -100 or the mask 0; give data of which some count."
            )
        return self

    @property
    def means(self) -> list[float]:
        """Sum over number of the scores of each run."""
        return (self.totals / self.count).tolist()

    def by_sample(self) -> tuple[Vector, Matrix]:
        """The number of scores of each sample ``[n]`` and their sums ``[runs, n]``, in the order of the data."""
        assert self.samples is not None  # noqa: S101 - asked for
        _, rows = self.samples.table()
        return rows[:, 0], rows[:, 1:].T

    def of_samples(self) -> np.ndarray:
        """The mean score of each sample ``[runs, n]``; not a number where nothing of a sample is scored."""
        number, sums = self.by_sample()
        return (sums / torch.where(number > 0, number, torch.nan)).numpy()


def run_many(
    record: Record, site: int, runs: Iterable[Activations], memory: int, target: int | None = None
) -> Iterator[Tensor]:
    """The model's output, in its own layout, for each activation at a site; several go through the model together.

    With a ``target`` the activation at that later site.
    """

    def rest(x: Activations, times: int) -> Tensor:
        return record.rest(site, x, times) if target is None else record.forward(x, site, target, times)

    held = 2 * (record.workspace(site, len(record.contexts)) + record.output.numel())
    at_once = max(1, min(memory // max(8 * held, 1), AT_ONCE // max(record.size, 1)))
    waiting: list[Activations] = []
    for x in runs:
        waiting.append(x)
        if len(waiting) == at_once:
            yield from rest(torch.cat(waiting), at_once).chunk(at_once)
            waiting = []
    if waiting:
        yield from rest(torch.cat(waiting), len(waiting)).chunk(len(waiting))
