"""What is summed over the data, batch by batch."""

from __future__ import annotations

import abc
from typing import ClassVar, Generic, TypeVar

from ..cut import Record
from ..numerics import Sums

Result = TypeVar("Result")


class Accumulator(Sums, abc.ABC, Generic[Result]):
    """A sum over batches.

    ``add`` takes one batch after the other, ``merge`` takes in what another accumulator of the same kind has seen of
    other batches, ``state`` writes down what was seen so far and ``load`` goes on from it, ``finish`` gives the result.
    Where the data are cut, and in which order parts are merged, changes the result by rounding only. One that has to
    see the data again says so by ``another_round``.

    Attributes:
        whole: it must see all batches itself: its passes are neither shared among processes nor kept in checkpoints.
    """

    whole: ClassVar[bool] = False

    @abc.abstractmethod
    def add(self, record: Record) -> None:
        """Add one batch. It is called without gradients; `torch.func` differentiates all the same."""

    @abc.abstractmethod
    def finish(self) -> Result:
        """What the sums say."""

    def another_round(self) -> bool:
        """Asked when all batches have been added: whether they are to be added once more."""
        return False
