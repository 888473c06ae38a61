"""Data, a basis and claims together: who is in which group and unit, and what each sample scores."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..basis import Basis
from ..errors import OptionError
from ..intervene import Intervention
from ..measure import Records, measure
from .groups import Membership, Units
from .hypothesis import Hypothesis
from .measure import scored
from .readout import Readout, parse_readout


class Trial:
    """See the module.

    Args:
        records: the data.
        basis: whose features are replaced.
        claims: the hypotheses.
        functions: metrics by the names that hypotheses have for them.
        units: see `plan`.
        groups: see `plan`.
        memory: bound in bytes for what goes through the model together.

    Raises:
        OptionError: a metric, a group or the units are none that the data have.
    """

    def __init__(
        self,
        records: Records,
        basis: Basis,
        claims: Sequence[Hypothesis],
        functions: Mapping[str, Callable[..., Any]] | None = None,
        *,
        units: Units = None,
        groups: Mapping[str, Any] | None = None,
        memory: int,
    ) -> None:
        self.records, self.basis, self.claims, self.memory = records, basis, claims, memory
        readouts: dict[Any, Readout] = {}
        self._readouts: dict[Hypothesis, Readout] = {}
        for one in claims:
            spec = (functions or {}).get(one.metric, one.metric) if isinstance(one.metric, str) else one.metric
            if isinstance(spec, str) and spec.startswith("function "):
                raise OptionError(
                    f"The plan's metric {spec.removeprefix('function ')!r} is a function, which is not in its file; "
                    "give it in metrics, by this name."
                )
            if spec not in readouts:
                readouts[spec] = parse_readout(spec, basis)
            self._readouts[one] = readouts[spec]
            place = readouts[spec].site
            if place is not None and place <= [site.name for site in basis].index(one.site):
                raise OptionError(
                    f"The hypothesis {one.label!r} replaces features at {one.site!r} and reads {one.metric!r}, which "
                    "is not behind it; name a feature of a later site."
                )
        names = dict.fromkeys(one.group for one in claims)
        self.members = measure(records, Membership(units, names, groups), "groups")
        self.units: list[Hashable] | None = self.members.units(records)
        self._masks = {name: self.members.mask(name, records) for name in names}
        self.bases: dict[Readout, np.ndarray] = {}

    @property
    def clustered(self) -> bool:
        """Whether samples belong to units."""
        return self.units is not None

    def readout(self, one: Hypothesis) -> Readout:
        """What a hypothesis reads."""
        return self._readouts[one]

    def mask(self, one: Hypothesis) -> np.ndarray:
        """The samples that a hypothesis speaks of, bool ``[n]``."""
        return self._masks[one.group]

    @cached_property
    def index(self) -> dict[str, int]:
        """The number of each site."""
        return {site.name: l for l, site in enumerate(self.basis)}

    def changes(self, asked: Sequence[tuple[Hypothesis, Intervention]]) -> list[np.ndarray]:
        """For each, how each sample's score changes, ``[n]``; not a number for a sample without a score."""
        pairs = [(one, self._readouts[claim]) for claim, one in asked]
        self.bases, found, self.known = scored(self.records, self.basis, pairs, self.memory)
        return found

    def givers(self, one: Hypothesis, run: Intervention) -> tuple[list[Hashable], list[Hashable]] | None:
        """The unit of each sample that a hypothesis speaks of, and that of its donor; None where it has none."""
        donors = self.known.donors_of(run)
        found = None if donors is None else donors.givers(self.records.samples)
        if found is None:
            return None
        units = list(range(self.records.samples)) if self.units is None else self.units
        inside = np.nonzero(self.mask(one))[0].tolist()
        return [units[i] for i in inside], [units[i] for i in found[inside].tolist()]

    def inside(self, one: Hypothesis, changes: np.ndarray) -> tuple[np.ndarray, list[Hashable] | None]:
        """The changes of the samples that a hypothesis speaks of, and their units."""
        return self.of(self.mask(one), changes)

    def of(self, mask: np.ndarray, changes: np.ndarray) -> tuple[np.ndarray, list[Hashable] | None]:
        """The changes of some samples, and their units."""
        units = None if self.units is None else [self.units[i] for i in np.nonzero(mask)[0]]
        return changes[mask], units
