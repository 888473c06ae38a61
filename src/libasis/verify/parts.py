"""Data in three parts, so that no sample and no unit is in two: to fit on, to explore, to confirm."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..ambient import neutral
from ..arguments import typed
from ..data import Batch, Replayed, check_reiterable, sample_digests, select, size_of
from ..data.replay import random_state
from ..errors import OptionError

NAMES = ("fit", "explore", "confirm")


class DataPart:
    """Some samples of the user's batches, in their order: a re-iterable.

    Attributes:
        units: the unit of each of its samples, to be given to `verify`; None where there are none.
    """

    def __init__(
        self, batches: Iterable[Any], where: tuple[float, float], seed: int, units: Sequence[Any] | None
    ) -> None:
        self._batches, self._where, self._seed, self._units = batches, where, seed, units
        self._state = random_state()

    def __iter__(self) -> Iterator[Any]:
        for item, rows, _ in self._some():
            yield item if len(rows) == size_of(item) else select(item, rows, size_of(item))

    def _some(self) -> Iterator[tuple[Any, Tensor, int]]:
        """Each batch that has samples of this part: it, which of them, and the number of its first sample."""
        low, high = self._where
        seen = 0
        for item in Replayed(self._batches, self._state):
            size = size_of(item)
            chances = self._chances(item, size, seen)
            rows = torch.from_numpy(np.nonzero((chances >= low) & (chances < high))[0])
            if len(rows):
                yield item, rows, seen
            seen += size

    def _chances(self, item: Any, size: int, seen: int) -> np.ndarray:
        """A number in [0, 1) for the unit of each sample."""
        if self._units is None:
            labels = sample_digests(Batch((item,), {}, None, 0), size).tolist()
        else:
            labels = self._units[seen : seen + size]
        return np.array([_chance(label, self._seed) for label in labels])

    @property
    def units(self) -> list[Hashable] | None:
        """See the class."""
        return None if self._units is None else self.of(self._units)

    def of(self, values: Sequence[Any] | np.ndarray | Tensor) -> list[Any]:
        """The entries of this part's samples, of a list with one for each sample of all data."""
        listed = values.tolist() if isinstance(values, (np.ndarray, Tensor)) else list(values)
        return [listed[seen + row] for _, rows, seen in self._some() for row in rows.tolist()]


class DataParts(NamedTuple):
    """The three parts."""

    fit: DataPart
    explore: DataPart
    confirm: DataPart


@typed
@neutral
def parts(
    batches: Iterable[Any],
    units: Sequence[Any] | None = None,
    *,
    shares: Sequence[float] = (0.5, 0.25, 0.25),
    seed: int = 0,
) -> DataParts:
    """The data in three parts, by a hash of the unit and the seed: to fit on, to explore, to confirm.

    No unit is in two parts, and equal samples without a unit are in the same. In which part one is depends on itself
    and the seed alone.

    Args:
        batches: a re-iterable.
        units: one label for each sample, in the order of the data; None takes each sample, by its content, for itself.
        shares: of the parts, about.
        seed: another one makes other parts.

    Raises:
        BatchError: the batches are one-shot.
        OptionError: there are not as many units as samples, or the shares are no three numbers above 0.
    """
    check_reiterable(batches)
    if len(shares) != len(NAMES) or not all(0 < share < math.inf for share in shares):
        raise OptionError(f"shares is {list(shares)!r}; give three numbers above 0, such as 0.5, 0.25, 0.25.")
    labels = units.tolist() if isinstance(units, (np.ndarray, Tensor)) else None if units is None else list(units)
    if labels is not None:
        samples = sum(size_of(item) for item in Replayed(batches, random_state()))
        if len(labels) != samples:
            raise OptionError(
                f"units has {len(labels)} entries, but the data have {samples} samples; give one for each."
            )
    return DataParts(*in_parts(batches, labels, shares, seed))


def in_parts(
    batches: Iterable[Any], labels: Sequence[Any] | None, shares: Sequence[float], seed: int
) -> Iterator[DataPart]:
    """The data in parts of these shares, see `parts`."""
    ends = np.cumsum([0.0, *shares]) / sum(shares)
    ends[-1] = 2.0  # rounding
    for low, high in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        yield DataPart(batches, (low, high), seed, labels)


def _chance(label: Any, seed: int) -> float:
    digest = hashlib.blake2b(f"{seed}:{label!r}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2.0**64
