"""What the features of each hypothesis do beside random directions of the same site: the second null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..intervene import Intervention
from ..numerics import rank_p
from .controls import STOP, frames, why_none
from .hypothesis import Hypothesis
from .measure import InGroup, control_means
from .plan import Plan
from .trial import Trial
from .verdict import SIDES

FEW = 5
DEAR = 2**36
"""So many numbers are held in all runs of random directions together before these are called dear."""
FIRST = 64
"""Random directions in the first round, where they are dear; each round has twice as many as the last."""


@dataclass(frozen=True)
class Ranked:
    """One kind of intervention beside random directions.

    Attributes:
        p: the probability that one of them does as much.
        count: how many were looked at.
        range: the 2.5% and 97.5% quantiles of their mean changes.
    """

    p: float
    count: int
    range: tuple[float, float]


@dataclass
class BesideRandom:
    """One hypothesis beside random directions.

    Attributes:
        untested: why it could not be tested, or None.
        kinds: by kind.
    """

    untested: str | None = None
    kinds: dict[str, Ranked] = field(default_factory=dict)


def compared(
    trial: Trial, runs: Sequence[Sequence[Intervention]], seen: Sequence[Mapping[Intervention, np.ndarray]], plan: Plan
) -> list[BesideRandom]:
    """Each hypothesis beside random directions; those of one site and number of features share them.

    Args:
        trial: data and hypotheses.
        runs: for each hypothesis the interventions that are compared, one for each kind.
        seen: the changes under them.
        plan: how many random directions, and the seed.
    """
    found = [
        BesideRandom(_why_not(trial, one, own, changes))
        for one, own, changes in zip(trial.claims, runs, seen, strict=True)
    ]
    jobs: dict[tuple[str, int, str, str, int | None], list[int]] = {}
    for place, one in enumerate(trial.claims):
        if found[place].untested is None:
            for kind in one.kinds:
                key = (one.site, one.count, kind, one.where, trial.readout(one).site)
                jobs.setdefault(key, []).append(place)
    for key, places in jobs.items():
        kind = key[2]
        asked = [next(run for run in runs[place] if run.to == kind) for place in places]
        values = [trial.inside(trial.claims[p], seen[p][run])[0] for p, run in zip(places, asked, strict=True)]
        ranked = _ranked(
            trial, [trial.claims[p] for p in places], asked[0], [float(np.nanmean(v)) for v in values], plan
        )
        for place, one in zip(places, ranked, strict=True):
            found[place].kinds[kind] = one
    for place, one in enumerate(found):
        still = all(not np.any(changes) for changes in seen[place].values()) if one.kinds else False
        if still and all(ranked.range == (0.0, 0.0) for ranked in one.kinds.values()):
            one.untested = (
                f"nothing that is replaced at {trial.claims[place].site!r} changes the score of these samples"
            )
    return found


def _ranked(
    trial: Trial, claims: Sequence[Hypothesis], asked: Intervention, values: Sequence[float], plan: Plan
) -> list[Ranked]:
    """How the mean change of each hypothesis ranks among random directions, under one kind of intervention."""
    site = trial.index[asked.site]
    own = [InGroup(trial.readout(one), trial.bases[trial.readout(one)], trial.mask(one)) for one in claims]
    record = trial.records.first()
    held = 2 * (record.workspace(site, len(record.contexts)) + record.output.numel()) / record.size
    stop = STOP if held * trial.records.samples * plan.controls > DEAR else 0
    seed, count = (plan.seed, site, claims[0].count), claims[0].count
    means, looks = np.zeros((len(claims), 0)), [(1.0, 0)] * len(claims)
    while means.shape[1] < plan.controls:
        more = min(max(FIRST, means.shape[1]), plan.controls - means.shape[1]) if stop else plan.controls
        drawn = frames(trial.basis[asked.site], count, more, seed, means.shape[1])
        new = control_means(trial.records, trial.known, asked, drawn, own, trial.memory)
        means = np.concatenate([means, new], 1)
        looks = [_rank(*row, stop) for row in zip(claims, values, means, strict=True)]
        if stop and all(looked < means.shape[1] for _, looked in looks):
            break
    out = []
    for row, (p, looked) in zip(means, looks, strict=True):
        low, high = np.quantile(row[:looked], [0.025, 0.975]).tolist()
        out.append(Ranked(p, looked, (low, high)))
    return out


def _rank(one: Hypothesis, value: float, controls: np.ndarray, stop: int) -> tuple[float, int]:
    side = SIDES[one.direction]
    return rank_p(side * value, side * controls, stop) if side else rank_p(abs(value), np.abs(controls), stop)


def _why_not(
    trial: Trial, one: Hypothesis, runs: Sequence[Intervention], changes: Mapping[Intervention, np.ndarray]
) -> str | None:
    """Why a hypothesis cannot be tested on these data, or None."""
    inside, units = trial.inside(one, changes[runs[0]])
    known = ~np.isnan(inside)
    group = "" if one.group is None else f" of the group {one.group!r}"
    if not known.any():
        return f"no sample{group} has a score"
    count = int(known.sum()) if units is None else len({u for u, there in zip(units, known, strict=True) if there})
    if count < FEW:
        return f"there are {count} units{group}, and {FEW} are needed"
    if one.metric in ("accuracy", "cross_entropy") and (only := trial.members.one_class) is not None:
        return f"all targets are of one class, {only}"
    site = trial.basis[one.site]
    if one.numbers is not None and not bool((site.variances[list(one.numbers)] > 0).any()):
        return f"the features do not vary at {one.site!r}"
    return why_none(site, one.count)
