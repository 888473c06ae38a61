"""The page of a comparison of two graphs: one HTML file, in English and Japanese."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import write_text
from .markup import Cell, Group, both, escape, paragraph, table
from .page import safe_json, strict_policy, web_file
from .words import LANGUAGES, texts
from .words.diff import DIFF

if TYPE_CHECKING:
    from ..evaluate.difference import GraphDiff

Part = Callable[["GraphDiff", Mapping[str, str], str], str]

MOST = 200
"""Rows of a table."""

STYLES = ("page.css", "workbench.css", "print.css")


def write_diff(path: str | Path, diff: GraphDiff, *, lang: str = "en", title: str | None = None) -> Path:
    """Write one self-contained page of a comparison; the same comparison gives the same bytes.

    Args:
        path: the file to write; folders are made as needed.
        diff: what `libasis.diff` returned.
        lang: the language that the page opens in, ``"en"`` or ``"ja"``; it can be switched in the page.
        title: the heading; None takes ours.

    Raises:
        OptionError: the language is unknown.
    """
    texts(lang)
    titles = {one: DIFF[one]["title"] if title is None else title for one in LANGUAGES}
    style, script = "".join(map(web_file, STYLES)), web_file("diff.js")
    body = "".join(_section(diff, key, make) for key, make in PARTS.items())
    return write_text(
        path,
        f'<!DOCTYPE html>\n<html lang="{lang}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{strict_policy(style, script)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(titles[lang])}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"{_header(titles, lang)}\n<main>{body}</main>\n"
        f'<script type="application/json" id="titles">{safe_json(titles)}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n",
    )


def _header(titles: Mapping[str, str], lang: str) -> str:
    choice = "".join(
        f'<label lang="{one}"><input type="radio" name="lang" value="{one}"{" checked" if one == lang else ""}>'
        f"<span>{escape(texts(one)['language'])}</span></label>"
        for one in LANGUAGES
    )
    return (
        f'<header><div class="top"><p class="kicker">{both(lambda one: escape(DIFF[one]["kicker"]), "span")}</p>'
        '<fieldset id="languages" class="switch" hidden><legend class="away">Language · 言語</legend>'
        f"{choice}</fieldset>"
        f"</div><h1>{both(lambda one: escape(titles[one]), 'span')}</h1></header>"
    )


def _section(diff: GraphDiff, key: str, make: Part) -> str:
    title = both(lambda one: escape(DIFF[one][key]), "span")
    return f'<section id="{key}"><h2>{title}</h2>{both(lambda one: make(diff, DIFF[one], one))}</section>'


def _finding(diff: GraphDiff, words: Mapping[str, str], _: str) -> str:
    info = diff.info
    kinds = {kind: sum(row["kind"] == kind for row in diff.edges) for kind in ("gained", "lost", "changed")}
    matched = sum(len(row["a"]) for row in diff.features)
    claim = words["claim"].format(matched=matched, only_a=len(diff.only_a), only_b=len(diff.only_b), **kinds)
    if info["compared_by"] == "directions":
        how = words["how_directions"]
    else:
        parts = info["noise_parts"]
        noise = words["noise_measured" if parts else "noise_missing"].format(parts=parts)
        how = words["how_values"].format(noise=noise)
    rules = words["rules"].format(least=info["least"], threshold=f"{info['threshold']:.1%}", factor=info["factor"])
    return paragraph(claim, "claim") + paragraph(how) + paragraph(rules, "note")


def _sites(diff: GraphDiff, words: Mapping[str, str], lang: str) -> str:
    heads = ("site", "matched", "only_a", "only_b", "importance_a", "importance_b", "similarity")
    groups = [
        Group(
            row["site"],
            [
                [
                    *(_count(row[key]) for key in ("matched", "only_a", "only_b")),
                    *(_percent(row[f"importance_matched_{side}"]) for side in "ab"),
                    _decimal(row["similarity"]),
                ]
            ],
        )
        for row in diff.sites()
    ]
    return _table("sites", heads, groups, words, lang)


def _sections(diff: GraphDiff, words: Mapping[str, str], lang: str) -> str:
    counts = ("compared", "gained", "lost", "changed", "same")
    shares = ("unmatched_a", "unmatched_b")
    groups = [
        Group(row["section"], [[*(_count(row[key]) for key in counts), *(_percent(row[key]) for key in shares)]])
        for row in diff.sections
    ]
    return _table("sections", ("section", *counts, *shares), groups, words, lang)


def _edges(diff: GraphDiff, words: Mapping[str, str], lang: str) -> str:
    groups = [
        Group(
            _edge(row, "a", diff),
            [[Cell(_edge(row, "b", diff)), Cell(words[row["kind"]]), *(_percent(row[k]) for k in ("a", "b", "noise"))]],
        )
        for row in diff.edges[:MOST]
    ]
    heads = ("edge", "edge_b", "kind", "a", "b", "noise")
    return _table("edges", heads, groups, words, lang) + _more(diff.edges, words)


def _features(diff: GraphDiff, words: Mapping[str, str], lang: str) -> str:
    groups = [
        Group(
            _names(row["a"], diff.info["labels_a"]),
            [
                [
                    Cell(_names(row["b"], diff.info["labels_b"])),
                    _decimal(row["similarity"]),
                    *(_percent(row[f"importance_{side}"]) for side in "ab"),
                ]
            ],
        )
        for row in diff.features[:MOST]
    ]
    heads = ("feature_a", "feature_b", "similarity", "share_a", "share_b")
    return _table("features", heads, groups, words, lang) + _more(diff.features, words)


def _alone(diff: GraphDiff, words: Mapping[str, str], lang: str) -> str:
    rows = [("A", "a", row) for row in diff.only_a] + [("B", "b", row) for row in diff.only_b]
    groups = [
        Group(
            _names([row["id"]], diff.info[f"labels_{side}"]),
            [[Cell(graph), _percent(row["importance"]), Cell(row["nearest"]), _decimal(row["similarity"])]],
        )
        for graph, side, row in rows[:MOST]
    ]
    return _table("alone", ("feature", "where", "share", "nearest", "similarity"), groups, words, lang) + _more(
        rows, words
    )


def _limits(_: GraphDiff, words: Mapping[str, str], __: str) -> str:
    return "".join(paragraph(words[key]) for key in ("limit_1", "limit_2"))


PARTS: dict[str, Part] = {
    "finding": _finding,
    "sites": _sites,
    "sections": _sections,
    "edges": _edges,
    "features": _features,
    "alone": _alone,
    "limits": _limits,
}
NUMBERS = {
    "matched", "only_a", "only_b", "importance_a", "importance_b", "similarity", "compared", "gained", "lost",
    "changed", "same", "unmatched_a", "unmatched_b", "a", "b", "noise", "share_a", "share_b", "share",
}  # fmt: skip


def _table(key: str, heads: Sequence[str], groups: Sequence[Group], words: Mapping[str, str], lang: str) -> str:
    if not groups:
        return paragraph(words["none"])
    columns = [(words[head], head in NUMBERS) for head in heads]
    return table(words[key], columns, groups, texts(lang)["scrolls"].format(title=words[key]))


def _more(rows: Sequence[Any], words: Mapping[str, str]) -> str:
    if len(rows) <= MOST:
        return ""
    return paragraph(words["more"].format(shown=MOST, total=f"{len(rows):,}"), "note")


def _edge(row: Mapping[str, Any], side: str, diff: GraphDiff) -> str:
    labels = diff.info[f"labels_{side}"]
    return f"{_names(row[f'source_{side}'], labels)} → {_names(row[f'target_{side}'], labels)}"


def _names(ids: Sequence[str], labels: Mapping[str, str]) -> str:
    named = [f"{key} ({labels[key]})" if labels.get(key) else key for key in ids[:4]]
    return ", ".join(named) + (f" + {len(ids) - 4}" if len(ids) > 4 else "")


def _count(value: int) -> Cell:
    return Cell(f"{value:,}", number=True)


def _percent(value: float | None) -> Cell:
    return Cell("–" if value is None else f"{value:.1%}", number=True)


def _decimal(value: float | None) -> Cell:
    return Cell("–" if value is None else f"{value:.3f}", number=True)
