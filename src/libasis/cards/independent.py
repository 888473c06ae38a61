"""Which samples are independent of each other: those of different units, or of different stretches of rows."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..intervene.scores import BySample
from ..numerics import Sums
from ..numerics.dependence import FACTOR, coded, time_of, within
from ..numerics.estimates import unit_error
from ..types import Matrix, Plain, Vector

SERIES = 4096
"""Rows, the first ones, by which it is seen whether they depend on those before them."""


@dataclass(frozen=True)
class Independent:
    """What belongs together among the samples of some data.

    Attributes:
        units: a number for the unit of each sample, in the order of the data; None where none were given.
        block: so many rows that follow each other are taken as one unit; 1 where rows are independent.
    """

    units: np.ndarray | None = None
    block: int = 1

    @classmethod
    def given(cls, units: Sequence[Hashable] | None) -> Independent:
        """That of units that were given."""
        return cls(None if units is None else coded(units))

    @property
    def alone(self) -> bool:
        """Whether each sample is a unit of its own."""
        return self.units is None and self.block == 1

    def of(self, numbers: Tensor) -> np.ndarray | None:
        """A number for the unit of each of some samples; None where each is one."""
        if self.units is not None:
            return self.units[numbers.numpy()]
        return None if self.block == 1 else numbers.numpy() // self.block

    def sums(self, numbers: Tensor, rows: Matrix) -> Matrix:
        """Rows ``[n, width]`` of samples, summed by unit ``[units, width]``."""
        codes = self.of(numbers)
        if codes is None:
            return rows
        inverse = torch.from_numpy(np.unique(codes, return_inverse=True)[1])
        return (
            torch.zeros(int(inverse.max()) + 1 if len(inverse) else 0, rows.shape[1])
            .to(rows)
            .index_add_(0, inverse, rows)
        )

    def error(self, numbers: Tensor, rows: Matrix) -> tuple[Vector, int]:
        r"""The standard error of the mean of rows ``[n, width]``, and the number of units G.

        :math:`\sqrt{G/(G-1) \sum (S_g - \tau n_g)^2} / n` with the sums S and sizes n of units; infinite for one unit.
        """
        found = self.sums(numbers, torch.cat([torch.ones(len(rows), 1).to(rows), rows], 1))
        return error_of(found), len(found)

    def facts(self) -> Plain:
        """How samples were taken, for the record."""
        if self.units is not None:
            return {"independent": "units", "units": int(self.units.max(initial=-1)) + 1}
        return {"independent": "blocks" if self.block > 1 else "samples", "block": self.block}


def error_of(sums: Matrix) -> Vector:
    """The standard error of `Independent.error`, of the sizes and sums of units ``[units, 1 + width]``."""
    sums = sums[sums[:, 0] > 0]
    if len(sums) < 2:
        return torch.full((sums.shape[1] - 1,), math.inf, dtype=torch.float64)
    return torch.from_numpy(unit_error(sums[:, 1:].numpy(), sums[:, :1].numpy()))


class FirstRows(Sums):
    """The first rows of a table, by which it is seen whether rows depend on those before them.

    Only rows count, and numbers of one class are compared with their class's mean: data that are sorted by class do not
    depend on each other for that.
    """

    sums = ("rows",)

    def __init__(self) -> None:
        self.rows = BySample()

    def add(self, numbers: Tensor, values: Matrix, targets: object = None) -> None:
        """Look at values ``[n, width]`` of samples with these numbers, and at classes, if targets are such."""
        some = numbers < SERIES
        classes = torch.zeros(len(values), 1, dtype=torch.float64)
        whole = isinstance(targets, Tensor) and not targets.is_floating_point() and targets.shape == numbers.shape
        if whole:
            classes = targets.to("cpu", torch.float64)[:, None]  # type: ignore[union-attr]
        if bool(some.any()):
            self.rows.add(numbers[some], torch.cat([classes, values.cpu().double()], 1)[some])

    def times(self) -> np.ndarray:
        """By value the autocorrelation time, 1 where rows do not clearly depend on those before them."""
        table = self.rows.table()[1].numpy()
        if not len(table):
            return np.ones(1)
        return np.array([time_of(column, clear=True) for column in within(table[:, 1:], table[:, 0]).T])

    def block(self) -> int:
        """Rows that are taken as one unit."""
        time = float(self.times().max(initial=1.0))
        return 1 if time <= 1 else math.ceil(FACTOR * time)
