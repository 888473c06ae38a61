"""The page of a diagnosis, for who decides: one HTML file, in English and Japanese."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..diagnose import Diagnosis, say, spoken
from .markup import Cell, Group, escape, number, paragraph, table
from .numbers import percent, quantity
from .pixels import SURE, pixels
from .results import Text
from .shell import section, sections, write_result
from .words import Words

SHOWN, DRAWN = 12, 6
"""Rows of the table of inputs, and inputs in the picture."""
ENDS = 0.2
"""Share of the alarm that may remain where it is said to stop."""
LEAST = 0.02
"""Inputs with less of the first one's importance are not drawn."""
LIMITS = ("limit_cause", "limit_unseen", "limit_values", "limit_units", "limit_tested")
WIDTH, ROOM, VALUES, PITCH = 640, 240, 120, 30


def write_diagnosis(found: Diagnosis, path: str | Path, lang: str = "en", *, title: Text = None) -> Path:
    """Write one self-contained page of a diagnosis; the same diagnosis gives the same bytes.

    Raises:
        OptionError: the language is unknown.
        StoreError: there is a file that is no page of libasis, or the page cannot be written.
    """
    first = section("finding", "diagnosis", lambda words: spoken(_first(found, words), words.lang))
    body = first + sections("diagnosis", {key: _spoken(part) for key, part in PARTS.items()}, found)
    return write_result(path, "diagnosis", body, lang, title=title, styles=("decide",), links=tuple(PARTS))


def _spoken(part: Callable[[Diagnosis, Words], str]) -> Callable[[Diagnosis, Words], str]:
    return lambda found, words: spoken(part(found, words), words.lang)


def headline(found: Diagnosis, words: Words) -> list[str]:
    """The finding in sentences, the first one first."""
    info, rows = found.info, found.tested_inputs
    if any(one["kind"] in ("chance", "scale") for one in found.found_first):
        return [words("nothing", before=_amount(info["before"], found), calm=_amount(info["normal_before"], found))]
    sure = [row for row in rows if row["verdict"] in SURE]
    sets = [row for row in found.tested_sets if row["verdict"] in SURE and len(row["members"]) > 1]
    best = max(sets, key=lambda row: (round(abs(row["effect"]), 2), -len(row["members"])), default=None)
    out = []
    if sure and (best is None or abs(sure[0]["effect"]) >= (1 - ENDS) * abs(best["effect"])):
        out.append(_one(sure[0], found, words))
        for row in sure[1:4]:
            amounts = {key: _amount(row[key], found) for key in ("before", "after")}
            out.append(words("also", input=row["input"], **amounts))
    elif best is not None:
        moved = words.joined([_moved(row, words) for row in rows if row["input"] in best["members"]])
        blanks = {key: _amount(best[key], found) for key in ("before", "after")}
        inputs = words.listed([words.quote(name) for name in best["members"]])
        out.append(words.joined([words("set_ends", inputs=inputs, calm=_calm(best, found, words), **blanks), moved]))
    else:
        first = words.listed([row["input"] for row in rows[:3] if (row["importance"] or 0) > 0] or ["–"])
        out.append(words.joined([words("none"), words("none_first", inputs=first)]))
    if info["left"] is not None and info["rates"] and info["left"] > 0.05:
        out.append(words("left", left=_amount(info["left"], found)))
    return out


def _one(row: Mapping[str, Any], found: Diagnosis, words: Words) -> str:
    key = "score_one"
    if found.info["rates"]:
        key = "one_ends" if row["after"] <= ENDS * row["before"] else "one_lowers"
    blanks = {k: _amount(row[k], found) for k in ("before", "after")}
    return words.joined([_moved(row, words), words(key, calm=_calm(row, found, words), **blanks)])


def _moved(row: Mapping[str, Any], words: Words) -> str:
    """An input in both groups: its mean, or where that did not move its spread."""
    spread = abs(row["difference"]) < 1 and row["normal_std"] > 0 and row["anomalous_std"] > 2 * row["normal_std"]
    keys = ("normal_std", "anomalous_std") if spread else ("normal", "anomalous")
    normal, anomalous = (quantity(row[key]) for key in keys)
    return words("spread" if spread else "moved", input=row["input"], normal=normal, anomalous=anomalous)


def _calm(row: Mapping[str, Any], found: Diagnosis, words: Words) -> str:
    change = row["collateral"]
    if abs(change) < 1e-9:
        return words("calm_none")
    return words("calm_some", change=_change(change, found))


def _first(found: Diagnosis, words: Words) -> str:
    info = found.info
    first, *more = headline(found, words)
    rule = say(info["rule"], words.lang, **info["blanks"])
    listed = "".join(f"<li>{escape(line)}</li>" for line in more)
    alarm = words("alarm_is" if info["rates"] else "alarm_score", rule=rule)
    warnings = [say(one["kind"], words.lang, **one["values"]) for one in found.found_first]
    care = "".join(f"<li>{escape(line)}</li>" for line in warnings)
    asked = words("asked", rows=info["rows"]["anomalous"])
    return (
        f'<div class="decide"><p class="d-question"><b>{escape(words("question"))}</b> {escape(asked)}</p>'
        f'<div class="d-finding"><p class="d-claim">{escape(first)}</p>{f"<ul>{listed}</ul>" if listed else ""}'
        f'<p class="d-note">{escape(words.joined([words("statement"), alarm]))}</p></div>'
        f"{pixels(found, words)}<figure>{_picture(found, words)}"
        f"<figcaption>{escape(words('picture_note'))}</figcaption></figure>"
        f'<div class="d-limits"><h3>{escape(words("first_look"))}</h3><ul>{care}</ul></div></div>'
    )


def _picture(found: Diagnosis, words: Words) -> str:
    """A row for each of the first inputs and the sets: the alarm as it is, and with them at normal."""
    least = LEAST * max((row["importance"] or 0 for row in found.tested_inputs), default=0)
    shown = [row for k, row in enumerate(found.tested_inputs[:DRAWN]) if k < 3 or (row["importance"] or 0) > least]
    singles = [(row["input"], row) for row in shown if row["after"] is not None]
    joined = [(words.listed(row["members"]), row) for row in found.tested_sets if len(row["members"]) > 1]
    rows = [(spoken(name, words.lang), row) for name, row in (*singles, *joined)]  # before names are cut
    ends = [row[key] for _, row in rows for key in ("before", "after")]
    low, high = (0.0, 1.0) if found.info["rates"] else (min([0.0, *ends]), max([*ends, 1e-12]))
    unit = (WIDTH - ROOM - VALUES) / ((high - low) or 1.0)

    def at(value: float) -> float:
        return ROOM + (min(max(value, low), high) - low) * unit

    parts = []
    for k, (name, row) in enumerate(rows):
        parts += _bar(k * PITCH + 8, name, row, found, at)
    alts = [
        words("picture_alt", name=name, **{key: _amount(row[key], found) for key in ("before", "after")})
        for name, row in rows
    ]
    title = words("picture" if found.info["rates"] else "picture_score")
    height, label = PITCH * len(rows) + 10, escape(words.joined([f"{title}:", *alts]))
    return (
        f"<h3>{escape(title)}</h3>"
        f'<svg class="d-picture" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    )


def _bar(y: float, name: str, row: Mapping[str, Any], found: Diagnosis, at: Callable[[float], float]) -> Iterator[str]:
    mark = "✓ " if row["verdict"] in SURE else ""
    short = name if len(name) <= 34 else name[:33] + "…"
    yield f'<text class="d-row" x="{ROOM - 10}" y="{y + 13}" text-anchor="end">{escape(mark + short)}</text>'
    zero, before, after = at(0.0), at(row["before"]), at(row["after"])
    left, width = min(zero, before), abs(before - zero)
    yield f'<rect class="d-bar0" x="{left:.1f}" y="{y}" width="{max(1, width):.1f}" height="7"/>'
    left, width = min(zero, after), abs(after - zero)
    yield f'<rect class="d-bar1" x="{left:.1f}" y="{y + 8}" width="{max(1, width):.1f}" height="7"/>'
    if row["low"] is not None and row["high"] is not None:
        a, b = at(row["before"] + row["low"]), at(row["before"] + row["high"])
        yield f'<path class="d-whisker" d="M{a:.1f} {y + 11.5}H{b:.1f}M{a:.1f} {y + 9}v5M{b:.1f} {y + 9}v5"/>'
    text = f"{_amount(row['before'], found)} → {_amount(row['after'], found)}"
    yield f'<text class="d-value" x="{max(before, after, zero) + 8:.1f}" y="{y + 13}">{escape(text)}</text>'


def _amount(value: float | None, found: Diagnosis) -> str:
    if value is None:
        return "–"
    return percent(round(value, 12)) if found.info["rates"] else quantity(value)


def _change(value: float | None, found: Diagnosis) -> str:
    if value is None:
        return "–"
    sign = "+" if value > 0 else "−" if value < 0 else ""
    return sign + _amount(abs(value), found)


def _verdict(row: Mapping[str, Any], words: Words) -> Cell:
    blanks = {"units": row["units"], "beside": row["p_specific"], "least": row.get("least"), "tests": row.get("tests")}
    why = say(row["why_kind"], words.lang, **blanks) if row["why_kind"] else ""
    word = words.named("verdict", row["verdict"])
    return Cell(word, note=why)


def _changes(row: Mapping[str, Any], found: Diagnosis) -> list[Cell]:
    low, high = (None if row[key] is None else _change(row[key], found) for key in ("low", "high"))
    between = "–" if low is None or high is None else f"{low} … {high}"
    return [number(_amount(row["before"], found)), number(_amount(row["after"], found)), number(between)]


def _inputs(found: Diagnosis, words: Words) -> str:
    heads = {"input": False, "verdict": False, "before": True, "after": True, "interval": True}
    heads |= {"collateral": True, "alone": True, "stability": True}
    groups = [
        Group(
            row["input"],
            [
                [
                    _verdict(row, words),
                    *_changes(row, found),
                    number(_change(row["collateral"], found)),
                    number(_amount(row["alone"], found)),
                    number("–" if row["stability"] is None else percent(row["stability"])),
                ]
            ],
        )
        for row in found.tested_inputs[:SHOWN]
    ]
    return (
        table("inputs", heads, groups, words)
        + paragraph(words("inputs_note"), "note")
        + _more(found.tested_inputs, words)
    )


def _more(rows: Sequence[Any], words: Words) -> str:
    return paragraph(words("more", shown=SHOWN, total=len(rows)), "note") if len(rows) > SHOWN else ""


def _groups(found: Diagnosis, words: Words) -> str:
    heads = {"input": False, "normal": True, "anomalous": True, "difference": True}
    groups = [
        Group(
            row["input"],
            [
                [
                    *(number(f"{quantity(row[k])} ± {quantity(row[f'{k}_std'])}") for k in ("normal", "anomalous")),
                    number(f"{row['difference']:+.2f}".replace("-", "−") + ("" if row["q"] > 0.05 else " *")),
                ]
            ],
        )
        for row in found.tested_inputs[:SHOWN]
    ]
    return table("groups", heads, groups, words) + paragraph(words("values_note"), "note")


def _sets(found: Diagnosis, words: Words) -> str:
    rows = [row for row in found.tested_sets if len(row["members"]) > 1]
    if not rows:
        return paragraph(words("sets_none"))
    heads = {"set": False, "verdict": False, "before": True, "after": True, "interval": True}
    heads |= {"collateral": True, "contrast": True}
    groups = [
        Group(
            words.listed(row["members"]),
            [
                [
                    _verdict(row, words),
                    *_changes(row, found),
                    number(_change(row["collateral"], found)),
                    number(_change(row["contrast"], found)),
                ]
            ],
        )
        for row in rows
    ]
    return table("sets", heads, groups, words) + paragraph(words("sets_note"), "note")


def _features(found: Diagnosis, words: Words) -> str:
    rows = [row for row in found.tested_features if row["reads"]]  # the others do not respond to the fault
    if not rows:
        return paragraph(words("features_none"))
    heads = {"feature": False, "site": False, "before": True, "after": True, "interval": True, "verdict": False}
    groups = [
        Group(words.listed(row["reads"]), [[Cell(row["site"]), *_changes(row, found), _verdict(row, words)]])
        for row in rows[:SHOWN]
    ]
    return table("features", heads, groups, words) + _more(rows, words)


def _baselines(found: Diagnosis, words: Words) -> str:
    rows = found.plain_methods
    methods = [m for m in ("mean_z", "permutation", "gradient_x_input", "reconstruction") if rows[0][m] is not None]
    first = {row["input"]: None for m in methods for row in rows if row[f"{m}_rank"] == 1} | {rows[0]["input"]: None}
    told = words("agree") if len(first) == 1 else words("disagree", names=words.listed(list(first)))
    groups = [
        Group(row["input"], [[number(f"{row['rank']:,}"), *(number(f"{row[f'{m}_rank']:,}") for m in methods)]])
        for row in rows[:SHOWN]
    ]
    heads = {"input": False, "rank": True, **dict.fromkeys(methods, True)}
    return table("baselines", heads, groups, words) + paragraph(words("baselines_note", disagree=told), "note")


def _limits(_: Diagnosis, words: Words) -> str:
    return "<ul>" + "".join(f"<li>{escape(words(key))}</li>" for key in LIMITS) + "</ul>"


def _details(found: Diagnosis, words: Words) -> str:
    info = found.info
    run = {f"run_{key}": count for key, count in info["run"].items()}
    lines = [words("made_rows", **info["rows"], **run), words("made_verdict", inputs=info["inputs"])]
    if info["delta"] is not None:
        lines.append(words("made_delta", delta=_amount(info["delta"], found)))
    lines.append(words("made_seed", version=info["versions"]["libasis"], seed=str(info["seed"])))
    return "".join(paragraph(line, "note") for line in lines)


PARTS: dict[str, Callable[[Diagnosis, Words], str]] = {
    "groups": _groups,
    "inputs": _inputs,
    "sets": _sets,
    "features": _features,
    "baselines": _baselines,
    "limits": _limits,
    "details": _details,
}
