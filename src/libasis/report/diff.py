"""The page of a comparison of two graphs: one HTML file, in English and Japanese."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..evaluate import GraphDiff
from .markup import Cell, Group, number, paragraph, table
from .numbers import percent, quantity
from .results import Text
from .shell import sections, write_result
from .words import Words

MOST = 200
"""Rows of a table."""

NUMBERS = {
    "matched", "only_a", "only_b", "importance_a", "importance_b", "similarity", "compared", "gained", "lost",
    "changed", "same", "unmatched_a", "unmatched_b", "a", "b", "noise", "difference", "share_a", "share_b", "share",
}  # fmt: skip
"""Columns that hold numbers."""


def write_diff(path: str | Path, diff: GraphDiff, lang: str = "en", *, title: Text = None) -> Path:
    """Write one self-contained page of a comparison; the same comparison gives the same bytes.

    Args:
        path: the file to write; folders are made as needed.
        diff: what `libasis.diff` returned.
        lang: the language that the page opens in, ``"en"`` or ``"ja"``; it can be switched in the page.
        title: the heading, or one for each language; None takes ours.

    Raises:
        OptionError: the language is unknown.
        StoreError: there is a file that is no page of libasis, or the page cannot be written.
    """
    return write_result(path, "diff", sections("diff", PARTS, diff), lang, title=title)


def _finding(diff: GraphDiff, words: Words) -> str:
    info = diff.info
    kinds = {kind: sum(row["kind"] == kind for row in diff.edges) for kind in ("gained", "lost", "changed")}
    matched = sum(len(row["a"]) for row in diff.features)
    claim = words("claim", matched=matched, only_a=len(diff.only_a), only_b=len(diff.only_b), **kinds)
    if info["compared_by"] == "directions":
        how = words("how_directions")
    else:
        parts = info["noise_parts"]
        how = words("how_values", noise=words("noise_measured" if parts else "noise_missing", parts=parts))
    if drawn := len(info["noise_drawn"]):
        how += words("space") + words("noise_drawn", drawn=drawn, of=len(diff.sections))
    rules = words("rules", least=info["least"], threshold=percent(info["threshold"]), factor=info["factor"])
    first = next(iter(diff.coordinates), None)
    moved = "" if first is None else paragraph(words("moved", **_means(first), **_place(first)))
    return paragraph(claim, "claim") + moved + paragraph(how) + paragraph(rules, "note")


def _place(row: Mapping[str, Any]) -> dict[str, str]:
    return {"site": row["site"], "coordinate": row["coordinate"], "size": f"{abs(row['difference']):.2f}"}


def _means(row: Mapping[str, Any]) -> dict[str, str]:
    return {side: quantity(row[side]) for side in ("a", "b")}


def _coordinates(diff: GraphDiff, words: Words) -> str:
    def group(row: Mapping[str, Any]) -> Group:
        cells = [Cell(row["coordinate"]), *map(number, _means(row).values())]
        return Group(row["site"], [[*cells, number(f"{row['difference']:+.2f}".replace("-", "−"))]])

    return _first("coordinates", ("site", "coordinate", "a", "b", "difference"), diff.coordinates, group, words)


def _sites(diff: GraphDiff, words: Words) -> str:
    heads = ("site", "matched", "only_a", "only_b", "importance_a", "importance_b", "similarity")
    groups = [
        Group(
            row["site"],
            [
                [
                    *(number(f"{row[key]:,}") for key in ("matched", "only_a", "only_b")),
                    *(_share(row[f"importance_matched_{side}"]) for side in "ab"),
                    _similarity(row),
                ]
            ],
        )
        for row in diff.sites()
    ]
    return _table("sites", heads, groups, words)


def _sections(diff: GraphDiff, words: Words) -> str:
    counts = ("compared", "gained", "lost", "changed", "same")
    shares = ("unmatched_a", "unmatched_b")
    groups = [
        Group(row["section"], [[*(number(f"{row[key]:,}") for key in counts), *(_share(row[key]) for key in shares)]])
        for row in diff.sections
    ]
    return _table("sections", ("section", *counts, *shares), groups, words)


def _edges(diff: GraphDiff, words: Words) -> str:
    def group(row: Mapping[str, Any]) -> Group:
        a, b = (
            f"{_names(row[f'source_{side}'], side, diff)} → {_names(row[f'target_{side}'], side, diff)}"
            for side in "ab"
        )
        return Group(a, [[Cell(b), Cell(words(row["kind"])), *(_share(row[key]) for key in ("a", "b", "noise"))]])

    return _first("edges", ("edge", "edge_b", "kind", "a", "b", "noise"), diff.edges, group, words)


def _features(diff: GraphDiff, words: Words) -> str:
    def group(row: Mapping[str, Any]) -> Group:
        shares = (_share(row[f"importance_{side}"]) for side in "ab")
        return Group(_names(row["a"], "a", diff), [[Cell(_names(row["b"], "b", diff)), _similarity(row), *shares]])

    heads = ("feature_a", "feature_b", "similarity", "share_a", "share_b")
    return _first("features", heads, diff.features, group, words)


def _alone(diff: GraphDiff, words: Words) -> str:
    def group(entry: tuple[str, Mapping[str, Any]]) -> Group:
        side, row = entry
        cells = [Cell(side.upper()), _share(row["importance"]), Cell(row["nearest"]), _similarity(row)]
        return Group(_names([row["id"]], side, diff), [cells])

    rows = [("a", row) for row in diff.only_a] + [("b", row) for row in diff.only_b]
    return _first("alone", ("feature", "where", "share", "nearest", "similarity"), rows, group, words)


def _limits(_: GraphDiff, words: Words) -> str:
    return "".join(paragraph(words(key)) for key in ("limit_1", "limit_2"))


PARTS: dict[str, Callable[[GraphDiff, Words], str]] = {
    "finding": _finding,
    "coordinates": _coordinates,
    "sites": _sites,
    "sections": _sections,
    "edges": _edges,
    "features": _features,
    "alone": _alone,
    "limits": _limits,
}


def _table(key: str, heads: Sequence[str], groups: Sequence[Group], words: Words) -> str:
    if not groups:
        return paragraph(words("none"))
    return table(key, {head: head in NUMBERS for head in heads}, groups, words)


def _first(key: str, heads: Sequence[str], rows: Sequence[Any], group: Callable[[Any], Group], words: Words) -> str:
    """A table of the first `MOST` rows, and a line that counts the rest."""
    rest = paragraph(words("more", shown=MOST, total=len(rows)), "note") if len(rows) > MOST else ""
    return _table(key, heads, [group(row) for row in rows[:MOST]], words) + rest


def _names(ids: Sequence[str], side: str, diff: GraphDiff) -> str:
    """At most four of them, with their labels."""
    labels = diff.info[f"labels_{side}"]
    named = [f"{key} ({labels[key]})" if labels.get(key) else key for key in ids[:4]]
    return ", ".join(named) + (f" + {len(ids) - 4}" if len(ids) > 4 else "")


def _share(value: float | None) -> Cell:
    return number("–" if value is None else percent(round(value, 12)))  # sums of shares miss 1 by rounding


def _similarity(row: Mapping[str, Any]) -> Cell:
    return number("–" if row["similarity"] is None else f"{row['similarity']:.3f}")
