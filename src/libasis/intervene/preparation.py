"""What interventions need to know of the data before they can run, learned in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..basis import Basis
from ..cut import Record
from ..errors import OptionError
from ..measure import Accumulator, Records, measure, measure_all
from ..numerics.means import Mean
from ..types import Plain, Vector
from .donors import Donors
from .intervention import Intervention
from .lines import AtSite, Lines
from .place import Prepared, SiteBatch
from .registry import KINDS, is_quantile
from .scores import run_many


class Preparation:
    """Donors and standard deviations of some data, each learned once."""

    def __init__(self, records: Records, basis: Basis) -> None:
        self.records, self.basis = records, basis
        self.index = {site.name: l for l, site in enumerate(basis)}
        self._donors: dict[object, Donors] = {}
        self._deviations: dict[object, Vector] = {}

    def learn(self, interventions: Iterable[Intervention]) -> None:
        """What these need: one pass over the data for all of them, none where nothing is needed.

        Raises:
            OptionError: donors name a sample that the data do not have.
            BatchError: the data are empty, or changed between two passes.
        """
        pools: dict[object, tuple[Any, int, set[int]]] = {}
        spreads: dict[object, Spread] = {}
        for one in interventions:
            need = KINDS[one.to].needs_of(one)
            if need == "deviation":
                spreads[_lines(one)] = Spread(self.index[one.site], self._lines(one))
            elif need is not None:
                pools.setdefault(_pool(one), (one.donors, one.seed, set()))[2].add(self.index[one.site])
        strange = [key for key, (donors, _, _) in pools.items() if not isinstance(donors, (tuple, type(None)))]
        for key, (donors, seed, sites) in pools.items():
            only = donors if isinstance(donors, tuple) else None
            self._donors[key] = Donors(sites, seed, only=only, strangers=key in strange)
        here = [self._donors[key] for key in pools if key not in strange]
        if here or spreads:
            measure_all(self.records, [*here, *spreads.values()], "what stands in")
        for donors in here:
            donors.finish()
            self._check(donors)
        for key in strange:
            records = Records.of(self.records.traced, pools[key][0], 1, progress=self.records.progress)
            measure(records, self._donors[key], "donors")
        self._deviations.update({key: spread.finish() for key, spread in spreads.items()})

    def _check(self, donors: Donors) -> None:
        unknown = [] if donors.only is None else donors.only[donors.only >= self.records.samples].tolist()
        if unknown:
            raise OptionError(f"donors names the samples {unknown}, but the data have {self.records.samples}, from 0.")

    def _lines(self, intervention: Intervention) -> Lines:
        return Lines.of(self.basis[intervention.site], intervention)

    def of(self, intervention: Intervention) -> Prepared:
        """An intervention of which all is known."""
        lines, value, donors = self._lines(intervention), None, self.donors_of(intervention)
        if is_quantile(intervention.value) and donors is not None:
            vectors = donors.every(self.index[intervention.site]).to(torch.float64)
            values = lines.amounts(AtSite(lines.site, vectors)).numpy()
            value = torch.from_numpy(np.quantile(values, float(str(intervention.value)[1:]), axis=0))
        elif isinstance(intervention.value, (float, tuple)):
            value = torch.tensor(intervention.value, dtype=torch.float64).expand(intervention.count)
        return Prepared(intervention, lines, value, self._deviations.get(_lines(intervention)), donors)

    def donors_of(self, intervention: Intervention) -> Donors | None:
        """Whose values stand in under an intervention; None where no sample's do."""
        return self._donors.get(_pool(intervention)) if KINDS[intervention.to].needs_of(intervention) else None

    def facts(self) -> Plain:
        """How many donors there are, for the record."""
        return {"donors": [len(donors) for donors in self._donors.values()]}


def _pool(intervention: Intervention) -> object:
    """Interventions with the same donors."""
    given = intervention.donors
    return intervention.seed, given if given is None or isinstance(given, tuple) else id(given)


def _lines(intervention: Intervention) -> object:
    """Interventions that replace the same."""
    return intervention.site, intervention.features, intervention.directions


class Spread(Accumulator[Vector]):
    """The standard deviation of each of some lines ``[m]``, over the counted positions."""

    sums = ("mean",)

    def __init__(self, index: int, lines: Lines) -> None:
        self.index, self.lines = index, lines
        self.mean = Mean()

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        self.mean.add(self.lines.amounts(AtSite(self.lines.site, record.vectors(self.index).to(torch.float64))))

    def finish(self) -> Vector:
        """See `Accumulator`."""
        return self.mean.deviation()


@dataclass(frozen=True, eq=False)
class SiteRuns:
    """Interventions at one site, ready to run.

    Attributes:
        index: number of the site.
        prepared: the interventions.
        memory: bound in bytes for what goes through the model together.
    """

    index: int
    prepared: Sequence[Prepared]
    memory: int

    def outputs(self, record: Record, target: int | None = None) -> Iterator[Tensor]:
        """The model's output under each of them, in its own layout; with a ``target`` the activation at that site."""
        batch = SiteBatch(record, self.index, self.prepared[0].lines.site)
        return run_many(record, self.index, (one.run(batch) for one in self.prepared), self.memory, target)
