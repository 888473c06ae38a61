"""All that the page's script reads: the views of the graphs, cards, groups, labels and words, within a size."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..cards import FeatureCards
from ..graphs import Communities
from ..provenance import versions
from .results import Results
from .series import method_of, series_of
from .view import graph_view
from .words import LANGUAGES, Words

EDGES, FEATURES = 60_000, 9_000
"""Edges and features that all graphs of a page hold together; a single one holds at most a third."""
CARD_BYTES = 6_000_000
"""Size of all cards together; examples are left out, the weakest first, until they fit."""


def bundle(results: Results) -> dict[str, Any]:
    """The data for the script."""
    cards, kept = _cards(results.cards) if results.cards is not None else (None, None)
    words = {lang: Words(lang, "graph") for lang in LANGUAGES}
    share = max(3, len(results.graphs))
    graphs = []
    for k, s in enumerate(series_of(results.graphs)):
        graph, groups = s.result, results.communities if k == 0 else None
        edges = next((r for r in results.edge_ablations if method_of(r) == s.method), None)
        view = graph_view(graph, edges, max_edges=EDGES // share, max_features=FEATURES // share)
        view["label"] = {lang: s.label(own) for lang, own in words.items()}
        view["labels"] = {key: {"label": v.label, "note": v.note} for key, v in graph.labels.items()}
        view["modules"] = dict(graph.modules)
        view["cards"] = cards if k == 0 else None
        view["groups"] = None if groups is None else _groups(groups, view)
        graphs.append(view)
    return {
        "graphs": graphs,
        "words": {lang: own.all for lang, own in words.items()},
        "version": versions()["libasis"],
        "cards_cut": None if kept is None else {"examples": kept},
        "fingerprint": hashlib.sha256(json.dumps([g["edges"] for g in graphs]).encode()).hexdigest()[:16],
    }


def _cards(cards: FeatureCards) -> tuple[dict[str, Any], int | None]:
    """The cards as plain data of a bearable size, and how many examples of each end were kept if not all.

    As many as fit of all of them, half, a quarter and so on. They are taken from the fewest up, so that what would be
    left out is not even looked at.
    """
    ends = [(key, end, card[end]) for key, card in cards.cards.items() for end in ("top", "bottom") if card.get(end)]
    none: dict[str, Any] = {key: dict(card) for key, card in cards.cards.items()}
    for key, end, _ in ends:
        none[key][end] = []
    plain = replace(cards, cards=none).to_plain()
    size, kept, most = len(json.dumps(plain, ensure_ascii=False)), 0, max((len(own) for *_, own in ends), default=0)
    for upto in sorted({most >> k for k in range(most.bit_length())}):
        if size > CARD_BYTES:
            break
        more = _examples(cards.kind, ends, kept, upto)
        chunks = [chunk for card in more.values() for chunk in card.values()]
        size += len(json.dumps(chunks, ensure_ascii=False)) - (2 if kept else 4) * len(chunks)
        if size > CARD_BYTES:
            break
        for key, card in more.items():
            for end, chunk in card.items():
                plain["cards"][key][end] += chunk
        kept = upto
    if kept == most and size <= CARD_BYTES:
        return plain, None
    for card in plain["cards"].values():
        card.update({end: card.get(end) or [] for end in ("top", "bottom")})
    return plain, kept


def _examples(kind: Any, ends: list[tuple[str, str, Any]], kept: int, upto: int) -> dict[str, Any]:
    """Those of each end from ``kept`` to ``upto`` as plain data, by card."""
    more: dict[str, Any] = {}
    for key, end, own in ends:
        if len(own) > kept:
            more.setdefault(key, {})[end] = own[kept:upto]
    return FeatureCards(kind, [], more).to_plain()["cards"]


def _groups(communities: Communities, view: Mapping[str, Any]) -> dict[str, Any]:
    """The suggested group of each feature held, -1 where it has none, numbered by size, and the stability of each."""
    names = [s["name"] for s in view["sites"] for _ in range(s["held"])]
    ids = [f"{name}:{index}" for name, index in zip(names, view["nodes"]["index"], strict=True)]
    return {
        "group": [communities.modules.get(key, -1) for key in ids],
        "stability": list(communities.stability),
        "modular": communities.modular,
    }
