"""The pages around one input or a group: contributions, counterfactuals, sensitivity to the input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..local import Contributions, Counterfactuals
from .canvas import NEGATIVE, POSITIVE
from .markup import Cell, Group, escape, facts, number, paragraph, table
from .numbers import percent, quantity
from .sample import grid, heat_note, picture, sample, tokens
from .shell import section, sections, write_result
from .words import Words

MOST = 40
"""Rows of a table."""

Parts = Mapping[str, Callable[[Any, Words], str]]


def write_contributions(result: Contributions, path: str | Path, lang: str = "en") -> Path:
    """Write the page of contributions.

    Raises:
        OptionError: the language is unknown.
        StoreError: there is a file that is no page of libasis, or the page cannot be written.
    """
    parts: Parts = {"finding": _sum, "sample": _places, "parts": _parts, "limits": limits("model", "baseline")}
    return write_parts(path, result, lang, "title_contributions", parts)


def write_counterfactuals(result: Counterfactuals, path: str | Path, lang: str = "en") -> Path:
    """Write the page of counterfactuals; raises as `write_contributions`."""
    parts: Parts = {"finding": _flips, "sample": _seen, "changes": _changes, "limits": limits("model", "range")}
    if any(one.get("inputs") for one in result.found):
        parts = {**parts, "inputs": _inputs}
    order = ("finding", "sample", "changes", "inputs", "limits")
    return write_parts(path, result, lang, "title_counterfactuals", {key: parts[key] for key in order if key in parts})


def write_parts(path: str | Path, result: Any, lang: str, title: str, parts: Parts) -> Path:
    """Write a page of some sections, and how it was made."""
    Words(lang, "local")  # an unknown language is refused
    body = sections("local", parts, result)
    body += section("provenance", "local", lambda words: facts(result.info, Words(words.lang, "page")))
    titles = {one: Words(one, "local")(title) for one in ("en", "ja")}
    return write_result(path, "local", body, lang, title=titles, styles=("local",))


def limits(*keys: str) -> Callable[[Any, Words], str]:
    """Paragraphs on what the page does not say."""
    return lambda _, words: "".join(paragraph(words(f"limit_{key}")) for key in keys)


def signed(value: float, most: float) -> Cell:
    """A number with a bar of the colour of its sign."""
    share = abs(value) / most if most and math.isfinite(value) else 0.0
    return number(amount(value), bar=share, color=POSITIVE if value > 0 else NEGATIVE)


def amount(value: float | None) -> str:
    """A number, or a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else quantity(value).replace("-", "−")


def between(low: float | None, high: float | None) -> Cell:
    """A cell with both ends of an interval or range."""
    known = low is not None and high is not None and math.isfinite(low) and math.isfinite(high)
    return number(f"{amount(low)} … {amount(high)}" if known else "–")


def named(name: str, label: str | None) -> str:
    """A feature with its label, where it has one."""
    return f"{label} ({name})" if label else name


def output(text: str, words: Words) -> str:
    """What is explained, in the words of the language."""
    if text in ("the largest output", "the output"):
        return words("output_largest" if text != "the output" else "output_only")
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


def more(shown: int, total: int, words: Words, key: str = "rows_more") -> str:
    """How many there are, where not all are shown."""
    return paragraph(words(key, shown=shown, total=total), "note") if total > shown else ""


# contributions


def _sum(result: Contributions, words: Words) -> str:
    rows = result.rows()
    several = len(result.samples) > 1
    told = {
        "baseline": _baseline(result.baseline, words),
        "output": output(result.output, words),
        "change": amount(rows[-1]["contribution"]),
        "score": amount(float(result.scores.mean())),
        "part": amount(rows[0]["contribution"]),
        "feature": named(rows[0]["part"], rows[0]["label"]),
    }
    key = "claim_contributions_mean" if several else "claim_contributions"
    claim = words(key, **told, **({"samples": len(result.samples)} if several else {}))
    missing = percent(float(result.missing.max())) if float(result.missing.max()) > 0 else "0%"
    adds = words("adds_up", residual=amount(rows[-2]["contribution"]), missing=missing)
    return paragraph(claim, "claim") + paragraph(adds)


def _places(result: Contributions, words: Words) -> str:
    def one(entry: Mapping[str, Any], found: list[float]) -> str:
        content = entry.get("content") or {}
        if content.get("kind") == "image" and (boxes := grid(content, len(found))):
            note = heat_note(found, words) + paragraph(words("heat_places"), "note")
            return picture(entry, boxes, found, words) + note
        if content.get("kind") == "text" and len(found) >= len(content.get("tokens") or ()) > 1:
            return tokens(content, found) + heat_note(found, words) + paragraph(words("tokens_places"), "note")
        return sample(entry, words)

    places = [values.tolist() for values in result.places]
    shown = [(entry, one(entry, found)) for entry, found in zip(result.shown, places, strict=False)]
    return samples(shown, len(result.samples), words)


def samples(shown: Sequence[tuple[Mapping[str, Any], str]], total: int, words: Words) -> str:
    """The samples shown with what is drawn of each, side by side, and how many there are."""
    cards = []
    for entry, drawn in shown:
        head = escape(words("sample_number", sample=str(entry["sample"])))
        output = words("output_number", name=entry["output"]) if "output" in entry else None
        told = paragraph(words("explained", output=output)) if output else ""
        wide = "" if (entry.get("content") or {}).get("kind") == "image" else " l-wide"
        cards.append(f'<div class="l-sample{wide}"><h3>{head}</h3>{told}{drawn}</div>')
    return f'<div class="l-samples">{"".join(cards)}</div>{more(len(shown), total, words, "samples_more")}'


def _parts(result: Contributions, words: Words) -> str:
    *features, outside, residual, change = result.rows()
    shown = [*features[:MOST], outside, residual, change]
    names = {id(outside): "part_outside", id(residual): "part_residual", id(change): "part_change"}
    most, several = max(abs(row["contribution"]) for row in shown), change["low"] is not None
    groups = [
        Group(
            words(names[id(row)]) if id(row) in names else row["part"],
            [
                [
                    number(amount(row["moved_sd"])),
                    signed(row["contribution"], most),
                    *([between(row["low"], row["high"])] if several else []),
                    number("–" if row["share"] is None else f"{row['share']:.1%}".replace("-", "−")),
                ]
            ],
            row["label"] or "",
        )
        for row in shown
    ]
    interval = {"interval_95": True} if several else {}
    heads = {"part": False, "moved_sd": True, "contribution": True, **interval, "share": True}
    return table("parts", heads, groups, words) + more(MOST, len(features), words)


# counterfactuals


def _decision(given: object, words: Words) -> str:
    text = str(given)
    for start, key in (("above ", "side_above"), ("at most ", "side_below")):
        if text.startswith(start):
            return words(key, threshold=text.removeprefix(start))
    return text


def _feature(result: Counterfactuals, change: Mapping[str, Any]) -> str:
    return named(f"{result.site}:{change['feature']}", result.labels.get(change["feature"]))


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
            distance=amount(one["distance"]),
            before=_decision(one["before"], words),
            after=_decision(one["after"], words),
        )
    return paragraph(claim, "claim") + paragraph(words("checked"))


def _seen(result: Counterfactuals, words: Words) -> str:
    return samples([(entry, sample(entry, words)) for entry in result.shown], len(result.found), words)


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
            values = [number(amount(change[key])) for key in ("from", "to")]
            yield [*head, Cell(name), *values, signed(change["sd"], most), between(change["low"], change["high"])]

    groups = [Group(str(one["sample"]), list(rows(one))) for one in found]
    return table("changes", heads, groups, words) + more(MOST, len(result.found), words)


def _inputs(result: Counterfactuals, words: Words) -> str:
    heads = {"sample": False, "column": False, "value_from": True, "value_to": True}
    groups = [
        Group(
            str(one["sample"]),
            [[Cell(c["column"]), number(amount(c["from"])), number(amount(c["to"]))] for c in one["inputs"][:MOST]],
        )
        for one in result.found
        if one.get("inputs")
    ][:MOST]
    return paragraph(words("inputs_note")) + table("inputs", heads, groups, words)
