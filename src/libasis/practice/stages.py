"""The five stages from a finding to operation: what decides at each, how much it takes, when to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..types import Plain
from .design import ABDesign
from .outcome import ABOutcome
from .sentences import line, percent, quantity, words_of

STAGES = ("module", "offline", "shadow", "ab", "rollout")
SHADOW_DAYS, STEP_DAYS = 14, 21
CONFIDENCE = 0.95


@dataclass(frozen=True)
class PlanStage:
    """One stage.

    Attributes:
        key: which: "module", "offline", "shadow", "ab" or "rollout".
        owner: who answers for it; "" takes the usual one.
        status: "done", "next", "open" or "stop".
        days: how long it takes, or None.
        decides: what decides, as lines.
        numbers: how much it takes, as lines.
        stops: when to stop, as lines.
    """

    key: str
    owner: str
    status: str
    days: int | None
    decides: list[Plain] = field(default_factory=list)
    numbers: list[Plain] = field(default_factory=list)
    stops: list[Plain] = field(default_factory=list)

    def heading(self, number: int, lang: str) -> str:
        """Its number, name and status."""
        words = words_of(lang)
        name, status = words[f"stage_{self.key}"], words[f"status_{self.status}"]
        return words["heading"].format(number=number, text=name, status=status)

    def facts(self, lang: str) -> list[str]:
        """Who answers for it, and how long it takes where that is known."""
        words = words_of(lang)
        found = {words["owner"]: self.owner or words[f"owner_{self.key}"]}
        if self.days is not None:
            found[words["days"]] = words["days_count"].format(count=self.days)
        return [words["item"].format(name=name, text=text) for name, text in found.items()]


@dataclass(frozen=True)
class Rates:
    """What is known of the plant or product.

    Attributes:
        rows_per_day: cases a day (rows, parts, decisions), or None.
        events_per_day: anomalies a day, or None.
        false_alarms: the largest share of normal cases that may be affected.
        detection: the least share of anomalies that must be found.
    """

    rows_per_day: float | None
    events_per_day: float | None
    false_alarms: float
    detection: float


def needed(share: float, misses: int) -> int:
    """Independent cases, at most ``misses`` of which fail, that show with 95% confidence: fewer than ``share`` do.

    Without a miss log(0.05) / log(1 - share): 299 for 1% and 29 for 10%.
    """
    from scipy.special import bdtr

    low, high = misses + 1, 2 * (misses + 1)
    while bdtr(misses, high, share) > 1 - CONFIDENCE:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if bdtr(misses, middle, share) > 1 - CONFIDENCE else (low, middle)
    return low


def stages_of(
    verified: bool | None,
    rates: Rates,
    design: ABDesign | None,
    outcome: ABOutcome | None,
    owners: Mapping[str, str],
) -> list[PlanStage]:
    """All stages, with what is known filled in; the first that is not done is the next one.

    Args:
        verified: whether something was; None where no result was given.
        rates: of the plant or product.
        design: of the comparison, if there is one.
        outcome: of the comparison, if it was made.
        owners: by stage.
    """
    done = {"module": verified is True, "ab": outcome is not None and outcome.verdict == "win"}
    stopped = {"module": verified is False, "ab": outcome is not None and outcome.verdict == "harm"}
    if done["ab"]:
        done |= dict.fromkeys(("offline", "shadow"), True)
    made = (_module(), _offline(rates), _shadow(rates), _ab(design, outcome), _rollout())
    found, free = [], True
    for key, (days, decides, numbers, stops) in zip(STAGES, made, strict=True):
        status = "done" if done.get(key) else "stop" if stopped.get(key) else "next" if free else "open"
        free = free and status == "done"
        found.append(PlanStage(key, owners.get(key, ""), status, days, decides, numbers, stops))
    return found


Content = tuple[int | None, list[Plain], list[Plain], list[Plain]]


def _module() -> Content:
    return None, [line("decide_module"), line("decide_module_judge")], [], [line("stop_module")]


def _offline(rates: Rates) -> Content:
    events, calm = ([needed(share, misses) for misses in (0, 1)] for share in (1 - rates.detection, rates.false_alarms))
    numbers = [
        line("number_detect", zero=f"{events[0]:,}", one=f"{events[1]:,}", share=percent(rates.detection)),
        line("number_calm", zero=f"{calm[0]:,}", one=f"{calm[1]:,}", share=percent(rates.false_alarms)),
    ]
    if rates.events_per_day:
        days = math.ceil(events[0] / rates.events_per_day)
        numbers.insert(1, line("number_offline_days", rate=quantity(rates.events_per_day), days=f"{days:,}"))
    return None, [line("decide_offline")], numbers, [line("stop_offline")]


def _shadow(rates: Rates) -> Content:
    numbers, days = [], SHADOW_DAYS
    if rates.events_per_day:
        events = needed(1 - rates.detection, 0)
        days = max(days, 7 * math.ceil(events / rates.events_per_day / 7))
        numbers.append(line("number_shadow", events=events, rate=quantity(rates.events_per_day)))
    else:
        numbers.append(line("number_shadow_plain"))
    if rates.rows_per_day:
        most = {"alarms": quantity(rates.false_alarms * rates.rows_per_day), "share": percent(rates.false_alarms)}
        numbers.append(line("number_alarms", rows=quantity(rates.rows_per_day), **most))
    return days, [line("decide_shadow")], numbers, [line("stop_shadow")]


def _ab(design: ABDesign | None, outcome: ABOutcome | None) -> Content:
    stops = [line("stop_ratio"), line("stop_guard")]
    decides: list[Plain] = []
    numbers: list[Plain] = []
    if outcome is not None:
        decides.append(line("decide_ab_done", verdict=outcome.verdict))
        numbers += [line("ab_more", more=f"{outcome.more:,}")] if outcome.more else []
    if design is None:
        if outcome is None:
            decides.append(line("ab_missing"))
        return None, decides, [*numbers, line("ab_single")], stops
    for one in design.metrics:
        key, blank = ("decide_ab", "change") if one.role == "success" else ("decide_guard", "margin")
        decides.append(line(key, metric=one.metric.name, **{blank: quantity(one.change)}))
    decides.append(line("decide_fixed" if design.analysis == "fixed" else "decide_always"))
    numbers.append(line("number_ab", control=f"{design.control:,}", treatment=f"{design.treatment:,}"))
    if design.days:
        numbers.append(line("number_ab_days", traffic=quantity(design.traffic), days=design.days))
    return design.days, decides, [*numbers, line("ab_single")], stops


def _rollout() -> Content:
    return STEP_DAYS, [line("decide_rollout")], [line("number_rollout")], [line("stop_rollout")]
