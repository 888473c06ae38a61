"""The page of what features and an output owe to the input."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..local import InputSensitivity
from .local import Parts, amount, between, limits, more, named, output, samples, signed, write_parts
from .markup import Cell, Group, escape, number, paragraph, table
from .sample import heat_note, picture, sample, scaled, tokens
from .words import Words

PARTS, FEWER = 10, 4
"""Parts of the input in the table, for the output and for each feature."""
SIDES = ("finite", "derivative")


def write_sensitivity(result: InputSensitivity, path: str | Path, lang: str = "en") -> Path:
    """Write the page of a sensitivity.

    Raises:
        OptionError: the language is unknown.
        StoreError: there is a file that is no page of libasis, or the page cannot be written.
    """
    rows: dict[str, list[Any]] = {name: [] for name in result.quantities}
    for row in result.rows():
        rows[row["quantity"]].append(row)
    parts: Parts = {
        "finding": lambda one, words: _finding(one, rows, words),
        "agreement": _agreement,
        "sample": _heat,
        "by_parts": lambda one, words: _by_parts(one, rows, words),
        "limits": limits("model", "parts"),
    }
    return write_parts(path, result, lang, "title_sensitivity", parts)


def _finding(result: InputSensitivity, rows: Mapping[str, list[Any]], words: Words) -> str:
    last = len(result.quantities) - 1
    told = paragraph(words(f"said_{result.said(last)}"))
    changes = rows[result.quantities[last]][:-1]
    if not changes:
        return told
    row = max(changes, key=lambda one: abs(one["finite"]))
    name, change = words.quote(_part(result, row["part"])), amount(row["finite"])
    claim = words("claim_sensitivity", part=name, quantity=_quantity(result, last, words), change=change)
    return paragraph(claim, "claim") + told


def _part(result: InputSensitivity, name: str) -> str:
    """The part's name; of a single text the token with it."""
    content = result.shown[0].get("content") if len(result.samples) == len(result.shown) == 1 else None
    if content and content.get("kind") == "text" and name.isdigit() and int(name) < len(content["tokens"]):
        return f"{name} {content['tokens'][int(name)]}"
    return name


def _quantity(result: InputSensitivity, q: int, words: Words) -> str:
    name = result.quantities[q]
    return output(name, words) if q == len(result.quantities) - 1 else named(name, result.labels.get(name))


def _agreement(result: InputSensitivity, words: Words) -> str:
    groups = [
        Group(
            _quantity(result, q, words),
            [
                [
                    *(number(f"{float(result.disagreement[kind, q]):.2f}") for kind in (0, 1)),
                    Cell(words(f"short_{result.said(q)}")),
                ]
            ],
        )
        for q in range(len(result.quantities))
    ]
    heads = {"quantity": False, "parts_disagree": True, "noise_disagree": True, "verdict": False}
    note = words("disagreement_note") + words("space") + words("noise_note", size=f"{result.noise:g}")
    return table("agreement", heads, groups, words) + paragraph(note, "note")


def _heat(result: InputSensitivity, words: Words) -> str:
    """The output's changes over the samples shown: by finite change, and by derivative."""
    at = {int(number): n for n, number in enumerate(result.samples.tolist())}
    told = _quantity(result, len(result.quantities) - 1, words)

    def one(entry: Mapping[str, Any]) -> str:
        content, own = entry.get("content") or {}, at[int(entry["sample"])]
        pair = {side: getattr(result, side)[own][:, -1].tolist() for side in SIDES}
        if content.get("kind") == "image" and result.boxes:
            boxes = scaled(result.boxes, content)
            drawn = "".join(
                f"<figure>{picture(entry, boxes, values, words)}<figcaption>"
                f"{escape(words(f'heat_{side}', quantity=told))}{heat_note(values, words)}</figcaption></figure>"
                for side, values in pair.items()
            )
            return f'<div class="l-pair">{drawn}</div>'
        if content.get("kind") == "text":
            return "".join(
                paragraph(words(f"tokens_{side}", quantity=told)) + tokens(content, values) + heat_note(values, words)
                for side, values in pair.items()
            )
        return sample(entry, words)

    return samples([(entry, one(entry)) for entry in result.shown], len(result.samples), words)


def _by_parts(result: InputSensitivity, rows: Mapping[str, list[Any]], words: Words) -> str:
    sloped, several = result.slopes is not None, any(row["low"] is not None for found in rows.values() for row in found)
    heads = {"quantity": False, "input_part": False, "finite": True} | ({"interval_95": True} if several else {})
    heads |= {"derivative": True} | ({"slope": True} if sloped else {})
    groups, last = [], len(result.quantities) - 1
    for q, name in reversed(list(enumerate(result.quantities))):
        shown = sorted(rows[name][:-1], key=lambda row: -abs(row["finite"]))[: PARTS if q == last else FEWER]
        most = max((max(abs(row[side]) for side in SIDES) for row in shown), default=0.0)
        cells = [
            [
                Cell(_part(result, row["part"])),
                signed(row["finite"], most),
                *([between(row["low"], row["high"])] if several else []),
                signed(row["derivative"], most),
                *([number(amount(row["slope"]))] if sloped else []),
            ]
            for row in shown
        ]
        groups.append(Group(_quantity(result, q, words), cells))
    by_what = result.info.get("replaced_by", "")
    how = {"the mean": "replaced_by_mean", "values drawn from the data": "replaced_by_drawn"}.get(by_what)
    note = words(how) if how else words("replaced_by_fill", fill=by_what)
    return paragraph(note) + table("by_parts", heads, groups, words) + more(PARTS, len(result.parts), words)
