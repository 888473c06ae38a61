"""What is measured beside a verdict: parts alone, what is lost and kept, doses, opposite signs, the other samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..intervene import Intervention
from ..numerics import Bootstrap, Estimate, normal_quantile, paired
from ..types import Plain
from .hypothesis import Hypothesis
from .trial import Trial
from .verdict import unit_sums

DOSES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Quantiles of the features on these data at which they are held."""


@dataclass(frozen=True, eq=False)
class AllRuns:
    """A hypothesis and all interventions that are run for it.

    Attributes:
        claim: the hypothesis.
        whole: all its features replaced, one for each kind.
        alone: by kind and part, that part alone.
        kept: by kind, all others replaced.
        all: by kind, everything replaced.
        without: by kind and part, all other parts, where there are more than two.
        doses: all its features held at a quantile.
    """

    claim: Hypothesis
    whole: tuple[Intervention, ...]
    alone: dict[tuple[str, str], Intervention]
    without: dict[tuple[str, str], Intervention]
    kept: dict[str, Intervention]
    all: dict[str, Intervention]
    doses: tuple[Intervention, ...]

    @classmethod
    def of(cls, claim: Hypothesis, seed: int) -> AllRuns:
        """That of a hypothesis."""
        parts, every = claim.parts, range(claim.count)
        rest = {name: [i for i in every if i not in places] for name, places in parts} if len(parts) > 2 else {}
        return cls(
            claim,
            tuple(claim.intervention(kind, seed) for kind in claim.kinds),
            {(kind, name): claim.intervention(kind, seed, places) for kind in claim.kinds for name, places in parts},
            {
                (kind, name): claim.intervention(kind, seed, places)
                for kind in claim.kinds
                for name, places in rest.items()
            },
            {kind: claim.intervention("keep_only", seed, value=kind) for kind in claim.kinds},
            {
                kind: Intervention(claim.site, [], "keep_only", kind, where=claim.where, seed=seed)
                for kind in claim.kinds
            },
            tuple(claim.intervention("set", seed, value=f"q{q:g}") for q in DOSES),
        )

    @property
    def runs(self) -> list[Intervention]:
        """All of them."""
        found = (*self.alone.values(), *self.without.values(), *self.kept.values(), *self.all.values())
        return list(dict.fromkeys((*self.whole, *found, *self.doses)))


def beside(
    trial: Trial, one: AllRuns, found: Mapping[Intervention, np.ndarray], seed: int
) -> tuple[dict[str, Estimate], list[Plain], Plain]:
    """Estimates by name, the curve of doses, and what is known of signs."""
    claim, mask = one.claim, trial.mask(one.claim)
    out: dict[str, Estimate] = {}

    def estimate(changes: np.ndarray, where: np.ndarray = mask) -> Estimate:
        return paired(*trial.of(where, changes), seed=seed)

    for kind, whole in zip(claim.kinds, one.whole, strict=True):
        end = "" if kind == claim.kinds[0] else f"_{kind}"
        total = found[whole]
        for name, _ in claim.parts:
            out[f"alone_{name}{end}"] = estimate(found[one.alone[kind, name]])
            if one.without:
                out[f"adds_{name}{end}"] = estimate(total - found[one.without[kind, name]])
        if claim.parts:
            out[f"contrast{end}"] = estimate(total - sum(found[one.alone[kind, name]] for name, _ in claim.parts))
        everything, kept = found[one.all[kind]], found[one.kept[kind]]
        out[f"necessity{end}"] = share(trial, mask, total, everything, seed)
        out[f"sufficiency{end}"] = share(trial, mask, everything - kept, everything, seed)
        if not mask.all():
            out[f"collateral{end}"] = estimate(total, ~mask)
    inside = found[one.whole[0]][mask]
    inside = inside[~np.isnan(inside)]
    against = float((inside * np.sign(inside.mean()) < -1e-9 * np.abs(inside).max(initial=0)).mean())
    slopes, curve = doses(trial, one, found, seed)
    out["dose_slope"] = slopes
    return out, curve, {"mean_size": float(np.abs(inside).mean()), "opposite_signs": against}


def share(trial: Trial, mask: np.ndarray, part: np.ndarray, whole: np.ndarray, seed: int) -> Estimate:
    """The ratio of two mean changes, with percentiles of resampled units; not a number where there is no whole.

    There is none where its 95% interval holds 0.
    """
    all_of_it = paired(*trial.of(mask, whole), seed=seed)
    none = Estimate(np.nan, -np.inf, np.inf, 1.0, all_of_it.n, all_of_it.units, all_of_it.missing, 0.95,
                    "not defined: replacing everything changes nothing for sure", all_of_it.warning)  # fmt: skip
    if all_of_it.low <= 0 <= all_of_it.high:
        return none
    sums, sizes = _by_unit(trial, mask, np.stack([part, whole], 1))
    bootstrap = Bootstrap(2000, 0.95, seed)
    ratio = float(sums[:, 0].sum() / sums[:, 1].sum())
    drawn = np.concatenate([times.numpy() @ sums for times in bootstrap.draws(len(sums))])
    with np.errstate(all="ignore"):
        low, high = bootstrap.interval(np.nan_to_num(drawn[:, 0] / drawn[:, 1], nan=0.0))
    alone = paired(*trial.of(mask, part), seed=seed)
    if alone.method.startswith("shares"):  # of units that hardly change, resampling shows too little
        ends = sorted((alone.low / all_of_it.value, alone.high / all_of_it.value))
        low, high = min(low, ends[0]), max(high, ends[1])
    method = f"percentiles of {len(sums)} resampled units"
    return Estimate(ratio, low, high, 1.0, int(sizes.sum()), len(sums), all_of_it.missing, 0.95, method, None)


def _by_unit(trial: Trial, mask: np.ndarray, changes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of changes ``[n, c]`` by unit ``[G, c]`` and its number of samples, in an order that these decide."""
    rows, units = trial.of(mask, changes)
    pairs = [unit_sums(column, units) for column in rows.T]
    sums, sizes = np.stack([one for one, _ in pairs], 1), pairs[0][1]
    order = np.lexsort((sizes, *sums.T))
    return sums[order], sizes[order]


def doses(
    trial: Trial, one: AllRuns, found: Mapping[Intervention, np.ndarray], seed: int
) -> tuple[Estimate, list[Plain]]:
    r"""The mean slope over samples, and the mean change at each quantile with a simultaneous band.

    The slope is that of the score against the quantile's normal score, so of one standard deviation where a feature is
    normal. The band holds the whole curve with 95%: its half width is the 95% quantile, over resampled units, of the
    largest error of the curve in standard errors, times these.
    """
    mask = trial.mask(one.claim)
    table = np.stack([found[run] for run in one.doses])
    at = np.array([normal_quantile(q) for q in DOSES])
    weights = (at - at.mean()) / ((at - at.mean()) ** 2).sum()
    slope = paired(*trial.of(mask, weights @ table), seed=seed)
    sums, sizes = _by_unit(trial, mask, table.T)
    mean = sums.sum(0) / sizes.sum()
    rest = sums - mean * sizes[:, None]
    count = len(sizes)
    if count < 5:
        return slope, []
    error = np.sqrt(count / (count - 1) * (rest**2).sum(0)) / sizes.sum()
    drawn = np.concatenate(
        [t.numpy() @ np.column_stack([rest, sizes]) for t in Bootstrap(2000, 0.95, seed).draws(count)]
    )
    moved = np.abs(drawn[:, :-1] / drawn[:, -1:])
    with np.errstate(all="ignore"):
        width = float(np.quantile(np.nan_to_num(moved / error).max(1), 0.95)) * error
    values = _values(trial, one)
    return slope, [
        {"quantile": q, "values": v, "effect": float(m), "low": float(m - w), "high": float(m + w)}
        for q, v, m, w in zip(DOSES, values, mean, width, strict=True)
    ]


def _values(trial: Trial, one: AllRuns) -> list[list[float]]:
    """What the features are held at, for each dose."""
    found = [trial.known.of(run).value for run in one.doses]
    return [[] if value is None else value.tolist() for value in found]
