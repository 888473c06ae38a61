"""An intervention on one batch: what a kind of intervention sees, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
        asked: the intervention.
        lines: what is replaced.
        value: numbers ``[m]``, where it has some.
        deviation: standard deviation of each line ``[m]``, where it is needed.
        donors: where they are needed.
    """

    asked: Intervention
    lines: Lines
    value: Vector | None = None
    deviation: Vector | None = None
    donors: Donors | None = None

    def replaced(self, here: Here) -> Activations:
        """The activation to go on with, at every position."""
        return KINDS[self.asked.to].replace(Place(self, here))

    def run(self, batch: SiteBatch) -> Activations:
        """The same, at positions that don't count only where that was asked for."""
        replaced = self.replaced(batch)
        counted = batch.record.counted[batch.index]
        if counted is None or self.asked.where == "all":
            return replaced.expand_as(batch.x)
        return torch.where(counted[..., None], replaced, batch.x)


class Here(AtSite):
    """Activations at one site, with what stands in there.

    Attributes:
        mean: that of the fit, ``[d]``.
        zero: a zero activation, ``[d]``.
    """

    def __init__(self, site: SiteBasis, x: Activations) -> None:
        super().__init__(site, x)
        self.mean, self.zero = AtSite(site, site.mean.to(x)), AtSite(site, x.new_zeros(site.d))


class SiteBatch(Here):
    """One batch at one site; all interventions share it."""

    def __init__(self, record: Record, index: int, site: SiteBasis) -> None:
        super().__init__(site, record.activations[index])
        self.record, self.index = record, index
        self._donated: dict[object, AtSite] = {}

    def donated(self, donors: Donors, *, counted: bool) -> AtSite:
        """The activations of each sample's donor."""
        key = (id(donors), counted)
        if key not in self._donated:
            self._donated[key] = AtSite(self.site, donors.stand_ins(self.record, self.index, counted=counted))
        return self._donated[key]


class Place:
    """What a kind of intervention sees of a batch.

    Attributes:
        asked: the intervention.
        x: the activation, ``[batch, position, d]``.
        mean: the mean of the fit, which can stand in for it.
        zero: a zero activation, likewise.
        value: the intervention's numbers, ``[m]``, where it has some.
        deviation: the standard deviation of each over the counted positions of the data, ``[m]``, where it is needed.
    """

    value: Any
    deviation: Any

    def __init__(self, prepared: Prepared, here: Here) -> None:
        self._prepared, self._here = prepared, here
        self.asked, self.x, self.mean, self.zero = prepared.asked, here.x, here.mean, here.zero
        known = (prepared.value, prepared.deviation)
        self.value, self.deviation = (None if numbers is None else numbers.to(self.x) for numbers in known)

    @property
    def donated(self) -> AtSite | None:
        """The activations of each sample's donor; None where there are no donors."""
        donors, batch = self._prepared.donors, self._here
        if donors is None or not isinstance(batch, SiteBatch):
            return None
        return batch.donated(donors, counted=self.asked.where == "counted")

    @cached_property
    def now(self) -> Tensor:
        """How much there is of each of the features (or directions) to be replaced, ``[batch, position, m]``."""
        return self.amounts(self._here)

    def amounts(self, other: AtSite | None) -> Tensor:
        """How much there is of each in other activations, ``[..., m]``."""
        assert other is not None  # noqa: S101 - the kind says that it needs donors
        return self._prepared.lines.amounts(other)

    def write(self, amounts: Tensor | float) -> Activations:
        """The activation with these amounts, ``[..., m]``, in place of those there are."""
        return self.add(amounts - self.now)

    def add(self, amounts: Tensor, to: Activations | None = None) -> Activations:
        """The activation (or another one) with these amounts, ``[..., m]``, on top."""
        return (self.x if to is None else to) + amounts @ self._prepared.lines.written(self.x)
