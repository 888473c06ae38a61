"""The pages of an effect from observed data and of a value, for who decides, in English and Japanese."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from ..causal import CausalEffect, Check
from ..practice.sentences import chance as share_of
from ..practice.sentences import words_of
from ..practice.value import STANDARD, ValueEstimate, ValueInput, amount
from . import intervals
from .frames import cared, details, finding, plain, share, write_decision
from .intervals import Row, between, chance, moved
from .markup import Cell, Group, number, paragraph, table
from .numbers import percent, quantity
from .results import Text
from .svg_bars import Bar, bars
from .words import Words

EFFECT_TOPIC, VALUE_TOPIC = "effect", "worth"
DRAWN = 12
"""Inputs of a value in its picture, the ones that matter most."""
CHECKS = {
    r"after weighting the groups differ by (?P<after>\S+) standard deviations at most \((?P<before>\S+) before\)":
        "checked_balance",
    r"a treatment dealt at random (?P<tries>\d+) times has the effect (?P<effect>\S+) on average, and its 95% interval "
    r"holds 0 in (?P<share>\S+) of the tries": "checked_placebo",
    r"a treatment dealt at random could be adjusted in (?P<done>\d+) of (?P<tries>\d+) tries only":
        "checked_no_placebo",
    r"(?P<larger>\d+) of (?P<tries>\d+) effects of a treatment dealt at random are as large \(p = (?P<p>\S+)\)":
        "checked_size",
    r"adjusting for a column of noise as well moves the effect by (?P<most>\S+) at most \(its standard error is "
    r"(?P<error>\S+)\)": "checked_noise",
    r"in (?P<tries>\d+) subsets of (?P<part>\S+) of the (rows|units) it is (?P<low>\S+) to (?P<high>\S+), of the same "
    r"sign in (?P<share>\S+)": "checked_subsets",
    r"on the negative control (?P<name>.*), which it cannot change, the effect is (?P<effect>\S+) "
    r"\[(?P<low>\S+), (?P<high>\S+)\](: something else links the two)?": "checked_negative",
}  # fmt: skip
WARNINGS = {
    r"the overlap is (?P<share>\S+) only: .*": "care_overlap",
    r"a few rows carry most of the weight: the weighted rows are worth (?P<shown>.*)": "care_heavy",
}
UNITS = {r"from (?P<low>\S+) to (?P<high>\S+)": "unit_levels", r"by 1 of .*": "unit_one"}


def write_effect(found: CausalEffect, path: str | Path, lang: str = "en", *, title: Text = None) -> Path:
    """Write one self-contained page of an effect; the same effect gives the same bytes.

    Raises:
        OptionError: the language is unknown.
        StoreError: there is a file that is no page of libasis, or the page cannot be written.
    """
    return write_decision(path, EFFECT_TOPIC, EFFECT, found, lang, title)


def write_value(found: ValueEstimate, path: str | Path, lang: str = "en", *, title: Text = None) -> Path:
    """Write one self-contained page of a value.

    Raises:
        OptionError: the language is unknown.
        StoreError: there is a file that is no page of libasis, or the page cannot be written.
    """
    return write_decision(path, VALUE_TOPIC, VALUE, found, lang, title)


def _found(found: CausalEffect, words: Words) -> str:
    one, unit = found.main, words.of_pattern(found.unit, UNITS)
    blanks = {"treatment": words.quote(found.treatment), "outcome": words.quote(found.outcome), "unit": unit}
    claim = words("claim", effect=moved(one.effect), interval=between(one.low, one.high), **blanks)
    rows = [
        Row(
            words.named("method", row.method),
            row.effect,
            (row.low, row.high),
            words("row_told", method=words.named("method", row.method), effect=moved(row.effect)),
            row.method == found.method and found.survives,
        )
        for row in found.estimates
    ]
    lines = [words(f"machinery_{_yes(found.machinery)}"), _survives(found, words), _adjusted(found, words)]
    picture = intervals.picture(words("picture"), rows, words, common=True)
    return finding(claim, lines, picture, words("picture_note"), words("statement"))


def _yes(passed: bool) -> str:
    return "yes" if passed else "no"


def _survives(found: CausalEffect, words: Words) -> str:
    one, e = found.main, found.e_value
    if found.survives:
        return words("survives_yes", point=quantity(e.point, 3), limit=quantity(e.limit, 3))
    if one.low <= 0 <= one.high:
        return words("survives_none", interval=between(one.low, one.high))
    return words("survives_no" if found.machinery else "survives_unknown")


def _adjusted(found: CausalEffect, words: Words) -> str:
    names = list(dict.fromkeys(name.partition("=")[0].removesuffix("^2") for name in found.adjusted))
    shown = words("comma").join(names[:12]) + ("…" if len(names) > 12 else "")
    counts = {"rows": found.rows_used, "units": found.units_used}
    return words("adjusted", names=shown, **counts) if names else words("adjusted_none", **counts)


def _estimates(found: CausalEffect, words: Words) -> str:
    heads = {"method": False, "effect": True, "interval": True, "p": True}
    groups = [
        Group(
            words.named("method", row.method),
            [[number(moved(row.effect)), number(between(row.low, row.high)), number(chance(row.p))]],
            words("counts") if row.method == found.method else "",
        )
        for row in found.estimates
    ]
    return table("estimates", heads, groups, words) + paragraph(words("estimates_note"), "note")


def _checks(found: CausalEffect, words: Words) -> str:
    heads = {"of": False, "checked": False, "passed": False}
    kinds = {kind: [one for one in found.checks if one.of == kind] for kind in ("machinery", "effect")}
    groups = [
        Group(words(f"of_{kind}"), [_check(one, words) for one in checks]) for kind, checks in kinds.items() if checks
    ]
    return table("checks", heads, groups, words) + paragraph(words("checks_note"), "note")


def _check(one: Check, words: Words) -> list[Cell]:
    told = re.sub(r"(?<![\w.])-(?=\d)", "−", words.of_pattern(one.text, CHECKS))
    return [Cell(told), Cell(words(f"passed_{_yes(one.passed)}"))]


def _effect_care(found: CausalEffect, words: Words) -> str:
    warnings = [words.of_pattern(text, WARNINGS) for text in found.overlap.warnings]
    overlap = words("overlap", share=percent(found.overlap.share))
    return cared([*warnings, overlap, words("care_unmeasured"), words("care_direction")])


def _effect_details(found: CausalEffect, words: Words) -> str:
    info = found.info
    blanks = {"seed": str(info.get("seed", "")), "version": info.get("versions", {}).get("libasis", "")}
    return details([words("made", confidence=share(info.get("confidence", 0.95)), **blanks)])


def _money(value: float, found: ValueEstimate) -> str:
    return f"{amount(value)}{' ' + found.unit if found.unit else ''}".replace("-", "−")


def _name(one: ValueInput, found: ValueEstimate, words: Words) -> str:
    """An input of the usual formula in words, any other by its own name."""
    known = words_of(words.lang).get(f"input_{one.name}", "") if found.formula == STANDARD else ""
    return known or one.name


def _net(found: ValueEstimate, words: Words) -> str:
    claim = words("claim", median=_money(found.median, found))
    low, high = (_money(end, found) for end in found.range80)
    least, most = (_money(end, found) for end in found.range95)
    lines = [words("ranges", low=low, high=high, least=least, most=most), words("loss", loss=share_of(found.loss))]
    open_ones = [one for one in found.inputs if one.shape != "known"]
    if open_ones:
        one = open_ones[0]
        ends = {"at_low": _money(one.at_low, found), "at_high": _money(one.at_high, found)}
        lines.append(words("most", name=words.quote(_name(one, found, words)), **ends))
    lines.append(words("information", information=_money(found.information, found)))
    rows = [_swing(one, found, words) for one in open_ones[:DRAWN]]
    picture = bars(words("picture"), rows, words, middle=0.0)
    return finding(claim, lines, picture, words("picture_note"), words("statement"))


def _swing(one: ValueInput, found: ValueEstimate, words: Words) -> Bar:
    name = _name(one, found, words)
    ends = {"at_low": _money(one.at_low, found), "at_high": _money(one.at_high, found)}
    text = f"{amount(one.at_low)} … {amount(one.at_high)}".replace("-", "−")
    return Bar(name, one.at_high, words("swing", name=name, **ends), one.at_low, text, one is found.inputs[0])


def _inputs(found: ValueEstimate, words: Words) -> str:
    heads = {"input": False, "low": True, "likely": True, "high": True, "shape": False, "matters": True}
    groups = [
        Group(
            _name(one, found, words),
            [
                [
                    *(number(plain(value)) for value in (one.low, one.likely, one.high)),
                    Cell(words.named("shape", one.shape)),
                    number("–" if one.shape == "known" else f"{one.matters:+.2f}".replace("-", "−")),
                ]
            ],
        )
        for one in found.inputs
    ]
    formula = paragraph(words("formula", formula=found.formula), "note")
    return table("inputs", heads, groups, words) + paragraph(words("inputs_note"), "note") + formula


def _value_care(_: ValueEstimate, words: Words) -> str:
    return cared([words("care_given"), words("care_apart"), words("care_one_off")])


def _value_details(found: ValueEstimate, words: Words) -> str:
    info = found.info
    blanks = {"seed": str(info.get("seed", "")), "version": info.get("versions", {}).get("libasis", "")}
    return details([words("made", draws=int(info.get("draws", 0)), **blanks)])


EFFECT: dict[str, Callable[[CausalEffect, Words], str]] = {
    "found": _found,
    "estimates": _estimates,
    "checks": _checks,
    "care": _effect_care,
    "details": _effect_details,
}
VALUE: dict[str, Callable[[ValueEstimate, Words], str]] = {
    "net": _net,
    "inputs": _inputs,
    "care": _value_care,
    "details": _value_details,
}
