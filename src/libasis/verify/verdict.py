r"""From effects to a verdict: pure statistics, the same for verification, diagnosis and cards.

An effect is the mean of paired changes d of a score. Two nulls must fall: that it is 0 (signs of units), and that
random directions do as much (rank). Both are asked of every kind of intervention, so the p-value of a claim is the
largest of all of them, with no correction between them (intersection-union); Holm's rule corrects for the number of
claims.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ..numerics import (
    Estimate,
    holm,
    normal_quantile,
    paired,
    paired_sums,
    shared_error,
    sign_flips,
    two_sided_normal,
    units_needed,
)
from ..numerics.estimates import LEAST, SAME, beyond, unit_error

Word = Literal["supported", "supported, below delta", "opposite", "no effect above delta", "undecided"]
POWER = 0.9
Givers = tuple[Sequence[Hashable], Sequence[Hashable]]
"""Of samples in which other samples' values stand in: the unit of each, and that of the sample it takes them from."""
SIDES = {"any": 0, "increase": 1, "decrease": -1}


@dataclass(frozen=True)
class Noise:
    """How much the changes of units vary; nothing of it says which way they go.

    Attributes:
        units: their number.
        samples: the number of samples in them.
        deviation: the standard error of the mean over samples, times the root of the number of units.
        jump: the one amount by which units change, where they change by one amount or not at all; else 0.
        moved: the share of units that change.
        design: the squared standard error, in that of samples that are independent.
        shared: the standard error, in that over units that take nothing from each other, see `shared_error`.
        unsure: by how much the deviation may be larger in other units: the root of the upper end of the middle half
            of what their variance may be, by the fourth moment of these.
    """

    units: int
    samples: int
    deviation: float
    jump: float
    moved: float
    design: float
    shared: float = 1.0
    unsure: float = 1.0

    @classmethod
    def of(cls, changes: np.ndarray, units: Sequence[Hashable] | None, givers: Givers | None = None) -> Noise:
        """That of changes of samples ``[n]``; those that are not a number are left out."""
        sums, sizes = unit_sums(changes, units)
        count, size = len(sums), np.abs(sums / sizes)
        largest = float(size.max(initial=0))
        stays = size <= SAME * largest
        one = bool((stays | (size >= (1 - SAME) * largest)).all())
        jump = (largest or 1.0) if one else 0.0
        alone = _deviation(changes[~np.isnan(changes)], np.ones(int(sizes.sum())))
        shared = 1.0 if givers is None else shared_error(changes, *givers)
        # what has not happened yet may happen
        deviation = max(shared * _deviation(sums, sizes), jump / math.sqrt(count + 2))
        samples = int(sizes.sum())
        design = (deviation**2 / count) / (alone**2 / samples) if count and alone > 0 and units is not None else 1.0
        moved = float((~stays).mean()) if count else math.nan
        return cls(count, samples, deviation, jump, moved, design, shared, _unsure(sums, sizes))

    def needed(self, delta: float, level: float, power: float = POWER) -> int | None:
        """How many units tell an effect of ``delta`` from none at this level, see `units_needed`; None if unknown.

        Other units may vary more than these: the deviation is taken as large as ``unsure`` says (Browne 1995).
        """
        known = self.deviation > 0 or self.jump
        spread = self.deviation * self.unsure
        return units_needed(spread, delta, level, power, self.jump) if known and self.units > 1 else None

    def power(self, delta: float, level: float) -> float:
        """The probability to tell an effect of ``delta`` from none with as many units as there are."""
        if not self.deviation > 0:
            return math.nan
        z = math.sqrt(self.units) * abs(delta) / self.deviation - normal_quantile(1 - level)
        return 1 - two_sided_normal(z) / 2 if z > 0 else two_sided_normal(z) / 2


def unit_sums(changes: np.ndarray, units: Sequence[Hashable] | None) -> tuple[np.ndarray, np.ndarray]:
    """The sum of changes of each unit and its number of samples, samples without a score left out."""
    known = ~np.isnan(changes)
    if units is None:
        return changes[known], np.ones(int(known.sum()))
    numbers: dict[Any, int] = {}
    there = np.nonzero(known)[0].tolist()
    codes = np.array([numbers.setdefault(units[i], len(numbers)) for i in there], dtype=np.int64)
    return np.bincount(codes, changes[known]), np.bincount(codes).astype(np.float64)


def _deviation(sums: np.ndarray, sizes: np.ndarray) -> float:
    """That of one unit, whose error of the mean it is times the root of their number."""
    return math.sqrt(len(sums)) * float(unit_error(sums, sizes)) if len(sums) > 1 else 0.0


def _unsure(sums: np.ndarray, sizes: np.ndarray) -> float:
    rest = beyond(sums, sizes) if len(sums) else np.zeros(1)
    square = float((rest**2).mean())
    if not square > 0:
        return 1.0
    kurtosis = float((rest**4).mean()) / square**2
    return math.sqrt(1 + normal_quantile(0.75) * math.sqrt(max(kurtosis - 1, 0.0) / len(rest)))


@dataclass(frozen=True)
class OneKind:
    """One effect, under one kind of intervention.

    Attributes:
        effect: the mean change, with its 95% interval.
        inner: the ends of its 90% interval.
        p: that the effect is 0, against the claimed side (or either, where none is claimed).
        p_opposite: the same against the other side; 1 where none is claimed.
        noise: how much the changes of units vary.
        p_specific: that random directions do as much; None where that is not asked.
        p_beyond: that the effect goes no further than delta to the claimed side (or that which is seen, where none is
            claimed, and then for both sides).
    """

    effect: Estimate
    inner: tuple[float, float]
    p: float
    p_opposite: float
    noise: Noise
    p_specific: float | None = None
    p_beyond: float = 0.0

    @classmethod
    def of(
        cls,
        changes: np.ndarray,
        units: Sequence[Hashable] | None = None,
        direction: str = "any",
        *,
        delta: float | None = None,
        seed: int = 0,
        p_specific: float | None = None,
        givers: Givers | None = None,
    ) -> OneKind:
        """That of the changes of samples ``[n]``, of which those without a score are not a number.

        Where values of other samples stand in, ``givers`` are the units of all samples and of those that they take
        theirs from: intervals and noise are as much larger as these make the standard error, see `shared_error`.
        """
        noise = Noise.of(changes, units, givers)
        effect = _wider(paired(changes, units, seed=seed), noise.shared)
        inner = _wider(paired(changes, units, seed=seed, confidence=0.9), noise.shared)
        found = cls.of_sums(*unit_sums(changes, units), direction, delta=delta, seed=seed, p_specific=p_specific)
        return replace(found, effect=effect, inner=(inner.low, inner.high), noise=noise)

    @classmethod
    def of_sums(
        cls,
        sums: np.ndarray,
        sizes: np.ndarray,
        direction: str = "any",
        *,
        delta: float | None = None,
        seed: int = 0,
        p_specific: float | None = None,
    ) -> OneKind:
        """That of the summed changes of units ``[G]`` and the number of scores that they are of, above 0."""
        side = SIDES[direction]
        p, other = sign_flips(sums, seed, side), sign_flips(sums, seed, -side) if side else 1.0
        beyond = 0.0
        if delta:
            seen = side or (-1 if sums.sum() < 0 else 1)
            beyond = min(1.0, sign_flips(sums - seen * delta * sizes, seed, seen) * (1 if side else 2))
        effect, inner = (paired_sums(sums, sizes, seed=seed, confidence=level) for level in (0.95, 0.9))
        noise = Noise.of(sums / sizes, None)
        return cls(effect, (inner.low, inner.high), p, other, noise, p_specific, beyond)


def _wider(found: Estimate, factor: float) -> Estimate:
    low, high = (found.value + (end - found.value) * factor for end in (found.low, found.high))
    return found if factor == 1 else replace(found, low=low, high=high)


@dataclass(frozen=True)
class Claimed:
    """A claim with all that was seen of it.

    Attributes:
        direction: ``"any"``, ``"increase"`` or ``"decrease"``.
        delta: the smallest effect of interest, or None.
        kinds: by kind of intervention.
        untested: why it could not be tested, in words, or None.
        least: so many kinds must have been tried for "supported".
    """

    direction: str
    delta: float | None
    kinds: Sequence[OneKind]
    untested: str | None = None
    least: int = 2

    @property
    def side(self) -> int:
        """1 or -1: which way the effect is claimed to go, or goes where none is claimed."""
        value = self.kinds[0].effect.value if self.kinds else 0.0
        return SIDES[self.direction] or (-1 if value < 0 else 1)

    @property
    def p(self) -> float:
        """The largest p-value of all kinds and both nulls."""
        if self.untested or not self.kinds:
            return 1.0
        return max(max(one.p, 0.0 if one.p_specific is None else one.p_specific) for one in self.kinds)

    @property
    def p_beyond(self) -> float:
        """The largest p-value of all kinds, both nulls, and that of no more than delta."""
        return max([self.p, *(one.p_beyond for one in self.kinds)])

    @property
    def p_opposite(self) -> float:
        """The largest p-value of all kinds on the other side."""
        return 1.0 if self.untested or not self.kinds else max(one.p_opposite for one in self.kinds)


@dataclass(frozen=True)
class Verdict:
    """What was decided about a claim.

    Attributes:
        word: the verdict.
        p: the claim's p-value, corrected for the number of claims.
        tested: whether it could be tested at all.
        reason: why the verdict is no other, in words.
        needed: how many units would decide; None where that cannot be said.
    """

    word: Word
    p: float
    tested: bool
    reason: str
    needed: int | None


def decide(claims: Sequence[Claimed], alpha: float = 0.05) -> list[Verdict]:
    """The verdict on each of some claims, which are corrected for their number together.

    Whatever the claims and however they depend on each other, the probability of any wrong "supported" is at most
    alpha, as far as the p-values are true; with a delta an effect of no more than that is one of the wrong ones.
    """
    for_it = holm([claim.p for claim in claims])
    beyond = holm([claim.p_beyond for claim in claims])
    against = holm([claim.p_opposite for claim in claims])
    rows = zip(claims, for_it, beyond, against, strict=True)
    return [_decided(claim, ps, alpha, len(claims)) for claim, *ps in rows]


def _decided(claim: Claimed, ps: Sequence[float], alpha: float, tests: int) -> Verdict:
    p, p_beyond, p_opposite = ps
    needed = units_that_decide(claim, alpha, tests)
    if claim.untested:
        return Verdict("undecided", 1.0, False, f"could not be tested here, because {claim.untested}", None)
    kinds, side, delta = claim.kinds, claim.side, claim.delta or 0.0
    ends = [sorted((side * one.effect.low, side * one.effect.high)) for one in kinds]
    falls = p <= alpha and min(low for low, _ in ends) > 0
    if falls and len(kinds) >= claim.least and p_beyond <= alpha and min(low for low, _ in ends) > delta:
        return Verdict("supported", p, True, "", needed)
    if falls and len(kinds) >= claim.least:
        far = " once corrected for the number of claims" if min(low for low, _ in ends) > delta else ""
        if ends[0][0] > delta and not far:  # the first kind's interval, which is shown beside this, does not
            worst = kinds[min(range(len(kinds)), key=lambda i: ends[i][0])].effect
            far = f" under another kind of replacement ({worst.value:.3g} [{worst.low:.3g}, {worst.high:.3g}])"
        return Verdict("supported, below delta", p, True, f"the interval reaches inside {delta:g}{far}", needed)
    if p_opposite <= alpha and max(high for _, high in ends) < 0:
        return Verdict("opposite", p, True, "the effect falls on the other side", needed)
    if claim.delta and all(-delta < one.inner[0] and one.inner[1] < delta for one in kinds):
        return Verdict("no effect above delta", p, True, f"the 90% interval lies within {delta:g} of 0", needed)
    return Verdict("undecided", p, True, _why(claim, falls, (alpha, alpha * claim.p / p), tests), needed)


def _why(claim: Claimed, falls: bool, levels: tuple[float, float], tests: int) -> str:
    """Why nothing was decided; the levels are that of all claims and that of this one alone."""
    kinds = claim.kinds
    if falls:
        return f"{len(kinds)} kind of intervention was tried, and {claim.least} are needed"
    units = min(one.effect.units for one in kinds)
    if units < LEAST:
        return f"there are {units} units, and {LEAST} are needed for an interval"
    beside = max((one.p_specific or 0.0) for one in kinds)
    if max(one.p for one in kinds) <= levels[1] < beside:
        if beside > levels[0]:
            return f"random directions of the same variance do as much (p = {beside:.2g})"
        return (
            f"{beside:.2%} of random directions of the same variance do as much, too many beside {tests} claims that "
            "are tested together; plan fewer claims or more controls, on other samples"
        )
    return "the effect is not told from 0"


def level_of(alpha: float, tests: int, direction: str) -> float:
    r"""The one-sided level of a claim among others: :math:`\alpha / m`, and half of it for a claim with no side.

    An interval of 95% has to lie on one side too, so it is 0.025 at most.
    """
    return min(alpha / tests / (1 if SIDES[direction] else 2), 0.025)


def power_of(kinds: int) -> float:
    """The power under each kind with which all kinds together have `POWER`."""
    return 1 - (1 - POWER) / max(kinds, 1)


def units_that_decide(claim: Claimed, alpha: float, tests: int) -> int | None:
    """How many units would decide about an effect of delta, under the kind whose effects vary most."""
    if claim.delta is None:
        return None
    level, power = level_of(alpha, tests, claim.direction), power_of(len(claim.kinds))
    found = [one.noise.needed(claim.delta, level, power) for one in claim.kinds]
    return max((n for n in found if n is not None), default=None)
