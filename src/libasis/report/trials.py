"""The pages of an A/B test, designed and read, for who decides, in English and Japanese."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path

from ..practice.design import ABDesign, PlannedMetric
from ..practice.outcome import ABOutcome, MetricOutcome
from . import intervals
from .frames import cared, details, finding, plain, share, titled, write_decision
from .intervals import Row, between, chance, moved
from .markup import Cell, Group, number, paragraph, table
from .numbers import quantity
from .results import Text
from .svg_bars import Bar, bars
from .words import Words

TOPIC = "trials"
WARNINGS = {
    r"(?P<count>\d+) metrics of success share the risk; .*": "care_several",
    r"no guardrail is named: .*": "care_no_guardrail",
    r"(?P<days>\d+) days are long: .*": "care_long",
    r"without a time column it cannot be seen .*": "care_unseen",
}
GOOD, BAD = ("win", "better", "holds"), ("harm", "worse", "broken")


def write_design(found: ABDesign, path: str | Path, lang: str = "en", *, title: Text = None) -> Path:
    """Write one self-contained page of a design; the same design gives the same bytes.

    Raises:
        OptionError: the language is unknown.
        StoreError: there is a file that is no page of libasis, or the page cannot be written.
    """
    return write_decision(path, TOPIC, DESIGN, found, lang, title or titled(TOPIC, "design"))


def write_outcome(found: ABOutcome, path: str | Path, lang: str = "en", *, title: Text = None) -> Path:
    """Write one self-contained page of what a test says.

    Raises:
        OptionError: the language is unknown.
        StoreError: there is a file that is no page of libasis, or the page cannot be written.
    """
    return write_decision(path, TOPIC, OUTCOME, found, lang, title or titled(TOPIC, "outcome"))


def _plan(found: ABDesign, words: Words) -> str:
    claim = words("need", total=found.total, control=found.control, treatment=found.treatment)
    lines = [words("takes", traffic=plain(found.traffic or 0), days=found.days)] if found.days else []
    wins = [words.quote(one.metric.name) for one in found.metrics if one.role == "success"]
    guards = [words.quote(one.metric.name) for one in found.metrics if one.role == "guardrail"]
    rule = words("win_if", success=words("or").join(wins))
    lines += [words.joined([rule, words("guards_hold", guards=words.listed(guards)) if guards else ""])]
    lines += [words(f"read_{found.analysis.replace('-', '_')}")]
    counts = [(one.metric.name, _units(one, found.analysis)) for one in found.metrics]
    rows = [
        Bar(name, units, words("bar_told", name=name, units=units), on=units >= found.total - 1)
        for name, units in counts
    ]
    return finding(claim, lines, bars(words("units_by_metric"), rows, words), words("units_note"))


def _units(one: PlannedMetric, analysis: str) -> int:
    more = one.always if analysis == "always-valid" else 1.0
    return math.ceil(one.control * more) + math.ceil(one.treatment * more)


def _planned(found: ABDesign, words: Words) -> str:
    heads = {"metric": False, "role": False, "today": True, "to_find": True, "units_fixed": True, "units_always": True}
    groups = []
    for one in found.metrics:
        rate = one.metric.sd is None
        show: Callable[[float], str] = share if rate else plain
        change = words("points", points=plain(100 * one.change)) if rate else plain(one.change)
        groups.append(
            Group(
                one.metric.name,
                [
                    [
                        Cell(words.named("role", one.role), note=words.named("better", one.metric.better)),
                        number("–" if one.metric.baseline is None else show(one.metric.baseline)),
                        number(change),
                        *(number(f"{_units(one, analysis):,}") for analysis in ("fixed", "always-valid")),
                    ]
                ],
            )
        )
    return table("planned", heads, groups, words) + paragraph(words("planned_note"), "note")


def _risks(found: ABDesign, words: Words) -> str:
    text = words("risks", alpha=share(found.alpha), power=share(found.power), share=share(found.share))
    return details([text, _version(found.info, words)])


def _design_care(found: ABDesign, words: Words) -> str:
    return cared([*_warned(found.warnings, words), words("care_same_time"), words("care_lot")])


def _warned(warnings: Iterable[str], words: Words) -> list[str]:
    return [words.of_pattern(text, WARNINGS) for text in warnings]


def _version(info: dict, words: Words) -> str:
    return words("made_by", version=info.get("versions", {}).get("libasis", ""))


def _verdict(found: ABOutcome, words: Words) -> str:
    have = found.control + found.treatment
    lines = [_sentence(one, found, words) for one in found.metrics]
    more = [words("more", units=found.more)] if found.more else []
    if found.verdict == "undecided" and not found.more:
        more = [words("more_unknown")]
    lines = [*more, *lines, words(f"read_{found.analysis.replace('-', '_')}")]
    rows = [_row(one, found, words) for one in found.metrics]
    claim = words(f"verdict_{found.verdict.split()[0]}", units=have)
    return finding(claim, lines, intervals.picture(words("picture"), rows, words), words("picture_note"))


def _ends(one: MetricOutcome, analysis: str) -> tuple[float, float]:
    """The interval that the verdict takes."""
    return (one.low, one.high) if analysis == "fixed" else (one.always_low, one.always_high)


def _row(one: MetricOutcome, found: ABOutcome, words: Words) -> Row:
    worse = -1 if one.better == "higher" else 1
    limits = () if one.limit is None else (one.limit, -one.limit) if one.role == "success" else (worse * one.limit,)
    sure = one.judgement in GOOD
    ends = _ends(one, found.analysis)
    return Row(one.metric, one.effect, ends, _sentence(one, found, words), sure, limits, (one.low, one.high))


def _sentence(one: MetricOutcome, found: ABOutcome, words: Words) -> str:
    low, high = _ends(one, found.analysis)
    part = f"{one.effect / abs(one.control):+.1%}".replace("-", "−") if one.control else ""
    numbers = {"control": quantity(one.control), "treatment": quantity(one.treatment), "effect": moved(one.effect)}
    return words(
        "told", metric=words.quote(one.metric), role=words.named("role", one.role), interval=between(low, high),
        share=words("share_of", share=part) if part else "",
        judgement=words.named("judgement", one.judgement), **numbers,
    )  # fmt: skip


def _metrics(found: ABOutcome, words: Words) -> str:
    heads = {"metric": False, "judgement": False, "control": True, "treatment": True, "effect": True}
    heads |= {"once": True, "always": True, "p": True, "limit": True, "needed": True}
    groups = [
        Group(
            one.metric,
            [
                [
                    Cell(words.named("judgement", one.judgement)),
                    *(number(quantity(value)) for value in (one.control, one.treatment)),
                    number(moved(one.effect)),
                    number(between(one.low, one.high)),
                    number("–" if found.analysis == "fixed" else between(one.always_low, one.always_high)),
                    number(chance(one.p)),
                    number("–" if one.limit is None else plain(one.limit)),
                    number("–" if one.needed is None else f"{one.needed:,}"),
                ]
            ],
            words("comma").join([words.named("role", one.role), words.named("better", one.better)]),
        )
        for one in found.metrics
    ]
    return table("metrics", heads, groups, words) + paragraph(words("metrics_note"), "note")


def _looks(found: ABOutcome, words: Words) -> str:
    days = dict.fromkeys(one.day for one in found.looks)
    if len(days) < 2:
        return paragraph(words("looks_none"))
    heads = {"metric": False, "day": False, "units": True, "effect": True, "once": True, "always": True}
    groups = []
    for metric in dict.fromkeys(one.metric for one in found.looks):
        own = [one for one in found.looks if one.metric == metric]
        shown = own[-SHOWN:]
        rows = [
            [
                Cell(one.day),
                number(f"{one.control_units + one.treatment_units:,}"),
                number(moved(one.effect)),
                number(between(one.low, one.high)),
                number(between(one.always_low, one.always_high)),
            ]
            for one in shown
        ]
        note = words("looks_cut", shown=len(shown), total=len(own)) if len(own) > len(shown) else ""
        groups.append(Group(metric, rows, note))
    return table("looks", heads, groups, words)


def _outcome_care(found: ABOutcome, words: Words) -> str:
    ratio = words("ratio", a=found.control, b=found.treatment, p=chance(found.ratio_p), **_named(found))
    return cared([ratio, *_warned(found.warnings, words), words("care_weeks")])


def _named(found: ABOutcome) -> dict[str, str]:
    return {"one": found.names[0], "two": found.names[1]}


def _outcome_details(found: ABOutcome, words: Words) -> str:
    planned = words("planned_units", units=found.planned) if found.planned else ""
    return details([words.joined([words("risk_of", alpha=share(found.alpha)), planned]), _version(found.info, words)])


SHOWN = 7
"""Days in the table of looks, the last ones."""
DESIGN: dict[str, Callable[[ABDesign, Words], str]] = {
    "answer": _plan,
    "planned": _planned,
    "care": _design_care,
    "details": _risks,
}
OUTCOME: dict[str, Callable[[ABOutcome, Words], str]] = {
    "verdict": _verdict,
    "metrics": _metrics,
    "looks": _looks,
    "care": _outcome_care,
    "details": _outcome_details,
}
