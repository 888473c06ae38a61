"""Tables of docs/results.md from what experiments/language_edges.py has measured."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from experiments.branch_tables import Needed, as_csv, compared, crossing, rows_of, table, with_interval

from libasis.numerics.resampling import Bootstrap

SECTIONS = {"branch": "what the MLP reads → what it adds", "stream": "stream before the MLP → after it"}


def edges(results: Path, name: str) -> str:
    """How many edges each section needs, and on the shares of the protocol by bisection and for good."""
    if not (results / name / "edges.jsonl").exists():
        return "*Not measured yet.*"
    protocol = json.loads((results / name / "protocol.json").read_text(encoding="utf-8"))["protocol"]
    bootstrap = Bootstrap(protocol["replicates"], protocol["confidence"], protocol["seed"])
    found: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for row in rows_of(results / name / "edges.jsonl"):
        found.setdefault((row["section"], row["block"]), {})[row["method"]] = row
    heads = ["Site", "Edges in all", "LIB needs", "PCA needs", "Of PCA's"]
    heads += ["LIB, count", "PCA, count", "LIB, nats", "Turned, nats", "Verdict"]
    places = [(section, block) for section in SECTIONS for block in sorted(protocol["blocks"])]
    return table(heads, [_edges(*place, found.get(place, {}), protocol["allowed"], bootstrap) for place in places])


def curves(results: Path, name: str) -> str:
    """Every mean divergence with some of the edges, as CSV."""
    rows = [
        [row["block"], row["section"], row["method"], count, *with_interval(kl)]
        for row in rows_of(results / name / "edges.jsonl")
        for count, kl in row["kl"].items()
    ]
    return as_csv([["block", "section", "method", "edges", "nats", "low", "high", "sequences"], *rows])


def _edges(
    section: str, block: int, rows: dict[str, dict[str, Any]], allowed: float, bootstrap: Bootstrap
) -> list[str]:
    site = f"block {block}, {SECTIONS[section]}"
    if not {"lib", "pca"} <= rows.keys():
        return [site, *[""] * 8, "not measured"]
    lib, pca = (_edges_needed(rows[method], allowed, bootstrap) for method in ("lib", "pca"))
    cells, ends = compared(lib, pca, bootstrap)
    words = "fewer" if ends[1] < 1 else "more" if ends[0] > 1 else "no difference found"
    total = _alike(rows[method]["total"] for method in ("lib", "pca"))
    both = [_alike(rows[method][key] for key in ("required", "stable")) for method in ("lib", "pca")]
    nats = [_mean(rows.get(method), rows["lib"]["required"]) for method in ("lib", "random")]
    return [site, total, *cells, *both, *nats, words]


def _mean(row: dict[str, Any] | None, count: int | None) -> str:
    kl = None if row is None else row["kl"].get(str(count))
    return "" if kl is None else f"{np.mean(kl):.4f}"


def _alike(counts: Iterable[int | None]) -> str:
    """Counts side by side, equal ones once."""
    return " / ".join("none" if count is None else f"{count:,}" for count in dict.fromkeys(counts))


def _edges_needed(row: dict[str, Any], allowed: float, bootstrap: Bootstrap) -> Needed:
    divergences = torch.tensor(list(row["kl"].values()), dtype=torch.float64)
    counts = [*map(int, row["kl"])]
    resampled = bootstrap.means(divergences, torch.ones(divergences.shape[1])).numpy()
    replicates = np.array([crossing(counts, column, allowed) for column in resampled.T])
    return Needed(crossing(counts, divergences.mean(1).tolist(), allowed), replicates)
