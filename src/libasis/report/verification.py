"""The page of a verification: claims with their verdicts, and what these rest on, in English and Japanese."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from ..numerics import Estimate
from ..types import Plain
from ..verify import Outcome, Verification
from . import intervals
from .intervals import Row, chance, moved
from .markup import Cell, Group, both, escape, number, paragraph, table
from .numbers import percent, quantity
from .results import Text
from .shell import sections, write_result
from .words import Words

SURE = ("supported", "supported, below delta")
LIMITS = ("limit_model", "limit_direction", "limit_group", "limit_replaced")

NOTES = {
    r"samples are taken as independent: no units were given": "note_independent",
    r"the plan was made without units, and these data have some.*": "note_units",
    r"the data are others \((?P<data>\w+)\) than those of the plan \((?P<planned>\w+)\)": "note_others",
    r"the basis was fitted on the same data": "note_fitted",
    r"this is run (?P<run>\d+) of the plan on the same data": "note_repeat",
    r"(?P<share>[\d.]+%) of these samples were explored before.*": "note_explored",
    r"(?P<plans>\d+) other plans were verified on the same data before": "note_plans",
}
REASONS = {
    r"the interval reaches inside .*": "why_inside",
    r"the effect falls on the other side": "why_other_side",
    r"the 90% interval lies within .*": "why_within",
    r"(?P<tried>\d+) kind of intervention was tried, and (?P<least>\d+) are needed": "why_kinds",
    r"there are (?P<units>\d+) units, and (?P<least>\d+) are needed for an interval": "why_units",
    r"random directions of the same variance do as much.*": "why_random",
    r"(?P<share>[\d.]+%) of random directions of the same variance do as much, too many beside (?P<tests>\d+) .*": (
        "why_corrected"
    ),
    r"the effect is not told from 0": "why_not_told",
    r"could not be tested here, because (?P<why>.*)": "why_untested",
}


def write_verification(found: Verification, path: str | Path, lang: str = "en", *, title: Text = None) -> Path:
    """Write one self-contained page of a verification; the same verification gives the same bytes.

    Raises:
        OptionError: the language is unknown.
        StoreError: there is a file that is no page of libasis, or the page cannot be written.
    """
    body, links = sections("verification", PARTS, found), tuple(key for key in PARTS if key != "finding")
    styles = ("decide", "verification")
    return write_result(path, "verification", body, lang, title=title, styles=styles, links=links)


def claims(found: Verification) -> str:
    """The verdicts as a part of another page, in both languages."""
    return both(lambda words: [_finding(found, words), _verdicts(found, words)], "verification")


def _finding(found: Verification, words: Words) -> str:
    sure = sum(one.verdict in SURE for one in found.outcomes)
    claim = words("claim_one" if len(found.outcomes) == 1 else "claim", sure=sure, all=len(found.outcomes))
    again = f'<p class="d-note">{escape(words("repeat", run=found.repeat))}</p>' if found.repeat > 1 else ""
    listed = "".join(f"<li>{escape(sentence(one, words))}</li>" for one in found.outcomes)
    return (
        f'<div class="decide"><div class="d-finding"><p class="d-claim">{escape(claim)}</p><ul>{listed}</ul>{again}'
        f'<p class="d-note">{escape(words("statement"))}</p></div>'
        f"<figure>{picture(found, words)}<figcaption>{escape(words('picture_note'))}</figcaption></figure></div>"
    )


def sentence(one: Outcome, words: Words) -> str:
    """What came of one hypothesis, in a sentence."""
    verdict = words.named("verdict", one.verdict)
    start = words("told", name=one.hypothesis.label, verdict=verdict)
    effect = one.kinds[0].effect if one.kinds else None
    if effect is None or math.isnan(effect.value):
        return words.joined([start, _reason(one, words)])
    metric = words.named("metric", one.hypothesis.metric)
    low, high = _ends(effect)
    amounts = {"value": moved(effect.value), "low": low, "high": high, "units": effect.units}
    group = words("where", group=one.hypothesis.group) if one.hypothesis.group else ""
    needed = ""
    if one.verdict == "undecided" and one.n_needed and one.tested:
        needed = words("needed", units=one.n_needed)
    return words.joined([start, words("moved", metric=metric, group=group, **amounts), _reason(one, words), needed])


def _reason(one: Outcome, words: Words) -> str:
    return words.of_pattern(one.reason, REASONS)


def picture(found: Verification, words: Words) -> str:
    """A row for each hypothesis: its effect with the interval, the range of random directions, and delta.

    Each has a scale of its own, since metrics differ.
    """
    rows = [
        Row(
            one.hypothesis.label,
            (effect := one.kinds[0].effect).value,
            (effect.low, effect.high),
            sentence(one, words),
            one.verdict in SURE,
            tuple(side * one.hypothesis.delta for side in (1, -1)) if one.hypothesis.delta else (),
            one.kinds[0].control_range,
        )
        for one in found.outcomes
        if one.kinds
    ]
    return intervals.picture(words("picture"), rows, words)


def _verdicts(found: Verification, words: Words) -> str:
    heads = {"hypothesis": False, "verdict": False, "metric": False, "effect": True, "interval": True, "p": True}
    heads |= {"p_specific": True, "units": True, "n_needed": True}
    rows = {row["hypothesis"]: row for row in found.rows()}
    groups = [Group(one.hypothesis.label, [_cells(one, rows[one.hypothesis.label], words)], _what(one, words))
              for one in found.outcomes]  # fmt: skip
    return table("verdicts", heads, groups, words) + paragraph(
        words("verdicts_note", alpha=percent(found.alpha)), "note"
    )


def _cells(one: Outcome, row: Plain, words: Words) -> list[Cell]:
    effect = one.kinds[0].effect if one.kinds else None
    return [
        Cell(words.named("verdict", one.verdict), note=_reason(one, words)),
        Cell(words.named("metric", one.hypothesis.metric)),
        number("–" if effect is None else moved(effect.value)),
        number("–" if effect is None else " … ".join(_ends(effect))),
        number(chance(row["p"]) if one.tested else "–"),
        number(chance(row["p_specific"])),
        number(f"{row['units']:,}"),
        number("–" if one.n_needed is None else f"{one.n_needed:,}"),
    ]


def _what(one: Outcome, words: Words) -> str:
    claim = one.hypothesis
    numbers = claim.numbers
    what = words("directions", count=claim.count) if numbers is None else ", ".join(map(str, numbers))
    parts = [words("claimed", site=claim.site, what=what), words.named("direction", claim.direction)]
    parts += [words("delta_is", delta=f"{claim.delta:g}")] if claim.delta is not None else []
    return words.joined([*parts, words("in_group", group=claim.group) if claim.group else ""])


def _kinds(found: Verification, words: Words) -> str:
    heads = {"hypothesis": False, "kind": False, "effect": True, "interval": True, "p_effect": True, "p_specific": True}
    heads |= {"controls": True, "control_range": True}
    groups = []
    for one in found.outcomes:
        rows = [
            [
                Cell(words.named("kind", kind.kind)),
                number(moved(kind.effect.value)),
                number(" … ".join(_ends(kind.effect))),
                number(chance(kind.p)),
                number(chance(kind.p_specific)),
                number(f"{kind.controls:,}"),
                number("–" if kind.control_range is None else " … ".join(map(moved, kind.control_range))),
            ]
            for kind in one.kinds
        ]
        groups += [Group(one.hypothesis.label, rows)] if rows else []
    return table("kinds", heads, groups, words) if groups else paragraph(words("none"))


def _beside(found: Verification, words: Words) -> str:
    groups = []
    for one in found.outcomes:
        rows = [
            [Cell(name), number(value), number(between)]
            for key, estimate in one.beside.items()
            for name, value, between in [(_measure(key, words), *_measured(key, estimate))]
        ]
        if one.signs:
            rows.append([Cell(words("opposite_signs")), number(percent(one.signs["opposite_signs"])), number("")])
        for other in one.stability:
            rows.append([Cell(words("stability", fit=other.get("fit", "")), note=""), number(_any(other.get("effect"))),
                         number(_any(other.get("similarity")))])  # fmt: skip
        groups += [Group(one.hypothesis.label, rows)] if rows else []
    if not groups:
        return paragraph(words("none"))
    heads = {"hypothesis": False, "measure": False, "value": True, "interval": True}
    return table("beside", heads, groups, words) + paragraph(words("beside_note"), "note")


def _any(value: object) -> str:
    return quantity(value) if isinstance(value, float) else "–"


def _measure(key: str, words: Words) -> str:
    """Of ``"alone_3_resample"`` the words."""
    base, kind = next(
        ((key.removesuffix(f"_{k}"), k) for k in ("resample", "zero") if key.endswith(f"_{k}")), (key, "")
    )
    for start in ("alone", "adds"):
        if base.startswith(f"{start}_"):
            base, part = start, base.removeprefix(f"{start}_")
            break
    else:
        part = ""
    told = words(f"measure_{base}", part=part) if part else words.named("measure", base)
    return told + (words("by_kind", kind=words.named("kind", kind)) if kind else "")


def _measured(key: str, found: Estimate) -> tuple[str, str]:
    if math.isnan(found.value):
        return "–", "–"
    if key.startswith(("necessity", "sufficiency")):
        value, low, high = (
            percent(round(end, 4) + 0.0).replace("-", "−") for end in (found.value, found.low, found.high)
        )
        return value, f"{low} … {high}"
    return moved(found.value), " … ".join(_ends(found))


def _doses(found: Verification, words: Words) -> str:
    drawn = [(one, one.dose) for one in found.outcomes if one.dose]
    if not drawn:
        return paragraph(words("none"))
    figures = "".join(
        f"<figure><h3>{escape(one.hypothesis.label)}</h3>{_curve(dose, one, words)}</figure>" for one, dose in drawn
    )
    return f'<div class="decide d-pictures">{figures}</div>' + paragraph(words("doses_note"), "note")


def _curve(dose: Sequence[Plain], one: Outcome, words: Words) -> str:
    """Mean change against the quantile at which the features are held, with its band."""
    width, height, left, low_edge = 360, 170, 64, 24
    ends = [row[key] for row in dose for key in ("low", "high")] + [0.0]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0

    def x(quantile: float) -> float:
        return left + (width - left - 12) * quantile

    def y(value: float) -> float:
        return 10 + (height - low_edge - 10) * (high - value) / span

    line = "M" + "L".join(f"{x(r['quantile']):.1f} {y(r['effect']):.1f}" for r in dose)
    band = "M" + "L".join([f"{x(r['quantile']):.1f} {y(r['low']):.1f}" for r in dose]
                          + [f"{x(r['quantile']):.1f} {y(r['high']):.1f}" for r in reversed(dose)]) + "Z"  # fmt: skip
    label = words("dose_alt", name=one.hypothesis.label, first=moved(dose[0]["effect"]), last=moved(dose[-1]["effect"]))
    ticks = "".join(
        f'<text class="d-site" x="{x(q):.1f}" y="{height - 8}" text-anchor="middle">{percent(q)}</text>'
        for q in (0.01, 0.5, 0.99)
    )
    scale = "".join(
        f'<text class="d-site" x="{left - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{escape(moved(v))}</text>'
        for v in dict.fromkeys((low, high))
    )
    return (
        f'<svg class="d-picture" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f'<path class="d-axis" d="M{left} {y(0.0):.1f}H{width - 12}"/><path class="d-band" d="{band}"/>'
        f'<path class="d-path" d="{line}"/>{ticks}{scale}</svg>'
    )


def _care(found: Verification, words: Words) -> str:
    notes = [words.of_pattern(note, NOTES) for note in found.notes]
    listed = "".join(f"<li>{escape(text)}</li>" for text in [*notes, *(words(key) for key in LIMITS)])
    return f'<div class="decide"><div class="d-limits"><ul>{listed}</ul></div></div>'


def _details(found: Verification, words: Words) -> str:
    info = found.info
    data, planned = info.get("data", {}), info.get("planned", {})
    lines = [
        words("made_plan", plan=str(info.get("plan", ""))[:12], run=found.repeat, alpha=percent(found.alpha)),
        words("made_data", samples=data.get("samples", 0), digest=str(data.get("digest", ""))[:12]),
        words("made_by", version=info.get("versions", {}).get("libasis", ""), seed=str(planned.get("seed", 0))),
    ]
    return "".join(paragraph(line, "note") for line in lines)


def _ends(found: Estimate) -> tuple[str, str]:
    return moved(found.low), moved(found.high)


PARTS: dict[str, Callable[[Verification, Words], str]] = {
    "finding": _finding,
    "verdicts": _verdicts,
    "kinds": _kinds,
    "beside": _beside,
    "doses": _doses,
    "care": _care,
    "details": _details,
}
