"""All that the page's script reads: the views of the graphs, cards, groups, labels and words, within a size."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import OptionError
from ..provenance import versions
from .content import Results
from .series import method_of, series_of
from .view import graph_view
from .words import LANGUAGES, VIEW

EDGES, FEATURES = 60_000, 9_000
"""Edges and features that all graphs of a page hold together; a single one holds at most a third."""
CARD_BYTES = 6_000_000
"""Size of all cards together; examples are left out, the weakest first, until they fit."""


def bundle(results: Results) -> tuple[Results, dict[str, Any]]:
    """Results whose cards are plain and fit into the page, and the data for the script.

    Raises:
        OptionError: cards or communities are of another graph.
    """
    cards, cut = _cards(results)
    share = max(3, len(results.graphs))
    graphs = []
    for k, s in enumerate(zip(results.graphs, *(series_of(results.graphs, lang) for lang in LANGUAGES), strict=True)):
        graph, labels = s[0], {lang: one.label for lang, one in zip(LANGUAGES, s[1:], strict=True)}
        edges = next((r for r in results.edges if method_of(r) == method_of(graph)), None)
        view = graph_view(graph, edges, max_edges=EDGES // share, max_features=FEATURES // share)
        view["label"] = labels
        view["labels"] = {key: {"label": v.label, "note": v.note} for key, v in graph.labels.items()}
        view["modules"] = dict(graph.modules)
        view["cards"] = None if k or cards is None else cards
        view["groups"] = None if k or results.communities is None else _groups(results.communities, view)
        graphs.append(view)
    return replace(results, cards=cards), {
        "graphs": graphs,
        "words": VIEW,
        "version": versions()["libasis"],
        "cards_cut": cut,
        "fingerprint": hashlib.sha256(json.dumps([g["edges"] for g in graphs]).encode()).hexdigest()[:16],
    }


def _cards(results: Results) -> tuple[dict[str, Any] | None, dict[str, int] | None]:
    """The cards as plain data of a bearable size, and what was left out: examples kept of each kind, and cards."""
    if results.cards is None:
        return None, None
    plain = results.cards if isinstance(results.cards, Mapping) else results.cards.to_plain()
    known = {f"{s.name}:{i}" for s in results.graphs[0].basis for i in range(s.k)}
    if unknown := next((key for key in plain["cards"] if key not in known), None):
        raise OptionError(
            f"There is a card for {unknown!r}, which is no feature of the first graph; give its own cards."
        )
    plain = copy.deepcopy(dict(plain))
    kept = None
    while len(json.dumps(plain, ensure_ascii=False)) > CARD_BYTES and kept != 0:
        longest = max((len(c.get(end) or []) for c in plain["cards"].values() for end in ("top", "bottom")), default=0)
        kept = longest // 2
        for card in plain["cards"].values():
            for end in ("top", "bottom"):
                card[end] = (card.get(end) or [])[:kept]
    return plain, None if kept is None else {"examples": kept}


def _groups(communities: Any, view: Mapping[str, Any]) -> dict[str, Any]:
    """The suggested group of each feature held, -1 where it has none, numbered by size, and the stability of each."""
    names = [s["name"] for s in view["sites"] for _ in range(s["held"])]
    ids = [f"{name}:{index}" for name, index in zip(names, view["nodes"]["index"], strict=True)]
    if unknown := next((key for key in communities.modules if key.rpartition(":")[0] not in set(names)), None):
        raise OptionError(f"The communities have {unknown!r}, which is no feature of the first graph; give its own.")
    return {
        "group": [communities.modules.get(key, -1) for key in ids],
        "stability": list(communities.stability),
        "modular": bool(getattr(communities, "modular", True)),
    }
