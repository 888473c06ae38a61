"""What setting inputs to normal does to the alarm: effects by unit, the two nulls of each, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from ..numerics import Estimate, paired, rank_p
from ..numerics.dependence import EPISODES, blocks, coded, differ, episodes, means
from ..numerics.estimates import LEAST
from ..types import Plain
from ..verify import Claimed, OneKind, Verdict, decide
from .exchange import Exchange, evenly
from .sentences import say

CONTROLS, CONTROL_ROWS = 999, 32
"""Random directions beside an effect, and rows on which they are compared; of images a quarter of these."""
FEWEST = 3
"""Values of which random directions are other directions at all."""
LEVEL = 0.05
SURE = ("supported", "supported, below delta")


@dataclass(frozen=True, eq=False)
class Restored:
    """Some inputs set to normal.

    Attributes:
        inputs: their numbers.
        before: the alarm of each anomalous row (1 or 0, or the score where scores are compared), ``[n]``.
        after: the same with the inputs as in matched normal rows, mean over the donors.
        typical: the same with the inputs at the normal mean.
        scores: the score of each anomalous row then, mean over the donors.
        normal: what the same edit changes on normal rows, ``[m]``.
        units: of the anomalous rows, ``[n]``.
        normal_units: of the normal rows.
        alone: the alarm of normal rows with these inputs as in anomalous rows, mean.
        foreign: the same with these inputs as in other normal rows: what a value from elsewhere does by itself.
    """

    inputs: tuple[int, ...]
    before: np.ndarray
    after: np.ndarray
    typical: np.ndarray
    scores: np.ndarray
    normal: np.ndarray
    units: np.ndarray
    normal_units: np.ndarray
    alone: float
    foreign: float

    @cached_property
    def estimate(self) -> Estimate:
        """The change on anomalous rows."""
        return paired(self.after - self.before, self.units)

    def on(self, rows: np.ndarray) -> Restored:
        """The same on some of the anomalous rows only, a mask ``[n]``."""
        parts = {key: getattr(self, key)[rows] for key in ("before", "after", "typical", "scores", "units")}
        return replace(self, **parts)

    @cached_property
    def beyond(self) -> float:
        """The p-value of no more effect than on normal rows."""
        return differ(means(self.after - self.before, self.units), means(self.normal, self.normal_units))

    def claim(self, delta: float | None, specific: float | None = None, untested: str | None = None) -> Claimed:
        """That it lowers the alarm, with both kinds of normal values.

        The p-value of doing no more than random directions is joined with that of doing no more than on normal rows.
        """
        beside, units = max(self.beyond, specific or 0.0), self.units.tolist()
        changes = (self.after - self.before, self.typical - self.before)
        kinds = [OneKind.of(change, units, "decrease", delta=delta, p_specific=beside) for change in changes]
        return Claimed("decrease", delta, kinds, untested)


class Effects:
    """Effects on the rows of an exchange, each measured once."""

    def __init__(self, exchange: Exchange, units: tuple[Sequence, Sequence] | None) -> None:
        self.exchange = exchange
        alarm = exchange.alarm
        self.base, self.normal_base = exchange.scores(exchange.rows, 0), exchange.scores(exchange.normal, 1)
        self.before, self.normal_before = alarm.alarms(self.base), alarm.alarms(self.normal_base)
        self.units = None
        if units is not None:
            own = zip(units[::-1], exchange.at, strict=True)
            self.units = tuple(coded(list(one))[at.numpy()] for one, at in own)
        self.size = 1.0
        if alarm.threshold is None:
            self.size = abs(float(self.base.mean() - self.normal_base.mean())) or 1.0
        self._known: dict[tuple[int, ...], Restored] = {}

    def of(self, inputs: Sequence[int]) -> Restored:
        """The effect of setting these to normal."""
        key = tuple(sorted(inputs))
        if key not in self._known:
            self._known[key] = self._measure(key)
        return self._known[key]

    def _measure(self, key: tuple[int, ...]) -> Restored:
        change, alarms = self.exchange, self.exchange.alarm.alarms
        scores = [change.scores(rows, 0) for rows in change.matched(key, 0)]
        after, score = (torch.stack(one).mean(0).numpy() for one in ([alarms(s) for s in scores], scores))
        typical = alarms(change.scores(change.typical(key, 0), 0)).numpy()
        calm = torch.stack([change.scores(rows, 1) for rows in change.matched(key, 1)])
        moved = (alarms(calm).mean(0) - self.normal_before).numpy()
        alone, foreign = (float(alarms(change.scores(change.given(key, group), 1)).mean()) for group in (0, 1))
        before = self.before.numpy()
        units, normal_units = self.units_of((score, after - before), (calm.mean(0).numpy(), moved))
        return Restored(key, before, after, typical, score, moved, units, normal_units, alone, foreign)

    def tested(self, found: Sequence[Restored], delta: float | None) -> list[Tested]:
        """The verdicts on inputs, or sets of them, that are tested together."""
        return tested(found, delta, [lambda one=one: self.specific(one, len(found)) for one in found])

    def turned(self, row: Plain) -> Plain:
        """A row in the metric's own direction, where lower is more alarming."""
        if self.exchange.alarm.sign > 0:
            return row
        keys = ("before", "after", "effect", "collateral", "alone", "normal_before", "normal_after", "contrast")
        ends = (("low", "high"), ("high", "low"), ("contrast_low", "contrast_high"), ("contrast_high", "contrast_low"))
        pairs = [*((key, key) for key in keys), *ends]
        turned = {to: None if row[key] is None else -row[key] for key, to in pairs if key in row}
        return {**row, **turned}

    def within(self, end: float) -> float | None:
        """The end of an interval of a change, within what an alarm rate can change; None for none."""
        if not np.isfinite(end):
            return None
        before = float(self.before.mean())
        return end if self.exchange.alarm.threshold is None else min(1 - before, max(-before, end))

    def units_of(self, *edited: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The units of both groups' rows, given or by how long what an edit changes goes on in time.

        Args:
            edited: of the anomalous and of the normal group the scores after an edit, and what it changes of the alarm.
        """
        if self.units is not None:
            return self.units[0], self.units[1]
        bases = (self.base.numpy(), self.normal_base.numpy())
        fault, calm = (self._blocks(base, *one) for base, one in zip(bases, edited, strict=True))
        return fault, calm

    def _blocks(self, base: np.ndarray, score: np.ndarray, change: np.ndarray) -> np.ndarray:
        """Blocks as long as the alarm's change remembers; where that hardly varies, as long as the scores do.

        Scores count no further beyond the threshold than the usual score is below it: how far a row is beyond that has
        no part in whether it is an alarm.
        """
        bound = self.exchange.alarm.threshold
        if bound is None:
            return blocks(len(base), base, change)
        if episodes(change) >= EPISODES:
            return blocks(len(base), change)
        width = abs(bound - float(self.normal_base.median()))
        near = [one.clip(bound - 2 * width, bound + width) for one in (base, score)]
        return blocks(len(base), *near, change)

    def specific(self, effect: Restored, tests: int) -> float | None:
        """The p-value of the inputs doing no more than edits of the same size in random directions; None of few values.

        The rank of the score that the edit leaves, on some rows, among those that random directions of the standardised
        inputs leave: (b + 1) / (m + 1). By the score, since an edit far larger than it needs to be ends many alarms; no
        lower than is usual for normal rows, since further than that is not back to normal.
        """
        change, own = self.exchange, self.exchange.columns(effect.inputs)
        if change.rows.shape[1] < FEWEST or len(own) == change.rows.shape[1]:
            return None
        at = evenly(len(change.rows), CONTROL_ROWS // (4 if change.groups.image else 1))
        rows, edited = change.rows[at], change.matched(effect.inputs, 0)[0][at]
        sizes = ((edited - rows) / change.deviation).norm(dim=1)
        count = max(CONTROLS, int(tests / LEVEL * 1.25))
        usual = float(self.normal_base.median())
        drawn = change.random(at, sizes, count).clamp(min=usual).mean(1)
        reached = change.scores(edited, 0, at).clamp(min=usual).mean()
        return rank_p(-float(reached), -drawn.numpy())[0]


@dataclass(frozen=True)
class Tested:
    """An effect with its verdict.

    Attributes:
        effect: what was measured.
        verdict: one of the protocol's words.
        p: the larger of both nulls' p-values, corrected for all that were tested with it.
        p_specific: of doing no more than random directions; None where it was not asked or cannot be.
        why: the kind of sentence that says what made the verdict; empty where the word says all.
        needed: how many units would decide, or None.
        least: with fewer units no effect can be supported beside as many others as were tested with it.
        tests: how many effects were tested together.
    """

    effect: Restored
    verdict: str
    p: float
    p_specific: float | None
    why: str
    needed: int | None
    least: int
    tests: int

    def reason(self) -> Plain:
        """What made the verdict, as a sentence and as its kind."""
        units = self.effect.estimate.units
        blanks: Plain = {"units": units, "beside": self.p_specific, "least": self.least, "tests": self.tests}
        why = say(self.why, **blanks) if self.why else ""
        return {"why": why, "why_kind": self.why, "least": self.least, "tests": self.tests}


def tested(
    found: Sequence[Restored], delta: float | None, specific: Sequence[Callable[[], float | None]]
) -> list[Tested]:
    """The verdicts on effects that are tested together (Holm).

    Args:
        found: the effects.
        delta: the smallest change of interest, or None.
        specific: of each, what measures its p-value beside random directions; asked only where it can matter.
    """
    ranks: list[float | None] = [None] * len(found)
    claims = [one.claim(delta) for one in found]
    for i, one in enumerate(found):
        if claims[i].p <= LEVEL:
            ranks[i] = specific[i]()
            untested = "why_narrow" if ranks[i] is None else None
            claims[i] = one.claim(delta, ranks[i], untested)
    decided = decide(claims, LEVEL)
    least = least_units(len(found))
    rows = zip(found, claims, decided, ranks, strict=True)
    return [
        Tested(one, v.word, v.p, rank, _why(one, claim, v, rank, least), v.needed, least, len(found))
        for one, claim, v, rank in rows
    ]


def least_units(tests: int) -> int:
    """Units without which the signs of all of them are chance, where so many effects are tested together."""
    return max(LEAST, math.ceil(math.log2(max(1, tests) / LEVEL)))


def _why(one: Restored, claim: Claimed, verdict: Verdict, specific: float | None, least: int) -> str:
    if verdict.word != "undecided":
        return ""
    if not np.any(one.after - one.before) and not np.any(one.typical - one.before):
        return "why_none"
    if one.estimate.units < least:
        return "why_units"
    if claim.untested is not None:
        return claim.untested
    level = LEVEL * claim.p / verdict.p  # corrected for what was tested with it
    if specific is not None and specific > level:
        return "why_unspecific" if specific > LEVEL else "why_corrected"
    if any(kind.effect.value >= 0 for kind in claim.kinds):
        return "why_two"
    return "why_normal" if max(kind.p for kind in claim.kinds) <= level and one.beyond > LEVEL else "why_chance"
