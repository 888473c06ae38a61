"""The effect as a result: estimates, overlap, checks, and what they come to in plain words."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..pages import write_page
from ..store import Stored, listed
from ..types import Plain
from .evalue import EValue
from .overlap import Overlap


@dataclass(frozen=True)
class Adjusted:
    """The effect by one way of adjusting: its value, interval and p-value."""

    method: str
    effect: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Check:
    """One try to refute.

    Attributes:
        name: what was tried.
        of: "machinery" (would it find an effect where there is none?) or "effect" (does this one stay?).
        passed: whether it came out as it should.
        text: what came out, in words.
    """

    name: str
    of: str
    passed: bool
    text: str


@dataclass(frozen=True, eq=False, repr=False)
class CausalEffect(Stored, kind="causal_effect"):
    """The effect of a treatment on an outcome, with adjustment.

    Attributes:
        treatment: its name.
        outcome: its name.
        unit: what the effect is of, in words: between two values of the treatment, or by one of its unit.
        adjusted: what was adjusted for.
        method: the way of adjusting that counts and was tried to refute.
        estimates: by each way.
        overlap: how far the groups overlap.
        checks: tries to refute.
        e_value: how strong an unmeasured cause would have to be.
        machinery: whether the checks of the machinery are passed.
        survives: whether the effect survives the others.
        rows_used: number of rows.
        units_used: number of independent units.
        info: how it was made.
    """

    treatment: str
    outcome: str
    unit: str
    adjusted: tuple[str, ...]
    method: str
    estimates: tuple[Adjusted, ...]
    overlap: Overlap
    checks: tuple[Check, ...]
    e_value: EValue
    machinery: bool
    survives: bool
    rows_used: int
    units_used: int
    info: Plain = field(default_factory=dict)

    @property
    def main(self) -> Adjusted:
        """The estimate of `method`."""
        return self[self.method]

    @property
    def effect(self) -> float:
        """Of `main`."""
        return self.main.effect

    def __getitem__(self, method: str) -> Adjusted:
        return {one.method: one for one in self.estimates}[method]

    def rows(self) -> list[Plain]:
        """One row for each way of adjusting."""
        return [vars(one).copy() for one in self.estimates]

    @property
    def on_machinery(self) -> str:
        """One sentence: does the machinery pass its checks?"""
        own = [check for check in self.checks if check.of == "machinery"]
        return _sentence(
            "The machinery passes its checks", "The machinery does not pass its checks", self.machinery, own
        )

    @property
    def on_effect(self) -> str:
        """One sentence: does the effect survive them?"""
        own = [check for check in self.checks if check.of == "effect"]
        if self.survives:
            more = (
                f"; a cause that was not measured would explain it away only if it went with both by risk ratios of "
                f"{self.e_value.point:.2f} ({self.e_value.limit:.2f} to take the interval to no effect)"
            )
            return _sentence("The effect survives them", "", True, own)[:-1] + more + "."
        one = self.main
        if one.low <= 0 <= one.high:
            return (
                f"There is no effect to be told from none: the interval {one.low:.4g} to {one.high:.4g} holds 0; that "
                "is not to say that there is none."
            )
        if not self.machinery:
            return "Whether the effect survives cannot be said while the machinery does not pass its checks."
        return _sentence("", "The effect does not survive them", False, own)

    def summary(self) -> list[str]:
        """What it comes to, in sentences."""
        one = self.main
        names = list(dict.fromkeys(name.partition("=")[0].removesuffix("^2") for name in self.adjusted))
        what = f"for {', '.join(names[:8])}{' and more' if len(names) > 8 else ''}"
        return [
            f"{self.treatment} on {self.outcome}, {self.unit}: {one.effect:.4g} [{one.low:.4g}, {one.high:.4g}] "
            f"({one.method}, adjusted {what if self.adjusted else 'for nothing'}; {self.rows_used} rows, "
            f"{self.units_used} units).",
            self.on_machinery,
            self.on_effect,
            *(f"Careful: {text}." for text in self.overlap.warnings),
            "This holds if nothing else that was not adjusted for moves both; data that were only observed cannot show "
            "that.",
        ]

    def to_html(self, path: str | Path, lang: str = "en") -> Path:
        """Write a self-contained page that shows it; opens in English or Japanese."""
        return write_page(self, path, lang)

    def __repr__(self) -> str:
        rows = [f"  {one.method}: {one.effect:.4g} [{one.low:.4g}, {one.high:.4g}]" for one in self.estimates]
        return listed("\n".join(self.summary()), rows)


def _sentence(good: str, bad: str, passed: bool, checks: list[Check]) -> str:
    shown = checks if passed else [check for check in checks if not check.passed] or checks
    return f"{good if passed else bad}: {'; '.join(check.text for check in shown)}."
