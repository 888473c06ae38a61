"""`practice_plan`: results become a plan with stages, value and talking points, in English and Japanese."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..arguments import typed
from ..errors import OptionError, did_you_mean, short
from ..files import write_text
from ..pages import write_page
from ..provenance import versions
from ..store import Stored, listed
from ..types import Plain
from .design import ABDesign
from .findings import Finding, findings_of
from .outcome import ABOutcome
from .sentences import chance, line, said, words_of
from .stages import STAGES, PlanStage, Rates, stages_of
from .value import ValueEstimate, amount

MARK = "<!-- libasis practice -->"
SURE = ("supported", "supported, below delta", "win")


@dataclass(frozen=True, eq=False, repr=False)
class PracticePlan(Stored, kind="practice_plan"):
    """What is done with a finding, stage by stage.

    Attributes:
        change: what is to change, in the reader's words.
        found: what was found, as lines.
        stages: in their order.
        value: what it is worth, or None.
        talking: points for a meeting, as lines: each with what it may not be said without.
        info: rates and versions.
    """

    change: str
    found: list[Plain]
    stages: tuple[PlanStage, ...]
    value: ValueEstimate | None
    talking: list[Plain]
    info: Plain = field(default_factory=dict)

    def rows(self) -> list[Plain]:
        """One row for each stage, in English."""
        words = words_of("en")
        return [
            {
                "stage": words[f"stage_{one.key}"],
                "status": one.status,
                "owner": one.owner or words[f"owner_{one.key}"],
                "days": one.days,
                "decides": " ".join(said(each, "en") for each in one.decides),
                "numbers": " ".join(said(each, "en") for each in one.numbers),
                "stops": " ".join(said(each, "en") for each in one.stops),
            }
            for one in self.stages
        ]

    def value_lines(self) -> list[Plain]:
        """What it is worth, as lines."""
        if self.value is None:
            return [line("value_missing")]
        net, unit = self.value, f" {self.value.unit}" if self.value.unit else ""
        ends = {"low80": net.range80[0], "high80": net.range80[1], "low95": net.range95[0], "high95": net.range95[1]}
        found = [
            line("value_net", median=amount(net.median) + unit, **{key: amount(end) for key, end in ends.items()}),
            line("value_loss", loss=chance(net.loss)),
        ]
        if net.inputs and net.inputs[0].shape != "known":
            most = net.inputs[0]
            ends = {"at_low": amount(most.at_low) + unit, "at_high": amount(most.at_high) + unit}
            found.append(line("value_most", input=most.name, **ends))
        return found

    def text(self, lang: str = "en") -> str:
        """The plan as Markdown.

        Raises:
            OptionError: the language is unknown.
        """
        words = words_of(lang)
        out = [MARK, f"# {words['title']}", "", self._change(lang)]
        out += ["", f"## {words['found']}", "", *(f"- {said(one, lang)}" for one in self.found)]
        out += ["", f"## {words['stages']}"]
        for number, stage in enumerate(self.stages, 1):
            out += ["", f"### {stage.heading(number, lang)}", "", *(f"- {fact}" for fact in stage.facts(lang))]
            for key in ("decides", "numbers", "stops"):
                lines = getattr(stage, key)
                out += [f"- {words[key]}", *(f"  - {said(one, lang)}" for one in lines)] if lines else []
        out += ["", f"## {words['value']}", "", *(f"- {said(one, lang)}" for one in self.value_lines())]
        out += ["", f"## {words['talking']}", ""]
        out += [f"- {said(one, lang)}" for one in self.talking]
        return "\n".join(out) + "\n"

    def to_markdown(self, path: str | Path, lang: str = "en") -> Path:
        """Write `text` to a file; only one that libasis wrote is replaced.

        Raises:
            OptionError: the language is unknown.
            StoreError: there is another file, or it cannot be written.
        """
        return write_text(path, self.text(lang), MARK)

    def to_html(self, path: str | Path, lang: str = "en") -> Path:
        """Write a self-contained page in both languages that opens in one of them."""
        return write_page(self, path, lang)

    def __repr__(self) -> str:
        rows = [f"  {one.heading(number, 'en')}" for number, one in enumerate(self.stages, 1)]
        return listed("\n".join([self._change("en"), *(said(one, "en") for one in self.found)]), rows)

    def _change(self, lang: str) -> str:
        words = words_of(lang)
        return words["item"].format(name=words["change"], text=self.change or words["change_unnamed"])


@typed
def practice_plan(  # noqa: PLR0913 - keyword options of the public face
    results: Stored | Sequence[Any] = (),
    *,
    change: str = "",
    rows_per_day: float | None = None,
    events_per_day: float | None = None,
    false_alarms: float = 0.01,
    detection: float = 0.9,
    owners: Mapping[str, str] | None = None,
) -> PracticePlan:
    """A plan from results to operation: five stages, what decides at each, how much it takes, and when to stop.

    Args:
        results: one result or several: a diagnosis, a verification, an effect from observed data, an `ABDesign`, an
            `ABOutcome`, a `ValueEstimate`; each fills its place.
        change: what is to change, in the reader's words.
        rows_per_day: cases a day (rows, parts, decisions).
        events_per_day: anomalies a day.
        false_alarms: the largest share of normal cases that may be affected.
        detection: the least share of anomalies that must be found.
        owners: by stage ("module", "offline", "shadow", "ab", "rollout") who answers for it.

    Raises:
        OptionError: a result is of another kind, or a number is not allowed.
    """
    for name, number in (("rows_per_day", rows_per_day), ("events_per_day", events_per_day)):
        if number is not None and not 0 < number < float("inf"):
            raise OptionError(f"{name} is {number:g}; give a number above 0.")
    for name, number in (("false_alarms", false_alarms), ("detection", detection)):
        if not 0 < number < 1:
            raise OptionError(f"{name} is {number:g}; give a share between 0 and 1.")
    for name in owners or {}:
        if name not in STAGES:
            raise OptionError(
                f"owners names {short(name)}{did_you_mean(name, STAGES)}; stages are {', '.join(STAGES)}."
            )
    if not isinstance(results, (Stored, Iterable)):
        raise OptionError(f"results is of type {type(results).__name__}; give results, or a list of them.")
    given = [results] if isinstance(results, Stored) else list(results)
    design, outcome, worth = (_last(given, kind) for kind in (ABDesign, ABOutcome, ValueEstimate))
    found = [one for each in given if not isinstance(each, (ABDesign, ValueEstimate)) for one in findings_of(each)]
    verified = None if not found else any(one.verdict in SURE for one in found)
    rates = Rates(rows_per_day, events_per_day, false_alarms, detection)
    stages = stages_of(verified, rates, design, outcome, owners or {})
    return PracticePlan(
        change,
        [one.line for one in found] or [line("find_nothing_given")],
        tuple(stages),
        worth,
        _talking(found, stages, worth),
        {"rates": vars(rates).copy(), "results": [one.stored_as for one in given], "versions": versions()},
    )


def _last(given: Sequence[Any], kind: type) -> Any:
    return next((one for one in reversed(given) if isinstance(one, kind)), None)


def _talking(found: Sequence[Finding], stages: Sequence[PlanStage], worth: ValueEstimate | None) -> list[Plain]:
    """Points for a meeting, each with what it may not be said without."""
    points = [(one.line, one.caveat) for one in found[:4]]
    if worth is not None:
        plan = PracticePlan("", [], (), worth, [])
        points.append((plan.value_lines()[0], line("caveat_value")))
    following = next((one for one in stages if one.status in ("next", "stop")), None)
    if following is not None and following.status == "next":
        points.append((line("say_stage", stage=following.key), line("caveat_stage")))
    return [line("point", text=text, caveat=caveat) for text, caveat in points]
