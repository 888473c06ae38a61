"""The rows of a diagnosis: what was found of each input and set, beside plain methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..numerics import Estimate, benjamini
from ..numerics.dependence import beside, differ, means
from ..types import Plain
from .effects import SURE, Effects, Tested
from .groups import Groups
from .ranking import importances, shares, stability
from .sentences import say
from .sets import SetTest

CARRIES = 0.1
"""Inputs with less of the first one's importance belong to no set."""
_OWN = ("normal", "anomalous", "normal_std", "anomalous_std")


@dataclass(frozen=True)
class Singles:
    """The inputs that were tested, each alone; the lists are beside each other."""

    inputs: list[int]
    verdicts: list[Tested]
    share: np.ndarray
    importance: np.ndarray
    stability: np.ndarray

    @classmethod
    def of(cls, effects: Effects, inputs: list[int], delta: float | None, seed: int) -> Singles:
        """Test each of these alone."""
        found = [effects.of([i]) for i in inputs]
        share = shares(effects, inputs, seed)
        stable = stability(effects, found, share, seed)
        return cls(inputs, effects.tested(found, delta), share, importances(effects, found, share), stable)

    @property
    def places(self) -> list[int]:
        """Places in the lists, the supported inputs first, then by importance."""
        return sorted(range(len(self.inputs)), key=lambda k: (self.verdicts[k].verdict != SURE[0], -self.importance[k]))

    @property
    def carrying(self) -> dict[int, Tested]:
        """Those that can be members of a set, the most important ones first."""
        value, order = self.importance, np.argsort(-self.importance, kind="stable")
        least = CARRIES * max(value.max(), 1e-12)
        return {self.inputs[k]: self.verdicts[k] for k in order if value[k] >= least}

    def rows(self, effects: Effects, apart: list[Plain]) -> list[Plain]:
        """One for each input, in the order of `places`."""
        return [
            {
                **_row(effects.exchange.groups.names[self.inputs[k]], effects, self.verdicts[k]),
                "share": float(self.share[k].mean()),
                "importance": float(self.importance[k]),
                "stability": float(self.stability[k]),
                **apart[self.inputs[k]],
                **self.verdicts[k].reason(),
            }
            for k in self.places
        ]


def _row(name: str, effects: Effects, one: Tested) -> Plain:
    effect, estimate = one.effect, one.effect.estimate
    exchange, own = effects.exchange, effects.exchange.columns(one.effect.inputs)
    return {
        "input": name,
        "verdict": one.verdict,
        **_values(exchange.groups, own),
        "before": float(effect.before.mean()),
        "after": float(effect.after.mean()),
        "low": effects.within(estimate.low),
        "high": effects.within(estimate.high),
        "effect": estimate.value,
        "p": one.p,
        "p_specific": one.p_specific,
        "n": estimate.n,
        "n_needed": one.needed,
        "units": estimate.units,
        "collateral": float(effect.normal.mean()),
        "alone": effect.alone,
    }


def _values(groups: Groups, own: Tensor) -> Plain:
    """Mean and standard deviation of an input in both groups, in its own units."""
    both = {"normal": groups.normal[:, own], "anomalous": groups.anomalous[:, own]}
    deviations = {f"{key}_std": float(rows.std(0).mean()) for key, rows in both.items()}
    return {**{key: float(rows.mean()) for key, rows in both.items()}, **deviations}


def _end(value: float) -> float | None:
    return value if np.isfinite(value) else None


def untested_row(name: str, effects: Effects, difference: Plain) -> Plain:
    """The row of an input that was not tested, since there are more than can be."""
    i = effects.exchange.groups.names.index(name)
    own = effects.exchange.groups.parts[i]
    before = float(effects.before.mean())
    empty = dict.fromkeys(("after", "low", "high", "effect", "p", "p_specific"))
    rest: Plain = {
        "n": 0,
        "n_needed": None,
        "units": 0,
        "collateral": None,
        "alone": None,
        "share": None,
        "importance": None,
        "stability": None,
    }
    return {
        "input": name,
        "verdict": "undecided",
        **_values(effects.exchange.groups, own),
        "before": before,
        **empty,
        **rest,
        **difference,
        "why": say("why_left"),
        "why_kind": "why_left",
    }


def set_row(names: Sequence[str], effects: Effects, one: SetTest) -> Plain:
    """The row of a set: as an input's, and what its members' interaction is."""
    members = [names[i] for i in one.tested.effect.inputs]
    contrast: Estimate | None = one.contrast
    return {
        "set": " and ".join(members),
        "members": members,
        **{k: v for k, v in _row("", effects, one.tested).items() if k not in ("input", *_OWN)},
        "normal_before": float(effects.normal_before.mean()),
        "normal_after": float(effects.normal_before.mean() + one.tested.effect.normal.mean()),
        "contrast": None if contrast is None else contrast.value,
        "contrast_low": None if contrast is None else _end(contrast.low),
        "contrast_high": None if contrast is None else _end(contrast.high),
        "confirmed": one.confirmed,
        **one.tested.reason(),
    }


def differences(effects: Effects) -> list[Plain]:
    """How far the groups are apart in each input, and the q-value of a difference in mean or spread."""
    change = effects.exchange
    gaps, ps = [], []
    for part in change.groups.parts:
        a, b = (
            ((rows - change.mean) / change.deviation)[:, part].mean(1).numpy() for rows in (change.rows, change.normal)
        )
        gaps.append(float(a.mean() - b.mean()))
        both = []
        for one, two in ((a, b), (np.abs(a), np.abs(b))):
            own = effects.units or beside(one, two)
            both.append(differ(means(one, own[0]), means(two, own[1])))
        ps.append(min(1.0, 2 * min(both)))
    return [{"difference": gap, "q": q} for gap, q in zip(gaps, benjamini(ps), strict=True)]


def plain_rows(names: Sequence[str], ranked: Sequence[int], plain: dict[str, np.ndarray | None]) -> list[Plain]:
    """The value and rank of each input by the plain methods, in the order of `ranked`."""
    rows: list[Plain] = [{"input": names[i], "rank": k + 1} for k, i in enumerate(ranked)]
    for method in ("mean_z", "permutation", "gradient_x_input", "reconstruction"):
        values = plain[method]
        places = None if values is None else np.argsort(np.argsort(-values, kind="stable"), kind="stable") + 1
        for row, i in zip(rows, ranked, strict=True):
            row[method] = None if values is None else float(values[i])
            row[f"{method}_rank"] = None if places is None else int(places[i])
    return rows
