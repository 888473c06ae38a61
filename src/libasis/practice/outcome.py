"""The outcome of an A/B test as a result."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from ..pages import write_page
from ..store import Stored, listed
from ..types import Plain


@dataclass(frozen=True)
class MetricOutcome:
    """One metric at the end.

    Attributes:
        metric: its name.
        role: "success" or "guardrail".
        better: "higher" or "lower".
        limit: the smallest effect of interest, or the margin of a guardrail; None where none was given.
        control: its mean without the change.
        treatment: its mean with it.
        effect: the difference.
        low: lower end of its interval, if this is the only look.
        high: its upper end.
        p: of no difference, if this is the only look.
        always_low: lower end of the interval that holds at every look together.
        always_high: its upper end.
        confidence: of both intervals.
        judgement: "better", "worse", "no difference above delta" or "undecided"; of a guardrail "holds", "broken" or
            "undecided"; "changed over time" where intervals of different days exclude each other.
        needed: units in both groups that find the limit or rule it out; None without one.
    """

    metric: str
    role: str
    better: str
    limit: float | None
    control: float
    treatment: float
    effect: float
    low: float
    high: float
    p: float
    always_low: float
    always_high: float
    confidence: float
    judgement: str
    needed: int | None


@dataclass(frozen=True)
class Look:
    """One metric as it stood at the end of a day."""

    metric: str
    day: str
    control_units: int
    treatment_units: int
    effect: float
    low: float
    high: float
    always_low: float
    always_high: float


@dataclass(frozen=True, eq=False, repr=False)
class ABOutcome(Stored, kind="ab_outcome"):
    """What an A/B test says.

    Attributes:
        verdict: "win", "harm", "no difference above delta" or "undecided".
        metrics: each with its effect and interval.
        looks: each metric at the end of each day.
        analysis: "always-valid", "fixed" or "exact".
        control: units in the control group.
        treatment: units in the other.
        names: of the groups.
        ratio_p: of group sizes as planned.
        planned: units in both groups that were planned, or None.
        alpha: risk of a win or a harm without an effect.
        warnings: what to be careful about, in words.
        info: versions and options.
    """

    verdict: str
    metrics: tuple[MetricOutcome, ...]
    looks: tuple[Look, ...]
    analysis: str
    control: int
    treatment: int
    names: tuple[str, str]
    ratio_p: float
    planned: int | None
    alpha: float
    warnings: tuple[str, ...]
    info: Plain = field(default_factory=dict)

    @property
    def more(self) -> int | None:
        """Units that are still needed, both groups together, where it is undecided and a limit was given."""
        have = self.control + self.treatment
        if self.verdict != "undecided":
            return None
        if self.analysis == "fixed" and self.planned and have < self.planned:
            return self.planned - have
        open_ones = [one.needed for one in self.metrics if one.judgement == "undecided" and one.needed]
        return max(1, max(open_ones) - have) if open_ones else None

    def rows(self) -> list[Plain]:
        """One row for each metric."""
        return [vars(one).copy() for one in self.metrics]

    def summary(self) -> list[str]:
        """What it comes to, in sentences."""
        return [
            self._headline(),
            *(_of_metric(one, self.analysis) for one in self.metrics),
            f"Groups: {self.control} units in {self.names[0]}, {self.treatment} in {self.names[1]}, as planned "
            f"(chi-square p = {self.ratio_p:.2g}).",
            READ[self.analysis],
            *(f"Careful: {text}." for text in self.warnings),
        ]

    def _headline(self) -> str:
        if self.verdict != "undecided":
            return f"Verdict: {self.verdict}."
        have = self.control + self.treatment
        if self.analysis == "fixed" and self.planned and have < self.planned:
            return f"Verdict: undecided: {have} of {self.planned} planned units are in; read it when all are."
        if self.more is None:
            return "Verdict: undecided; with delta, the smallest effect worth having, it says how many units decide."
        return f"Verdict: undecided: about {self.more} more units (both groups together) decide."

    def to_html(self, path: str | Path, lang: str = "en") -> Path:
        """Write a self-contained page that shows it; opens in English or Japanese."""
        return write_page(self, path, lang)

    def __repr__(self) -> str:
        return listed("\n".join(self.summary()), [])


READ = {
    "always-valid": "The verdict may be read at any time: it takes the intervals that hold at every look together.",
    "exact": "The verdict may be read at any time: it takes exact intervals that hold at every look together.",
    "fixed": "The verdict holds for one look that was planned beforehand; looking daily until it is a win is wrong in "
    "about 30% of tests without an effect.",
}


def _of_metric(one: MetricOutcome, analysis: str) -> str:
    always = (
        ""
        if analysis == "fixed"
        else f"; at every look [{one.always_low:.4g}, {one.always_high:.4g}]"
        if math.isfinite(one.always_low)
        else "; too few for an interval at every look"
    )
    limit = "" if one.limit is None else f", {'delta' if one.role == 'success' else 'margin'} {one.limit:.4g}"
    share = f" ({one.effect / abs(one.control):+.1%})" if one.control else ""
    return (
        f"{one.metric} ({one.role}{limit}): {one.control:.4g} to {one.treatment:.4g}, a change of {one.effect:+.4g}"
        f"{share} [{one.low:.4g}, {one.high:.4g}]{always}: {one.judgement}."
    )
