"""Samples of a file in memory, as batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import SourceError
from .gaps import Filled
from .separated import Written


@dataclass(frozen=True, eq=False)
class FileBatches:
    """Samples in memory, in batches; can be gone through any number of times.

    Attributes:
        inputs: a tensor, or tensors by the name of the model's input; first dimension the samples.
        targets: one per sample, or None.
        batch_size: samples in each batch but the last.
        scale: what inputs of bytes are divided by, as they are turned to float32 batch by batch.
        columns: names of the inputs' columns, where they have any.
        classes: names of the targets, where they have any.
        places: where in the source each sample stands, counted from 0, int64 ``[n]``.
        files: of images, the file of each place.
        written: of separated values, how the file is written, in words.
        times: of a table, what its column of the time says of each sample.
        units: of a table, the run or device of each sample.
        filled: of a table, the cells without a value that were filled in.
        labels: of a table, what its column of the groups says of each sample.
    """

    inputs: Tensor | dict[str, Tensor]
    targets: Tensor | None
    batch_size: int = 256
    scale: float | None = None
    columns: list[str] | None = None
    classes: list[str] | None = None
    places: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    files: list[str] | None = None
    written: str | None = None
    times: list[str] | None = None
    units: list[str] | None = None
    filled: Filled | None = None
    labels: list[str] | None = None

    def __post_init__(self) -> None:
        if len(self.places) != self.samples:
            object.__setattr__(self, "places", torch.arange(self.samples))

    @property
    def remarks(self) -> list[str]:
        """What the user should know of how the file was read, in words."""
        plain = self.written in (None, str(Written(",", "utf-8-sig", ".")))
        filled = [] if self.filled is None else [str(self.filled)]
        return filled if plain else [f"was read as {self.written}", *filled]

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self.inputs if isinstance(self.inputs, Tensor) else next(iter(self.inputs.values())))

    def __len__(self) -> int:
        return -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, self.samples, self.batch_size):
            part = slice(start, start + self.batch_size)
            inputs = self._inputs(part)
            yield inputs if self.targets is None else (inputs, self.targets[part])

    def example(self) -> Any:
        """The inputs of the first batch."""
        return self._inputs(slice(0, self.batch_size))

    def take(self, samples: Tensor) -> FileBatches:
        """Some samples only, int64 ``[m]``."""
        inputs = self.inputs
        return replace(
            self,
            inputs={k: v[samples] for k, v in inputs.items()} if isinstance(inputs, dict) else inputs[samples],
            targets=None if self.targets is None else self.targets[samples],
            places=self.places[samples],
            **{name: own and [own[i] for i in samples.tolist()] for name, own in self._said().items()},
        )

    def column_facts(self) -> dict[str, dict[str, list[float]]] | None:
        """By name the mean and the standard deviation of each column of a table; None of anything else."""
        if self.columns is None or not isinstance(self.inputs, Tensor) or self.inputs.ndim != 2:
            return None
        x = self.inputs.double()
        pairs = torch.stack([x.mean(0), x.std(0, correction=0)], 1).tolist()
        return {"columns": dict(zip(self.columns, pairs, strict=True))}

    def joined(self, other: FileBatches) -> FileBatches:
        """These rows of a table and others of the same columns; those of one source in its order."""
        one, two = self.inputs, other.inputs
        if isinstance(one, dict) or isinstance(two, dict):
            return self
        targets = None if self.targets is None or other.targets is None else torch.cat([self.targets, other.targets])
        units = None if self.units is None or other.units is None else [*self.units, *other.units]
        found = FileBatches(
            torch.cat([one, two]), targets, self.batch_size, columns=self.columns, units=units,
            places=torch.cat([self.places, other.places]), filled=self.filled,
        )  # fmt: skip
        return found.take(found.places.argsort(stable=True))

    def _said(self) -> dict[str, list[str] | None]:
        return {"times": self.times, "units": self.units, "labels": self.labels}

    def split(self, fraction: float, seed: int = 0) -> tuple[FileBatches, FileBatches]:
        """Two parts drawn at random, each in the order of the source: all but a fraction, and that fraction.

        Raises:
            SourceError: one of them would be empty.
        """
        count = round(self.samples * fraction)
        if not 0 < count < self.samples:
            raise SourceError(
                f"of {self.samples} samples a fraction of {fraction} would hold out {count}; give more data or another "
                "fraction."
            )
        order = torch.randperm(self.samples, generator=torch.Generator().manual_seed(seed))
        return self.take(order[count:].sort().values), self.take(order[:count].sort().values)

    def _inputs(self, part: slice) -> Any:
        if isinstance(self.inputs, dict):
            return {name: tensor[part] for name, tensor in self.inputs.items()}
        inputs = self.inputs[part]
        return inputs if self.scale is None else inputs.to(torch.float32) / self.scale
