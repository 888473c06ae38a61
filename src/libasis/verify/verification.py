"""What `verify` returns: a verdict on each hypothesis, with all that it rests on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import pages
from ..numerics import Estimate
from ..store import Stored, listed
from ..types import Plain
from .hypothesis import Hypothesis
from .verdict import Word

_TELL = {
    "supported": "{what} mediates the model's {metric}",
    "supported, below delta": "{what} mediates the model's {metric}, but not surely by more than {delta:g}",
    "opposite": "replacing {what} moves the model's {metric} the other way",
    "no effect above delta": "replacing {what} moves the model's {metric} by no more than {delta:g}",
    "undecided": "whether {what} mediates the model's {metric} is undecided",
}


@dataclass(frozen=True)
class KindResult:
    """What replacing by one kind of intervention did.

    Attributes:
        kind: ``"mean"``, ``"resample"``, ...
        effect: the mean change of the score over the group, with its 95% interval.
        inner: its 90% interval.
        p: that the effect is 0.
        p_opposite: the same against the side that is not claimed.
        p_specific: that random directions of the same variance do as much; None where that was not asked.
        controls: how many of them were looked at.
        control_range: the 2.5% and 97.5% quantiles of their mean changes.
    """

    kind: str
    effect: Estimate
    inner: tuple[float, float]
    p: float
    p_opposite: float
    p_specific: float | None
    controls: int
    control_range: tuple[float, float] | None


@dataclass(frozen=True)
class Outcome:
    """One hypothesis and what came of it.

    Attributes:
        hypothesis: as it was planned.
        verdict: the word.
        p: the largest p-value of all kinds and both nulls, corrected by Holm's rule.
        tested: whether it could be tested.
        reason: why the verdict is no better, in words.
        n_needed: how many units would decide; None where that cannot be said.
        base: the mean score of the group in the model as it is.
        kinds: one result for each kind of intervention, in the order planned.
        beside: what else was measured, see `verify`; estimates by name.
        dose: the mean change at quantiles of the features; empty where it was not measured.
        signs: mean size of the change, and the share of samples against the mean.
        stability: for each basis fitted again, the features most like these, their correlation, and their effect.
    """

    hypothesis: Hypothesis
    verdict: Word
    p: float
    tested: bool
    reason: str
    n_needed: int | None
    base: float
    kinds: tuple[KindResult, ...]
    beside: dict[str, Estimate] = field(default_factory=dict)
    dose: list[Plain] = field(default_factory=list)
    signs: Plain = field(default_factory=dict)
    stability: list[Plain] = field(default_factory=list)


@dataclass(frozen=True, eq=False, repr=False)
class Verification(Stored, kind="verification"):
    """The verdict on each hypothesis of a plan.

    A verdict holds for the model, the data, the metric and the kinds of intervention that it names. "Supported" says
    that what is replaced mediates the model's result; it says nothing of what causes the thing that the data are about.
    Many directions may do the same, so that it is a direction and not the one.

    Attributes:
        outcomes: one for each hypothesis, in the order of the plan.
        alpha: the probability of any wrong "supported".
        repeat: 1 for the first run of the plan on these data, 2 for the next, and so on.
        notes: what to know of data and plan, in words.
        info: plan, model, basis, data, seeds, versions.
    """

    outcomes: tuple[Outcome, ...]
    alpha: float
    repeat: int = 1
    notes: tuple[str, ...] = ()
    info: Plain = field(default_factory=dict)

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdict by name of the hypothesis."""
        return {one.hypothesis.label: one.verdict for one in self.outcomes}

    def __getitem__(self, name: str) -> Outcome:
        return next(one for one in self.outcomes if one.hypothesis.label == name)

    def flaw(self) -> str | None:
        """What makes it no verification; None if it is one."""
        if len(self.verdicts) < len(self.outcomes):
            return "two of its hypotheses have the same name"
        if not 0 < self.alpha < 1 or self.repeat < 1:
            return f"alpha is {self.alpha} and repeat is {self.repeat}"
        return None

    def rows(self) -> list[Plain]:
        """One plain row for each hypothesis.

        ``effect``, ``low``, ``high``, ``n`` and ``units`` are those of the first kind of intervention, the same of
        other kinds stand under their names (``effect_resample``); ``p_effect`` is the largest p-value of effects,
        ``p_specific`` that of the comparison with random directions, ``p`` the larger one, corrected for the number of
        hypotheses.
        """
        return [self._row(one) for one in self.outcomes]

    def _row(self, one: Outcome) -> Plain:
        claim, first = one.hypothesis, one.kinds[0] if one.kinds else None
        specific = [kind.p_specific for kind in one.kinds if kind.p_specific is not None]
        row: Plain = {
            "hypothesis": claim.label,
            "verdict": one.verdict,
            **_effect(first, ""),
            "p": one.p,
            "p_effect": max((kind.p for kind in one.kinds), default=1.0),
            "p_specific": max(specific, default=None),
            "n": 0 if first is None else first.effect.n,
            "units": 0 if first is None else first.effect.units,
            "n_needed": one.n_needed,
            "tested": one.tested,
            "reason": one.reason,
            "site": claim.site,
            "features": None if claim.numbers is None else list(claim.numbers),
            "metric": claim.metric,
            "group": claim.group,
            "direction": claim.direction,
            "delta": claim.delta,
            "kinds": ", ".join(claim.kinds),
            "controls": max((kind.controls for kind in one.kinds), default=0),
            "base": one.base,
            "repeat": self.repeat,
        }
        for kind in one.kinds[1:]:
            row.update(_effect(kind, f"_{kind.kind}"))
        for name, found in one.beside.items():
            row.update({name: found.value, f"{name}_low": found.low, f"{name}_high": found.high})
        if again := [min(found["correlation"]) for found in one.stability]:
            row["found_again"] = sum(value >= 0.9 for value in again) / len(again)
        return {**row, **one.signs}

    def to_html(self, path: str | Path, lang: str = "en", **options: Any) -> Path:
        """Write a page of it; see `libasis.report.write_verification`."""
        return pages.write_page(self, path, lang, **options)

    def __repr__(self) -> str:
        again = "" if self.repeat == 1 else f", run {self.repeat} on the same data"
        return listed(
            f"Verification({len(self.outcomes)} hypotheses{again})", [self.sentence(o) for o in self.outcomes]
        )

    def sentence(self, one: Outcome) -> str:
        """What came of one hypothesis, in words."""
        claim = one.hypothesis
        what = claim.intervention("mean", 0).label.removesuffix(" to mean")
        told = _TELL[one.verdict].format(what=what, metric=claim.metric, delta=claim.delta or 0.0)
        if not one.kinds:
            return f"  {claim.label}: {one.verdict}; {one.reason}"
        effect = one.kinds[0].effect
        group = "" if claim.group is None else f" where {claim.group}"
        seen = (
            f"{effect.value:+.3g} [{effect.low:.3g}, {effect.high:.3g}], p = {one.p:.2g}, {effect.units} units{group}"
        )
        reason = f"; {one.reason}" if one.reason else ""
        needed = f"; about {one.n_needed:,} units would decide" if one.verdict == "undecided" and one.n_needed else ""
        return f"  {claim.label}: {one.verdict}: {told} ({seen}){reason}{needed}"


def _effect(kind: KindResult | None, ending: str) -> dict[str, Any]:
    found = None if kind is None else kind.effect
    return {f"{key}{ending}": None if found is None else getattr(found, name)
            for key, name in (("effect", "value"), ("low", "low"), ("high", "high"))}  # fmt: skip
