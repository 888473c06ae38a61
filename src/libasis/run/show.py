"""What the commands print: tables for people, one JSON object for scripts."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..basis import outliers_said
from ..errors import printable

if TYPE_CHECKING:
    from ..ablation import Ablations, NodeAblation
    from ..basis import Basis
    from ..diagnose import Diagnosis
    from ..evaluate import GraphDiff
    from ..graphs import InteractionGraph
    from .status import Status


EDGE_TITLES = {"edges_total": "edges", "edges_required": "required", "edges_required_stable": "required (stable)"}
NODE_TITLES = {
    "features_required_stable": "required (stable)",
    "score": "score with them",
    "score_of_mean": "score of the mean alone",
    "score_of_zero": "score of zero",
}


def as_json(facts: Mapping[str, Any]) -> None:
    """One JSON object on stdout."""
    print(json.dumps(finite(facts), default=_plain, ensure_ascii=False, allow_nan=False))


def finite(value: Any) -> Any:
    """The same with numbers that are not finite as texts, for JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return value.tolist() if hasattr(value, "tolist") else str(value)


def table(rows: Sequence[Mapping[str, Any]], title: str, heads: Mapping[str, str] | None = None) -> None:
    """Rows with the same keys as a table, the columns headed by their keys or by ``heads``."""
    if not rows:
        return
    out = Table(title=title, title_justify="left", header_style="bold")
    for key, value in rows[0].items():
        out.add_column(
            Text((heads or {}).get(key, key)), justify="left" if isinstance(value, str) else "right", overflow="fold"
        )
    for row in rows:
        out.add_row(*(Text(_cell(value)) for value in row.values()))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160)
    console.print(out)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))


def basis(fitted: Basis) -> None:
    """The sites of a basis."""
    findings(fitted.info, fitted)
    table(fitted.describe(), f"Basis ({fitted.method})", {"d": "directions", "k": "kept"})


def findings(info: Mapping[str, Any], basis: Basis | None = None) -> None:
    """What is wrong with model and rows."""
    for one in found(info, basis):
        print(f"Check first: {one['text']}")


def found(info: Mapping[str, Any], basis: Basis | None) -> list[dict[str, Any]]:
    """What is wrong with model and rows, and outliers, as findings."""
    rows = [] if basis is None else basis.info.get("outliers", [])
    strange = [{"kind": "outliers", "values": {"sites": rows}, "text": outliers_said(rows)}] if rows else []
    return [*(info.get("findings") or ()), *strange]


def section_rows(measured: InteractionGraph) -> list[dict[str, Any]]:
    """One plain row per section: its sites, features on both sides, edges that are not zero."""
    pairs = zip(measured.sites[:-1], measured.sites[1:], measured.edges, strict=True)
    return [
        {"section": a, "to": b, "features": f"{e.shape[1]} -> {e.shape[0]}", "edges": len(measured.entries(l)[1])}
        for l, (a, b, e) in enumerate(pairs)
    ]


def graph(measured: InteractionGraph) -> None:
    """The sections of a graph."""
    findings(measured.info, measured.basis)
    table(section_rows(measured), f"Interactions ({measured.basis.method})")


def diff(found: GraphDiff) -> None:
    """Matched features per site, edges per section, and the edges that differ most."""
    table(found.coordinates[:10], "Coordinates whose mean differs, in standard deviations of A")
    table(found.sites(), "Features", {"only_a": "only in A", "only_b": "only in B"})
    table(found.sections, "Edges between features that both have")
    ends = [
        {
            "edge in A": " -> ".join("+".join(row[f"{end}_a"]) for end in ("source", "target")),
            "edge in B": " -> ".join("+".join(row[f"{end}_b"]) for end in ("source", "target")),
            **{key: row[key] for key in ("kind", "a", "b")},
        }
        for row in found.edges[:10]
    ]
    table(ends, "The largest differences (shares of the input of the feature they lead to)")
    if found.info["noise"] == "not measured":
        print("The noise of the sample was not measured: a difference of edges may be chance.")


def ablation_facts(result: Ablations) -> dict[str, Any]:
    """Both ablations as plain data."""
    nodes = edges = None
    if result.nodes:
        nodes = {"rows": node_rows(result.nodes), **result.nodes.to_plain()}
    if result.edges:
        edges = {"rows": result.edges.rows(), **result.edges.to_plain()}
    return {"held_out": result.held_out, "nodes": nodes, "edges": edges}


def ablations(result: Ablations) -> None:
    """Edges required per section, features required per site, and the score of the whole model."""
    first = result.edges or result.nodes
    if first is None:
        return
    if result.edges:
        table(result.edges.rows(), "Edges that the model needs", EDGE_TITLES)
    if result.nodes:
        table(node_rows(result.nodes), "Features that the model needs, one site at a time", NODE_TITLES)
    print(
        f"The whole model's {first.metric} is {first.base_score:.6g} on {first.samples} samples; it was allowed to get "
        f"worse by {first.max_drop:g}."
    )
    if not result.held_out:
        print("Measured on the data of the fit: no test data were given.")


def node_rows(result: NodeAblation) -> list[dict[str, Any]]:
    """Per site: features measured, the number needed, the score with them, with none, and without the mean too."""
    rows = []
    for site, curve in result.curves.items():
        needed = result.features_required_stable[site]
        rows.append(
            {
                "site": site,
                "features": curve.counts[-1] if len(curve) else None,
                "features_required_stable": needed,
                "score": None if needed is None else curve[needed],
                "score_of_mean": curve.get(0),
                "score_of_zero": result.without_constant,
            }
        )
    return rows


def demo(result: Mapping[str, Any]) -> None:
    """The demo's table, its facts, and where the page is."""
    table(result["rows"], "Edges that the model needs, by basis")
    for sentence in result["facts"]:
        print(sentence)
    print(f"Page: {result['page']}")
    print(f"Graph: {result['graph']}")


def comparisons(found: Sequence[Mapping[str, Any]]) -> None:
    """Per experiment the edges and features that each basis needs, with intervals."""
    for summary in found:
        if "skipped" in summary:
            print(f"{summary['file']}: skipped. {summary['skipped']}")
            continue
        for kind, key, title in (("edges", "section", "Edges required"), ("nodes", "site", "Features required")):
            rows = [_needed(row, key, summary["confidence"]) for row in summary[kind]]
            table(rows, f"{summary['title']}: {title.lower()} (stable), mean over models", {"ratio": "of PCA's"})
        print(f"Results in {summary['folder']}")


def _needed(row: Mapping[str, Any], key: str, confidence: float) -> dict[str, Any]:
    return {
        key: row[key],
        "method": row["method"],
        "models": row["models"],
        "needed": row["mean"],
        f"{confidence:.0%} interval": _interval(row["low"], row["high"]),
        "ratio": row["ratio"],
        "its interval": _interval(row["ratio_low"], row["ratio_high"]) if row["ratio"] is not None else "-",
    }


def _interval(low: float | None, high: float | None) -> str:
    return f"{_end(low)} to {_end(high)}"


def _end(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def sensitivities(found: Sequence[Mapping[str, Any]]) -> None:
    """Per experiment one row for each fit and site."""
    for result in found:
        if "skipped" in result:
            print(f"{result['file']}: skipped. {result['skipped']}")
            continue
        heads = {
            "unsteady": "share changed > 1%",
            "edges_required_stable": "edges required",
            "change_leading": "of the leading",
            "change_total": "of the sum",
        }
        table(result["rows"], f"{result['title']}: LIB against the fit of all samples and the usual threshold", heads)
        print(f"Results in {result['folder']}")


def diagnosis(found: Diagnosis) -> None:
    """What to know first, the first inputs with their verdicts, and the sets."""
    for one in found.findings:
        print(f"- {one}")
    info = found.info
    print(f"Alarm: {info['alarm']}. Mediates the model's alarm, not: causes the fault in the plant.")
    heads = {"before": "alarm before", "after": "set to normal"}

    def row(name: str, one: Mapping[str, Any]) -> dict[str, Any]:
        low, high = (None if one[key] is None else found.amount(one[key]) for key in ("low", "high"))
        between = "-" if low is None else f"{low} to {high}"
        amounts = {key: "-" if one[key] is None else found.amount(one[key]) for key in ("before", "after")}
        return {"set to normal values": name, "verdict": one["verdict"], **amounts, "95% of the change": between}

    inputs = [
        {"normal": f"{one['normal']:.4g}", "anomalous": f"{one['anomalous']:.4g}"} | row(one["input"], one)
        for one in found.tested_inputs[:10]
    ]
    table([{"input": one.pop("set to normal values"), **one} for one in inputs], "Inputs, one at a time", heads)
    table([row(one["set"], one) for one in found.tested_sets if len(one["members"]) > 1], "Inputs together", heads)
    first = found.tested_inputs[0]
    if first["why"]:
        print(f"Why {first['input']} is {first['verdict']}: {first['why']}.")


def status(found: Status, would: Mapping[str, Sequence[str]]) -> None:
    """The results of a run, and what commands would do."""
    for stage in found.stages.values():
        print(stage)
    print(f"page: {found.page or 'not there'}")
    count, size = found.checkpoints
    if count:
        print(f"checkpoints: {count} passes over the data, {size / 2**20:.1f} MiB, of a command that did not end")
    if found.unseen:
        print(f"Settings alone were compared: {found.unseen}")
    for verb, steps in would.items():
        print(f"libasis {verb} would {', then '.join(steps)}")
