"""Inputs set to normal together: chosen on one half of the units, tested on the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from ..numerics import Estimate, paired
from ..types import Plain
from .effects import SURE, Effects, Restored, Tested
from .sentences import finding

PAIRED, CANDIDATES, MOST = 3, 8, 6
"""Inputs of which all pairs are tried, inputs that a larger set can take, and how many it can have."""
DONE = 0.05
"""Share of the alarm that may remain when no further input is added."""
UNSURE = 0.2
"""Of an alarm that is on for so much more of the anomalous rows it is said why nothing is supported."""
FEWEST = 10
"""Parts of the anomalous rows of which half confirm what the other half chose."""


@dataclass(frozen=True)
class SetTest:
    """A set with its verdict, and of two inputs what they do together beyond each alone."""

    tested: Tested
    contrast: Estimate | None
    confirmed: bool


def sets_tested(effects: Effects, singles: Mapping[int, Tested], delta: float | None) -> list[SetTest]:
    """The first inputs alone, in pairs, and the smallest set found that ends the alarm, each with its verdict.

    Args:
        effects: of the exchange.
        singles: the inputs that carry part of the alarm, the first ones first, as they were tested alone.
        delta: the smallest change of interest.
    """
    ranked = list(singles)
    if not ranked:
        return []
    halves = _halves(effects, ranked)
    confirmed = len(np.unique(halves)) >= FEWEST
    chosen_on = halves % 2 == 0 if confirmed else np.ones(len(halves), bool)
    tested_on = ~chosen_on if confirmed else chosen_on
    whole = [effects.of(one) for one in _chosen(effects, ranked, chosen_on)]
    apart = [confirmed and len(np.unique(one.units)) > halves.max() for one in whole]
    found = effects.tested([one.on(tested_on) for one in whole], delta)
    found = [
        one if known else replace(one, verdict="undecided", why="why_same_rows")
        for one, known in zip(found, apart, strict=True)
    ]
    alone = [SetTest(singles[i], None, True) for i in ranked[:PAIRED]]
    rows = zip(found, apart, strict=True)
    return [*alone, *(SetTest(t, _contrast(effects, t.effect, tested_on), known) for t, known in rows)]


def _halves(effects: Effects, ranked: Sequence[int]) -> np.ndarray:
    """Numbers of parts ``[rows]``, of which every other one chooses: units, or some blocks of rows in time.

    The blocks are those of the first inputs together, or of the first one, whichever are more; several to a part, so
    that parts are long beside what a set remembers.
    """
    units = [np.unique(effects.of(ranked[:k]).units, return_inverse=True)[1] for k in (1, PAIRED)]
    finest = max(units, key=np.max)
    count = int(finest.max()) + 1
    return finest if effects.units is not None else finest * min(count, 2 * FEWEST) // count


def _chosen(effects: Effects, ranked: Sequence[int], rows: np.ndarray) -> list[tuple[int, ...]]:
    """The pairs of the first inputs, and what ends the alarm when inputs are added one by one to the best."""
    pairs = [tuple(sorted(pair)) for pair in combinations(ranked[:PAIRED], 2)]
    start = float(effects.before.numpy()[rows].mean() - effects.normal_before.mean())
    path, left = [ranked[0]], list(ranked[1:CANDIDATES])
    while left and len(path) < MOST and _left(effects, path, rows) > DONE * abs(start):
        best = min(left, key=lambda i: (round(_left(effects, [*path, i], rows), 3), _score(effects, [*path, i], rows)))
        left.remove(best)
        path.append(best)
    return list(dict.fromkeys([*pairs, *([tuple(sorted(path))] if len(path) > 1 else [])]))


def _left(effects: Effects, inputs: Sequence[int], rows: np.ndarray) -> float:
    """The alarm that remains, above that of normal rows."""
    return float(effects.of(inputs).after[rows].mean() - effects.normal_before.mean())


def _score(effects: Effects, inputs: Sequence[int], rows: np.ndarray) -> float:
    return float(effects.of(inputs).scores[rows].mean())


def _contrast(effects: Effects, effect: Restored, rows: np.ndarray) -> Estimate | None:
    """What two inputs do together beyond the sum of what each does alone."""
    if len(effect.inputs) != 2:
        return None
    alone = [effects.of([i]).on(rows) for i in effect.inputs]
    changes = [one.after - one.before for one in (effect, *alone)]
    return paired(changes[0] - changes[1] - changes[2], effect.units)


def remaining(effects: Effects, sets: Sequence[SetTest]) -> float | None:
    """The alarm that remains with the best tested set at normal."""
    found = [float(one.tested.effect.after.mean()) for one in sets]
    return min(found) if found else None


def unsure(effects: Effects, verdicts: Sequence[Tested], sets: Sequence[SetTest]) -> list[Plain]:
    """Why nothing is supported, and where no tested set ends most of the alarm, that."""
    before = float(effects.before.mean() - effects.normal_before.mean())
    left, out = remaining(effects, sets), []
    if (
        effects.exchange.alarm.threshold is not None
        and left is not None
        and before > UNSURE * effects.size
        and left > before / 2
    ):
        out.append(finding("many", most=max(len(one.tested.effect.inputs) for one in sets), left=left))
    units = max((one.effect.estimate.units for one in verdicts if one.why == "why_units"), default=None)
    sure = any(one.verdict in SURE for one in (*verdicts, *(one.tested for one in sets)))
    if units is not None and not sure:
        out.append(finding("one_run", units=units, inputs=len(verdicts), least=verdicts[0].least))
    return out
