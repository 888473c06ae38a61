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
from ..types import Activations, Vector
from .donors import Donors
from .intervention import Intervention
from .lines import AtSite, Lines
from .place import Prepared, SiteBatch
from .registry import KINDS
from .scores import run_many


class Preparation:
    """Donors and standard deviations of some data, each learned once.

    Args:
        records: of the data.
        basis: whose features are replaced.
    """

    def __init__(self, records: Records, basis: Basis) -> None:
        self.records, self.basis = records, basis
        self.index = {site.name: l for l, site in enumerate(basis)}
        self._donors: dict[object, Donors] = {}
        self._deviations: dict[object, Vector] = {}

    def learn(self, interventions: Iterable[Intervention]) -> None:
        """What these need: one pass over the data for all of them that is not known yet, none where nothing is needed.

        Raises:
            OptionError: donors name a sample that the data do not have.
            BatchError: the data are empty, or changed between two passes.
        """
        donors: dict[object, list[Intervention]] = {}
        spreads: dict[object, Spread] = {}
        for one in interventions:
            need = KINDS[one.to].needs(one)
            if need in ("donors", "quantile") and not self._held(one):
                donors.setdefault(_pool(one), []).append(one)
            if need == "deviation" and _lines(one) not in self._deviations:
                spreads[_lines(one)] = Spread(self.index[one.site], self._of(one))
        found = {key: self._drawn(alike) for key, alike in donors.items()}
        here = [pool for pool in found.values() if not pool.strangers]
        if here or spreads:
            measure_all(self.records, [*here, *spreads.values()], "what stands in")
        for key, pool in found.items():
            given = donors[key][0].donors
            self._donors[key] = measure(self._strange(given), pool, "donors") if pool.strangers else pool.finish()
            self._check(pool)
        self._deviations.update({key: spread.finish() for key, spread in spreads.items()})

    def _held(self, intervention: Intervention) -> bool:
        known = self._donors.get(_pool(intervention))
        return known is not None and self.index[intervention.site] in known.sites

    def _drawn(self, alike: Sequence[Intervention]) -> Donors:
        one = alike[0]
        numbers = one.donors if isinstance(one.donors, tuple) else None
        known = self._donors.get(_pool(one))
        sites = {self.index[other.site] for other in alike}.union(() if known is None else known.sites)
        return Donors(sites, one.seed, only=numbers, strangers=one.donors is not None and numbers is None)

    def _strange(self, batches: Any) -> Records:
        return Records.of(self.records.traced, batches, 1, progress=self.records.progress)

    def _check(self, donors: Donors) -> None:
        unknown = [] if donors.only is None else donors.only[donors.only >= self.records.samples].tolist()
        if unknown:
            raise OptionError(f"donors names the samples {unknown}, but the data have {self.records.samples}, from 0.")

    def _of(self, intervention: Intervention) -> Lines:
        return Lines.of(self.basis[intervention.site], intervention)

    def of(self, intervention: Intervention) -> Prepared:
        """An intervention of which all is known."""
        lines, need = self._of(intervention), KINDS[intervention.to].needs(intervention)
        donors = self._donors[_pool(intervention)] if need in ("donors", "quantile") else None
        value = None
        if need == "quantile":
            assert donors is not None  # noqa: S101 - learned
            value = self._quantile(donors, lines, intervention)
        elif isinstance(intervention.value, (float, tuple)):
            value = torch.tensor(intervention.value, dtype=torch.float64).expand(intervention.count)
        return Prepared(intervention, lines, value, self._deviations.get(_lines(intervention)), donors)

    def _quantile(self, donors: Donors, lines: Lines, intervention: Intervention) -> Vector:
        vectors = donors.every(self.index[intervention.site]).to(torch.float64)
        values = lines.amounts(AtSite(lines.site, vectors)).numpy()
        return torch.from_numpy(np.quantile(values, float(str(intervention.value)[1:]), axis=0))

    def facts(self) -> dict[str, Any]:
        """How many samples donors were drawn from those there are, for the record."""
        return {"donors": [len(donors) for donors in self._donors.values()]}


def _pool(intervention: Intervention) -> object:
    """Interventions with the same donors."""
    given = intervention.donors
    return intervention.seed, given if given is None or isinstance(given, tuple) else id(given)


def _lines(intervention: Intervention) -> object:
    """Interventions that replace the same."""
    return intervention.site, intervention.features, intervention.directions


class Spread(Accumulator[Vector]):
    """The standard deviation of each of some lines ``[m]``, over the counted positions.

    Args:
        index: number of the site.
        lines: the lines.
    """

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

    def activations(self, record: Record) -> Iterator[Activations]:
        """The activation of each."""
        batch = SiteBatch(record, self.index, self.prepared[0].lines.site)
        for prepared in self.prepared:
            yield prepared.run(batch)

    def outputs(self, record: Record) -> Iterator[Tensor]:
        """The model's output of each, in its own layout."""
        return run_many(record, self.index, self.activations(record), self.memory)
