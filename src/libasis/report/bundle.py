"""All that the page's script reads: the views of the graphs, cards, groups, labels and words, within a size."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
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
    """The cards as plain data of a bearable size, and how many examples of each end were kept if not all."""
    plain, kept = copy.deepcopy(cards.to_plain()), None
    while len(json.dumps(plain, ensure_ascii=False)) > CARD_BYTES and kept != 0:
        ends = [(card, end) for card in plain["cards"].values() for end in ("top", "bottom")]
        kept = max((len(card.get(end) or []) for card, end in ends), default=0) // 2
        for card, end in ends:
            card[end] = (card.get(end) or [])[:kept]
    return plain, kept


def _groups(communities: Communities, view: Mapping[str, Any]) -> dict[str, Any]:
    """The suggested group of each feature held, -1 where it has none, numbered by size, and the stability of each."""
    names = [s["name"] for s in view["sites"] for _ in range(s["held"])]
    ids = [f"{name}:{index}" for name, index in zip(names, view["nodes"]["index"], strict=True)]
    return {
        "group": [communities.modules.get(key, -1) for key in ids],
        "stability": list(communities.stability),
        "modular": communities.modular,
    }
