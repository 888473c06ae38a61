"""The pages around one input or a group: contributions, counterfactuals, sensitivity to the input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..files import write_text
from ..local import Contributions, Counterfactuals, InputSensitivity
from .canvas import NEGATIVE, POSITIVE
from .markup import Cell, Group, escape, facts, number, paragraph, table
from .numbers import percent, quantity
from .sample import grid, heat_note, picture, sample, scaled, tokens
from .shell import MARK, document, section
from .words import Words

MOST = 40
"""Rows of a table."""
STYLES = ("page", "workbench", "local", "print")

Parts = Mapping[str, Callable[[Any, Words], str]]


def write_contributions(result: Contributions, path: str | Path, lang: str = "en") -> Path:
    """Write the page of contributions.

    Raises:
        OptionError: the language is unknown.
        StoreError: there is a file that is no page of libasis, or the page cannot be written.
    """
    parts: Parts = {"finding": _sum, "sample": _places, "parts": _parts, "limits": _limits("model", "baseline")}
    return _write(path, result, lang, "title_contributions", parts)


def write_counterfactuals(result: Counterfactuals, path: str | Path, lang: str = "en") -> Path:
    """Write the page of counterfactuals; raises as `write_contributions`."""
    parts: Parts = {"finding": _flips, "sample": _seen, "changes": _changes, "limits": _limits("model", "range")}
    if any(one.get("inputs") for one in result.found):
        parts = {**parts, "inputs": _inputs}
    order = ("finding", "sample", "changes", "inputs", "limits")
    return _write(path, result, lang, "title_counterfactuals", {key: parts[key] for key in order if key in parts})


def write_sensitivity(result: InputSensitivity, path: str | Path, lang: str = "en") -> Path:
    """Write the page of a sensitivity; raises as `write_contributions`."""
    parts: Parts = {
        "finding": _moves,
        "agreement": _agreement,
        "sample": _heat,
        "by_parts": _by_parts,
        "limits": _limits("model", "parts"),
    }
    return _write(path, result, lang, "title_sensitivity", parts)


def _write(path: str | Path, result: Any, lang: str, title: str, parts: Parts) -> Path:
    Words(lang, "local")  # an unknown language is refused
    body = "".join(section(key, "local", lambda words, make=make: make(result, words)) for key, make in parts.items())
    body += section("provenance", "local", lambda words: facts(result.info, words))
    titles = {one: Words(one, "local")(title) for one in ("en", "ja")}
    return write_text(path, document(lang, "local", titles, body, data={}, styles=STYLES, scripts=("diff",)), MARK)


def _limits(*keys: str) -> Callable[[Any, Words], str]:
    return lambda _, words: "".join(paragraph(words(f"limit_{key}")) for key in keys)


def _signed(value: float, most: float) -> Cell:
    """A number with a bar of the colour of its sign."""
    share = abs(value) / most if most and math.isfinite(value) else 0.0
    return number(_number(value), bar=share, color=POSITIVE if value > 0 else NEGATIVE)


def _number(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else quantity(value).replace("-", "−")


def _between(low: float | None, high: float | None) -> Cell:
    known = low is not None and high is not None and math.isfinite(low) and math.isfinite(high)
    return number(f"{_number(low)} … {_number(high)}" if known else "–")


def _named(name: str, label: str | None) -> str:
    return f"{label} ({name})" if label else name


def _output(text: str, words: Words) -> str:
    """What is explained, in the words of the language."""
    if text == "the largest output":
        return words("output_largest")
    kind, _, rest = text.partition(" ")
    if kind in ("output", "feature") and rest:
        return words("output_number" if kind == "output" else "output_feature", name=rest)
    return words.named("metric", text)


def _baseline(text: str, words: Words) -> str:
    if text in ("the mean", "zero"):
        return words("baseline_mean" if text != "zero" else "baseline_zero")
    count = "".join(c for c in text if c.isdigit())
    return (
        words("baseline_sample", sample=count)
        if text.startswith("sample")
        else words("baseline_references", count=count)
    )


def _more(shown: int, total: int, words: Words, key: str = "rows_more") -> str:
    return paragraph(words(key, shown=shown, total=total), "note") if total > shown else ""


# contributions


def _sum(result: Contributions, words: Words) -> str:
    rows = result.rows()
    several = len(result.samples) > 1
    told = {
        "baseline": _baseline(result.baseline, words),
        "output": _output(result.output, words),
        "change": _number(rows[-1]["contribution"]),
        "score": _number(float(result.scores.mean())),
        "part": _number(rows[0]["contribution"]),
        "feature": _named(rows[0]["part"], rows[0]["label"]),
    }
    key = "claim_contributions_mean" if several else "claim_contributions"
    claim = words(key, **told, **({"samples": len(result.samples)} if several else {}))
    missing = percent(float(result.missing.max())) if float(result.missing.max()) > 0 else "0%"
    adds = words("adds_up", residual=_number(rows[-2]["contribution"]), missing=missing)
    return paragraph(claim, "claim") + paragraph(adds)


def _places(result: Contributions, words: Words) -> str:
    out = []
    for entry, values in zip(result.shown, result.places, strict=False):
        content, found = entry.get("content") or {}, values.tolist()
        out.append(_head(entry, words))
        boxes = grid(content, len(found)) if content.get("kind") == "image" else None
        if boxes:
            out.append(picture(entry, boxes, found, words) + heat_note(found, words))
            out.append(paragraph(words("heat_places"), "note"))
        elif content.get("kind") == "text" and len(found) >= len(content.get("tokens") or ()) > 1:
            out.append(tokens(content, found) + heat_note(found, words))
            out.append(paragraph(words("tokens_places"), "note"))
        else:
            out.append(sample(entry, words))
    return "".join(out) + _more(len(result.shown), len(result.samples), words, "samples_more")


def _head(entry: Mapping[str, Any], words: Words) -> str:
    text = words("sample_number", sample=str(entry["sample"]))
    told = (
        paragraph(words("explained", output=words("output_number", name=entry["output"]))) if "output" in entry else ""
    )
    return f"<h3>{escape(text)}</h3>{told}"


def _parts(result: Contributions, words: Words) -> str:
    *features, outside, residual, change = result.rows()
    shown = [*features[:MOST], outside, residual, change]
    names = {id(outside): "part_outside", id(residual): "part_residual", id(change): "part_change"}
    most = max(abs(row["contribution"]) for row in shown)
    groups = [
        Group(
            words(names[id(row)]) if id(row) in names else row["part"],
            [
                [
                    number(_number(row["moved_sd"])),
                    _signed(row["contribution"], most),
                    _between(row["low"], row["high"]),
                    number("–" if row["share"] is None else f"{row['share']:.1%}".replace("-", "−")),
                ]
            ],
            row["label"] or "",
        )
        for row in shown
    ]
    heads = {"part": False, "moved_sd": True, "contribution": True, "interval_95": True, "share": True}
    return table("parts", heads, groups, words) + _more(MOST, len(features), words)


# counterfactuals


def _decision(given: object, words: Words) -> str:
    text = str(given)
    for start, key in (("above ", "side_above"), ("at most ", "side_below")):
        if text.startswith(start):
            return words(key, threshold=text.removeprefix(start))
    return text


def _feature(result: Counterfactuals, change: Mapping[str, Any]) -> str:
    return _named(f"{result.site}:{change['feature']}", result.labels.get(change["feature"]))


def _flips(result: Counterfactuals, words: Words) -> str:
    flipped = [one for one in result.found if one["after"] is not None]
    if len(result.found) > 1:
        claim = words("claim_many", flipped=len(flipped), total=len(result.found), most=result.most)
    elif not flipped:
        claim = words("claim_none", before=_decision(result.found[0]["before"], words), most=result.most)
    else:
        one = flipped[0]
        names = [_feature(result, change) for change in one["changes"]]
        claim = words(
            "claim_one",
            features=words.listed(names) if names else "–",
            distance=_number(one["distance"]),
            before=_decision(one["before"], words),
            after=_decision(one["after"], words),
        )
    return paragraph(claim, "claim") + paragraph(words("checked"))


def _seen(result: Counterfactuals, words: Words) -> str:
    shown = "".join(_head(entry, words) + sample(entry, words) for entry in result.shown)
    return shown + _more(len(result.shown), len(result.found), words, "samples_more")


def _changes(result: Counterfactuals, words: Words) -> str:
    heads = {"sample": False, "before": False, "after": False, "feature": False}
    heads |= dict.fromkeys(("value_from", "value_to", "by_sd", "range"), True)
    found = sorted(result.found, key=lambda one: one["after"] is None)[:MOST]
    most = max((abs(c["sd"]) for one in found for c in one["changes"]), default=0.0)

    def rows(one: Mapping[str, Any]) -> Iterator[list[Cell]]:
        start = [Cell(_decision(one["before"], words))]
        if one["after"] is None:
            yield [*start, Cell(words("none_found")), *[Cell("–")] * 5]
        for k, change in enumerate(one["changes"]):
            head = [*start, Cell(_decision(one["after"], words))] if not k else [Cell(""), Cell("")]
            name = _feature(result, change)
            values = [number(_number(change[key])) for key in ("from", "to")]
            yield [*head, Cell(name), *values, _signed(change["sd"], most), _between(change["low"], change["high"])]

    groups = [Group(str(one["sample"]), list(rows(one))) for one in found]
    return table("changes", heads, groups, words) + _more(MOST, len(result.found), words)


def _inputs(result: Counterfactuals, words: Words) -> str:
    heads = {"sample": False, "column": False, "value_from": True, "value_to": True}
    groups = [
        Group(
            str(one["sample"]),
            [[Cell(c["column"]), number(_number(c["from"])), number(_number(c["to"]))] for c in one["inputs"][:MOST]],
        )
        for one in result.found
        if one.get("inputs")
    ][:MOST]
    return paragraph(words("inputs_note")) + table("inputs", heads, groups, words)


# sensitivity


def _moves(result: InputSensitivity, words: Words) -> str:
    last = _quantity(result, len(result.quantities) - 1, words)
    rows = [row for row in result.rows() if row["quantity"] == result.quantities[-1]][:-1]
    row = max(rows, key=lambda one: abs(one["finite"]))
    claim = words("claim_sensitivity", part=row["part"], quantity=last, change=_number(row["finite"]))
    return paragraph(claim, "claim") + paragraph(words(f"said_{result.said(len(result.quantities) - 1)}"))


def _quantity(result: InputSensitivity, q: int, words: Words) -> str:
    name = result.quantities[q]
    return _output(name, words) if q == len(result.quantities) - 1 else _named(name, result.labels.get(name))


def _agreement(result: InputSensitivity, words: Words) -> str:
    groups = [
        Group(
            _quantity(result, q, words),
            [
                [
                    *(number(f"{float(result.disagreement[kind, q]):.2f}") for kind in (0, 1)),
                    Cell(words(f"said_{result.said(q)}")),
                ]
            ],
        )
        for q in range(len(result.quantities))
    ]
    heads = {"quantity": False, "parts_disagree": True, "noise": True, "verdict": False}
    words.all = {**words.all, "noise": words("noise_disagree", size=f"{result.noise:g}")}
    return table("agreement", heads, groups, words) + paragraph(words("disagreement_note"), "note")


def _heat(result: InputSensitivity, words: Words) -> str:
    """The output's changes over the samples shown: by finite change, and by derivative."""
    at = {int(number): n for n, number in enumerate(result.samples.tolist())}
    told = _quantity(result, len(result.quantities) - 1, words)
    out = []
    for entry in result.shown:
        content = entry.get("content") or {}
        own = at[int(entry["sample"])]
        pair = [values[own][:, -1].tolist() for values in (result.finite, result.derivative)]
        out.append(_head(entry, words))
        if content.get("kind") == "image" and result.boxes:
            boxes = scaled(result.boxes, content)
            drawn = "".join(
                f"<figure>{picture(entry, boxes, values, words)}<figcaption>"
                f"{escape(words(f'heat_{kind}', quantity=told))}{heat_note(values, words)}</figcaption></figure>"
                for kind, values in zip(("finite", "derivative"), pair, strict=True)
            )
            out.append(f'<div class="l-pair">{drawn}</div>')
        elif content.get("kind") == "text":
            for kind, values in zip(("finite", "derivative"), pair, strict=True):
                out.append(tokens(content, values) + paragraph(words(f"tokens_{kind}", quantity=told), "note"))
                out.append(heat_note(values, words))
        else:
            out.append(sample(entry, words))
    return "".join(out) + _more(len(result.shown), len(result.samples), words, "samples_more")


def _by_parts(result: InputSensitivity, words: Words) -> str:
    sloped = result.slopes is not None
    heads = {"quantity": False, "input_part": False, "finite": True, "interval_95": True, "derivative": True}
    heads |= {"slope": True} if sloped else {}
    by: dict[str, list[Any]] = {}
    for row in result.rows():
        by.setdefault(row["quantity"], []).append(row)
    groups, most = [], MOST // 4
    for q, name in reversed(list(enumerate(result.quantities))):
        rows = sorted(by[name][:-1], key=lambda row: -abs(row["finite"]))[:most]
        top = max((max(abs(row["finite"]), abs(row["derivative"])) for row in rows), default=0.0)
        cells = [
            [
                Cell(row["part"]),
                _signed(row["finite"], top),
                _between(row["low"], row["high"]),
                _signed(row["derivative"], top),
                *([number(_number(row["slope"]))] if sloped else []),
            ]
            for row in rows
        ]
        groups.append(Group(_quantity(result, q, words), cells))
    by_what = result.info.get("replaced_by", "")
    how = {"the mean": "replaced_by_mean", "values drawn from the data": "replaced_by_drawn"}.get(by_what)
    note = words(how) if how else words("replaced_by_fill", fill=by_what)
    return paragraph(note) + table("by_parts", heads, groups, words) + _more(most, len(result.parts), words)
