"""`explore`: which features are worth a hypothesis. It decides nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from ..ambient import neutral
from ..arguments import typed
from ..basis import check_fits
from ..cut import Traced
from ..errors import OptionError, short
from ..graphs import basis_of
from ..intervene import most_important
from ..measure import Records, shares
from ..numerics import Estimate, benjamini
from ..provenance import versions
from ..store import Stored, listed
from ..types import Plain
from .explored import Seen, remember
from .hypothesis import Hypothesis
from .plan import units_of
from .trial import Trial
from .verdict import OneKind


@dataclass(frozen=True)
class Screened:
    """One feature (or pair) that was screened.

    Attributes:
        site: the site's name.
        features: its number, or those of a pair.
        effect: the mean change of the score when it is replaced, under the first kind of intervention.
        p: that there is no change, the largest of all kinds; not corrected.
        q: corrected: of those with so small a q, about this share is false.
        power: the probability to see such an effect again with as many units, at the level 0.05. What was picked for
            its size is smaller in truth, and so is the power.
    """

    site: str
    features: tuple[int, ...]
    effect: Estimate
    p: float
    q: float
    power: float


@dataclass(frozen=True, eq=False, repr=False)
class Exploration(Stored, kind="exploration"):
    """Features that were screened, those with the smallest q first. What it shows is no verdict.

    Attributes:
        screened: see `Screened`.
        metric: its name.
        group: as in `Hypothesis`.
        seen: digests of the samples that were looked at: they cannot confirm.
        info: kinds, correction, basis, model, data, seed, versions.
    """

    screened: tuple[Screened, ...]
    metric: str
    group: str | None
    seen: Seen
    info: Plain = field(default_factory=dict)

    def rows(self) -> list[Plain]:
        """One plain row for each, those with the smallest q first."""
        return [
            {
                "site": one.site,
                "features": "+".join(map(str, one.features)),
                "effect": one.effect.value,
                "low": one.effect.low,
                "high": one.effect.high,
                "p": one.p,
                "q": one.q,
                "power": None if math.isnan(one.power) else one.power,
                "n": one.effect.n,
                "units": one.effect.units,
            }
            for one in self.screened
        ]

    def hypothesis(
        self, which: int | tuple[str, int | Sequence[int]] = 0, *, delta: float | None = None, **options: Any
    ) -> Hypothesis:
        """A hypothesis about one of them, to be tested on other data.

        Args:
            which: its rank from 0, or its site and features.
            delta: as in `Hypothesis`.
            options: further ones of `Hypothesis`. By default its direction is that which was seen.

        Raises:
            OptionError: it was not screened.
        """
        if isinstance(which, tuple):
            wanted = (which[1],) if isinstance(which[1], int) else tuple(which[1])
            found = next((one for one in self.screened if (one.site, one.features) == (which[0], wanted)), None)
        else:
            found = self.screened[which] if 0 <= which < len(self.screened) else None
        if found is None:
            raise OptionError(
                f"No feature {short(which)} was screened; give a rank from 0 to {len(self.screened) - 1}."
            )
        metric = self.__dict__.get("_function", self.metric)
        given = {
            "metric": metric,
            "group": self.group,
            "direction": "increase" if found.effect.value > 0 else "decrease",
        }
        return Hypothesis(found.site, list(found.features), delta=delta, **{**given, **options})

    def __repr__(self) -> str:
        rows = [
            f"  {one.site}:{'+'.join(map(str, one.features))}: {one.effect.value:+.3g} "
            f"[{one.effect.low:.3g}, {one.effect.high:.3g}], q = {one.q:.2g}"
            for one in self.screened
        ]
        return listed(f"Exploration({len(rows)} screened by {self.metric}; no verdicts)", rows)


@typed
@neutral
def explore(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    basis: Any,
    batches: Iterable[Any],
    metric: Any = "accuracy",
    *,
    sites: Sequence[str] | None = None,
    most: int = 256,
    pairs: int = 0,
    kinds: Sequence[str] = ("mean", "resample"),
    group: str | None = None,
    groups: Mapping[str, Any] | None = None,
    units: Any = None,
    dependent: bool = False,
    seed: int = 0,
    progress: bool | None = None,
    memory: int | str = "auto",
) -> Exploration:
    """Replace each feature in turn and see how the score changes: what is worth a hypothesis.

    Nothing of this is a verdict: what was found here is tested by `plan` and `verify` on other data. The samples are
    noted, and `verify` refuses them for this basis.

    Args:
        traced: from `trace` or `Chain`.
        basis: whose features are replaced, or a graph.
        batches: data to explore; with targets where the metric needs them.
        metric: as in `Hypothesis`.
        sites: names of sites; None for all but the last.
        most: at most so many features of each site, the most important ones.
        pairs: also all pairs among so many of the most important features of each site.
        kinds: as in `Hypothesis`.
        group: as in `Hypothesis`.
        groups: as in `plan`.
        units: as in `plan`.
        dependent: q-values that hold however the tests depend on each other (Benjamini and Yekutieli), in place of
            those of Benjamini and Hochberg.
        seed: of donors, resamples and signs.
        progress: as in `intervene`.
        memory: as in `intervene`.

    Raises:
        OptionError: a site or a metric is unknown, or an option is not allowed.
        BatchError: the batches are empty or one-shot, or have no targets where the metric needs them.
    """
    kept, memory = shares(memory, traced)
    own = basis_of(basis)
    model = check_fits(traced, own)
    names = [site.name for site in own]
    chosen = list(sites) if sites is not None else (names[:-1] or names)
    if unknown := [name for name in chosen if name not in names]:
        raise OptionError(f"sites names {unknown}, but the sites are {names}.")
    if most < 1 or pairs < 0 or not chosen:
        raise OptionError(
            f"most is {most}, pairs is {pairs} and sites is {chosen}; give a site and numbers from 1 and 0."
        )
    shared = {"metric": metric, "kinds": kinds, "group": group}
    sets = [(name, (i,)) for name in chosen for i in sorted(most_important(own[name], most))]
    sets += [(name, pair) for name in chosen for pair in combinations(sorted(most_important(own[name], pairs)), 2)]
    claims = [Hypothesis(name, list(features), name=f"{name}:{features}", **shared) for name, features in sets]
    with Records.of(traced, batches, kept, progress=progress) as records:
        labels = units_of(batches, units)
        trial = Trial(records, own, claims, units=labels, groups=groups, memory=memory)
        changes = iter(trial.changes([(one, one.intervention(kind, seed)) for one in claims for kind in one.kinds]))
        seen = Seen.of(records)
        remember(own.digest(), seen)
        found = []
        for one, (name, features) in zip(claims, sets, strict=True):
            evidence = [OneKind.of(*trial.inside(one, next(changes)), seed=seed) for _ in one.kinds]
            power = min(e.noise.power(e.effect.value, 0.025) for e in evidence)
            found.append(Screened(name, features, evidence[0].effect, max(e.p for e in evidence), 1.0, power))
        facts = records.facts()
    q = benjamini([one.p for one in found], dependent=dependent)
    found = [replace(one, q=value) for one, value in zip(found, q, strict=True)]
    found.sort(key=lambda one: (one.q, one.p, -abs(np.nan_to_num(one.effect.value))))
    info = {
        "kinds": list(claims[0].kinds),
        "correction": "Benjamini-Yekutieli" if dependent else "Benjamini-Hochberg",
        "basis": own.method,
        "stands_on": {"basis": own.digest()},
        "data": facts,
        "seed": seed,
        "traced": model,
        "versions": versions(),
    }
    readout = trial.readout(claims[0])
    result = Exploration(tuple(found), readout.name, group, seen, info)
    if callable(metric):
        object.__setattr__(result, "_function", metric)
    return result
