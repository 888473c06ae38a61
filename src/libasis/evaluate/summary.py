"""Comparisons of several models as one: means over models, intervals over models and samples, ratios to PCA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..numerics import Bootstrap
from ..types import Plain
from .resample import pooled_mean, pooled_ratio

Runs = Mapping[str, Mapping[str, Plain]]
"""Results of `compare` by model and method."""

REFERENCE = "pca"


def summarise(runs: Runs, bootstrap: Bootstrap, *, reference: str = REFERENCE) -> Plain:
    """One row per method and section, and per method and site.

    Args:
        runs: results of `compare` by the name of the model, then by method.
        bootstrap: how to resample; the one of the comparisons.
        reference: the method that ratios are taken to.

    Returns:
        ``models`` (rows: name, metric, base score, samples), ``edges`` and ``nodes`` (rows with ``counts`` per model,
        their ``mean``, ``low``, ``high``, and ``ratio``, ``ratio_low``, ``ratio_high`` of the sums over the models that
        have both methods; None where a count does not exist), ``sites`` (means over models of `feature_statistics`),
        ``cpu_seconds`` (sum by method).
    """
    methods = list(dict.fromkeys(method for results in runs.values() for method in results))
    return {
        "models": [_model(name, results) for name, results in runs.items()],
        "edges": _rows(runs, methods, _EDGES, bootstrap, reference),
        "nodes": _rows(runs, methods, _NODES, bootstrap, reference),
        "sites": _sites(runs, methods),
        "cpu_seconds": {m: sum(sum(r[m]["cpu_seconds"].values()) for r in runs.values() if m in r) for m in methods},
    }


_EDGES = ("edges", "section", "edges_required_stable", ("to", "edges_total", "edges_required"))
_NODES = ("nodes", "site", "features_required_stable", ("d", "k", "recovered"))


def _model(name: str, results: Mapping[str, Plain]) -> Plain:
    first = next(iter(results.values()))
    return {"model": name, **{key: first.get(key) for key in ("metric", "base_score", "samples")}}


def _rows(runs: Runs, methods: Sequence[str], kind: Any, bootstrap: Bootstrap, reference: str) -> list[Plain]:
    table, key, count, further = kind
    rows = []
    places = dict.fromkeys(row[key] for results in runs.values() for r in results.values() for row in r.get(table, []))
    for place in places:
        for method in methods:
            own = _counts(runs, method, table, place)
            if not own:
                continue
            found = {name: _row(runs[name][method], table, key, place) for name in own}
            counts = [row[count] for row in found.values()]
            low, high = _finite(*pooled_mean(own, bootstrap))
            rows.append(
                {
                    key: place,
                    "method": method,
                    "models": len(own),
                    "counts": counts,
                    "mean": _mean(counts),
                    "low": low,
                    "high": high,
                    **_ratio(runs, (method, reference), (table, key, count), place, bootstrap),
                    **{name: _common([row[name] for row in found.values()]) for name in further},
                }
            )
    return rows


def _ratio(runs: Runs, pair: tuple[str, str], columns: tuple[str, str, str], place: str, bootstrap: Bootstrap) -> Plain:
    table, key, count = columns
    ours, theirs = (_counts(runs, method, table, place) for method in pair)
    both = [name for name in ours if name in theirs]
    out: Plain = {"ratio": None, "ratio_low": None, "ratio_high": None}
    if not both or pair[0] == pair[1]:
        return out
    totals = [_mean([_row(runs[n][m], table, key, place)[count] for n in both]) for m in pair]
    low, high = pooled_ratio({n: ours[n] for n in both}, {n: theirs[n] for n in both}, bootstrap)
    out["ratio"] = totals[0] / totals[1] if totals[0] is not None and totals[1] else None
    out["ratio_low"], out["ratio_high"] = _finite(low, high)
    return out


def _counts(runs: Runs, method: str, table: str, place: str) -> dict[str, np.ndarray]:
    """Replicates by model, infinite where no count passed."""
    return {
        name: np.array([np.inf if c is None else c for c in results[method]["replicates"][table][place]])
        for name, results in runs.items()
        if method in results and place in results[method]["replicates"].get(table, {})
    }


def _row(result: Plain, table: str, key: str, place: str) -> Plain:
    return next(row for row in result[table] if row[key] == place)


def _mean(counts: Sequence[float | None]) -> float | None:
    return None if any(c is None for c in counts) else float(np.mean([c for c in counts if c is not None]))


def _finite(*values: float) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]


def _common(values: Sequence[Any]) -> Any:
    """The value where all models share it or there is one, else the list."""
    return values[0] if all(v == values[0] for v in values) else list(values)


def _sites(runs: Runs, methods: Sequence[str]) -> list[Plain]:
    rows = []
    for method in methods:
        per_model = [results[method]["sites"] for results in runs.values() if method in results]
        for same in zip(*per_model, strict=True):
            numbers = {
                key: _mean([row[key] for row in same])
                for key in same[0]
                if key != "site" and not isinstance(same[0][key], str)
            }
            rows.append({"site": same[0]["site"], "method": method, "models": len(same), **numbers})
    return rows
