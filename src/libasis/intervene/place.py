"""An intervention on one batch: what a kind of intervention sees, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..basis import SiteBasis
from ..cut import Record
from ..types import Activations, Vector
from .donors import Donors
from .intervention import Intervention
from .lines import AtSite, Lines
from .registry import KINDS


@dataclass(frozen=True, eq=False)
class Prepared:
    """An intervention with what it needs to know.

    Attributes:
        intervention: as it was asked for.
        lines: what is replaced.
        value: numbers ``[m]``, where it has some.
        deviation: standard deviation of each line ``[m]``, where it is needed.
        donors: where they are needed.
    """

    intervention: Intervention
    lines: Lines
    value: Vector | None = None
    deviation: Vector | None = None
    donors: Donors | None = None

    def run(self, batch: SiteBatch) -> Activations:
        """The activation to go on with, at positions that don't count too only where that was asked for."""
        replaced = KINDS[self.intervention.to].replace(Place(self, batch))
        counted = batch.record.counted[batch.index]
        if counted is None or self.intervention.where == "all":
            return replaced.expand_as(batch.x)
        return torch.where(counted[..., None], replaced, batch.x)


class SiteBatch(AtSite):
    """One batch at one site, with what stands in there; all interventions share it."""

    def __init__(self, record: Record, index: int, site: SiteBasis) -> None:
        super().__init__(site, record.activations[index])
        self.record, self.index = record, index
        self._others: dict[object, AtSite] = {}

    def donated(self, donors: Donors, *, counted: bool) -> AtSite:
        """The activations of each sample's donor."""
        key = (id(donors), counted)
        if key not in self._others:
            self._others[key] = AtSite(self.site, donors.stand_ins(self.record, self.index, counted=counted))
        return self._others[key]

    @cached_property
    def mean(self) -> AtSite:
        """The mean of the fit, ``[d]``."""
        return AtSite(self.site, self.site.mean.to(self.x))

    @cached_property
    def zero(self) -> AtSite:
        """Nothing, ``[d]``."""
        return AtSite(self.site, self.x.new_zeros(self.site.d))


class Place:
    """What a kind of intervention sees of a batch.

    Attributes:
        x: the activation, ``[batch, position, d]``.
    """

    def __init__(self, prepared: Prepared, batch: SiteBatch) -> None:
        self._prepared, self._batch = prepared, batch
        self.x = batch.x

    @cached_property
    def now(self) -> Tensor:
        """The amounts of the features (or directions) to be replaced, ``[batch, position, m]``."""
        return self.amounts(self._batch)

    @property
    def value(self) -> Tensor:
        """The intervention's numbers, ``[m]``."""
        return self._known(self._prepared.value)

    @property
    def deviation(self) -> Tensor:
        """The standard deviation of each over the counted positions of the data, ``[m]``."""
        return self._known(self._prepared.deviation)

    def _known(self, found: Vector | None) -> Tensor:
        assert found is not None  # noqa: S101 - the kind said that it needs it
        return found.to(self.x)

    def other(self, name: str) -> AtSite:
        """Activations that can stand in: ``"mean"``, ``"zero"`` or ``"resample"`` (each sample's donor)."""
        if name != "resample":
            return self._batch.mean if name == "mean" else self._batch.zero
        prepared = self._prepared
        assert prepared.donors is not None  # noqa: S101 - the kind said that it needs them
        return self._batch.donated(prepared.donors, counted=prepared.intervention.where == "counted")

    def filler(self) -> AtSite:
        """What the intervention's value names to stand in for all that is not kept."""
        return self.other(str(self._prepared.intervention.value or "mean"))

    def amounts(self, other: AtSite) -> Tensor:
        """The amounts in other activations, ``[..., m]``."""
        return self._prepared.lines.amounts(other)

    def write(self, amounts: Tensor | float) -> Activations:
        """The activation with these amounts, ``[..., m]``, in place of those there are."""
        return self.add(amounts - self.now)

    def add(self, amounts: Tensor, to: Activations | None = None) -> Activations:
        """The activation (or another one) with these amounts, ``[..., m]``, on top."""
        return (self.x if to is None else to) + amounts @ self._prepared.lines.written(self.x)
