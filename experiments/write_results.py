"""Write the tables and figures of docs/results.md from the results of the experiments.

Those are of `libasis compare`, `libasis sensitivity`, experiments/language_branches.py, language_edges.py and
superposition.py.

Run: python experiments/write_results.py [--results build/results] [--docs docs]

Between ``<!-- results: NAME KIND -->`` and ``<!-- /results -->`` the tables are written anew; the words around them
stay as they are. Figures that the page shows are copied to docs/images, and every count with its interval goes to
docs/results.csv. What was not run here stays as it was.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from experiments import branch_tables, edge_tables, superposition_tables

from libasis.files import write_bytes

BLOCK = re.compile(r"(<!-- results: (\w+) (\w+) -->\n)(.*?)(<!-- /results -->)", re.S)
METHODS = {
    "lib": "LIB",
    "sparse": "sparse LIB",
    "pca": "PCA",
    "global": "global",
    "random": "LIB turned at random",
    "neuron": "neurons",
}
FIGURE = re.compile(r"\((images/results-(\w+)-(\w+)\.svg)\)")
COLUMNS = ("method", "models", "mean", "low", "high", "ratio", "ratio_low", "ratio_high")


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(description="Write the tables and figures of docs/results.md.")
    parser.add_argument("--results", type=Path, default=Path("build/results"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    chosen = parser.parse_args(arguments)
    write(chosen.results, chosen.docs)


def write(results: Path, docs: Path) -> None:
    """Write docs/results.md, docs/results.csv and the figures."""
    page = docs / "results.md"

    def block(match: re.Match[str]) -> str:
        start, name, kind, old, end = match.groups()
        if name != "all" and not (results / name).is_dir():
            return match[0]
        try:
            made = TABLES[kind](results, name)
        except FileNotFoundError:  # it was stopped half-way
            return match[0]
        return f"{start}{_with_rows_of(old, made) if name == 'all' else made}\n{end}"

    text = BLOCK.sub(block, page.read_text(encoding="utf-8"))
    write_bytes(page, text.encode())
    write_bytes(docs / "results.csv", _csv(results, docs / "results.csv").encode())
    for figure, name, kind in set(FIGURE.findall(text)):
        if (drawn := results / name / "figures" / f"{kind}.svg").exists():
            shutil.copyfile(drawn, docs / figure)
    for path in sorted(results.glob("*/divergences.jsonl")):
        write_bytes(docs / "results-branches.csv", branch_tables.curves(results, path.parent.name).encode())
    for path in sorted(results.glob("*/edges.jsonl")):
        write_bytes(docs / "results-edges.csv", edge_tables.curves(results, path.parent.name).encode())


def _with_rows_of(old: str, new: str) -> str:
    """A table with the rows of the old one, by their first cells, that it does not have."""
    head, *rows = ({line.split("|")[1]: line for line in part.splitlines()} for part in (old, new))
    return "\n".join({**head, **rows[0]}.values())


def _read(results: Path, name: str, file: str) -> dict[str, Any]:
    return json.loads((results / name / f"{file}.json").read_text(encoding="utf-8"))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rules = ["---" if i == 0 or head == "Basis" else "--:" for i, head in enumerate(heads)]
    return "\n".join(f"| {' | '.join(row)} |" for row in ([*heads], rules, *rows))


def _count(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.1f}"


def _with_interval(row: Mapping[str, Any]) -> str:
    return f"{_count(row['mean'])} ({_count(row['low'])} to {_count(row['high'])})"


def _ratio(row: Mapping[str, Any]) -> str:
    if row["ratio"] is None:
        return ""
    low, high = (("none" if row[key] is None else f"{row[key]:.2f}") for key in ("ratio_low", "ratio_high"))
    return f"{row['ratio']:.2f} ({low} to {high})"


def _needed(kind: str, key: str) -> Callable[[Path, str], str]:
    def table(results: Path, name: str) -> str:
        summary = _read(results, name, "compare")
        rows = []
        for row in summary[kind]:
            place = f"{row[key]} → {row['to']}" if kind == "edges" else row[key]
            rows.append([place, METHODS[row["method"]], str(row["models"]), _with_interval(row), _ratio(row)])
        first = "Section" if kind == "edges" else "Site"
        return _table(
            [first, "Basis", "Models", f"{'Edges' if kind == 'edges' else 'Features'} (95%)", "Of PCA's"], rows
        )

    return table


def _fourier(results: Path, name: str) -> str:
    """Per method and site the mean over models of the share of a feature's power in one frequency."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for methods in _read(results, name, "compare")["labels"].values():
        for method, labels in methods.items():
            for row in labels["sites"]:
                found.setdefault((row["site"], method), []).append(row)
    rows = [
        [site, METHODS[method], str(len(each)), *(f"{_mean(each, key):.3f}" for key in ("share", "mixed", "positions"))]
        for (site, method), each in sorted(found.items(), key=lambda item: item[0][0])
    ]
    return _table(["Site", "Basis", "Models", "One frequency", "Two mixed", "Positions only"], rows)


def _features(results: Path, name: str) -> str:
    """The strongest features of the first model and what they carry."""
    labels = next(iter(_read(results, name, "compare")["labels"].values()))["lib"]
    rows = []
    for feature, row in labels["features"].items():
        if int(feature.rsplit(":", 1)[1]) < 6:
            what = {"one": "a or b", "sum": "a + b", "difference": "a − b"}[row["kind"]]
            rows.append([feature, str(row["frequency"]), what, *(f"{row[k]:.2f}" for k in ("share", "positions"))])
    return _table(["Feature", "Frequency", "Of", "Share", "Positions only"], rows)


def _mean(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    return sum(row[key] for row in rows) / len(rows)


def _superposition(results: Path, name: str) -> str:
    summary = _read(results, name, "compare")
    sites = {(row["site"], row["method"]): row for row in summary["sites"]}
    rows = []
    for row in summary["nodes"]:
        site, recovered = sites[row["site"], row["method"]], row["recovered"]
        recovered = recovered[0] if isinstance(recovered, list) else recovered
        goals = [_count(recovered["features_for"][goal]) for goal in ("0.5", "0.9", "0.99")]
        rows.append(
            [
                row["site"],
                METHODS[row["method"]],
                *goals,
                f"{recovered['area']:.2f}",
                f"{site['participation']:.0f}",
                f"{site['participation_of_vector']:.0f}",
                f"{site['kurtosis_median']:.1f}",
            ]
        )
    heads = ["Site", "Basis", "50%", "90%", "99%", "Area", "Participation", "Of a vector", "Kurtosis (median)"]
    return _table(heads, rows)


def _sensitivity(results: Path, name: str) -> str:
    rows = []
    for row in _read(results, name, "sensitivity")["rows"]:
        if row["varied"] != "seed" and row["value"] == 1:
            continue  # the reference itself
        what = {"threshold": "threshold × {:g}", "samples": "{:.0%} of the samples", "seed": "a half, seed {:g}"}
        changes = [_change(row[key]) for key in ("change_leading", "change", "unsteady", "change_total")]
        label = what[row["varied"]].format(row["value"])
        rows.append([label, row["site"], str(row["kept"]), *changes, _count(row["edges_required_stable"])])
    heads = ["Varied", "Site", "Kept", "Leading", "All kept", "Share that changed > 1%", "Sum", "Edges"]
    return _table(heads, rows)


def _change(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}" if value < 0.001 else f"{value:.1%}"


def _models(results: Path, name: str) -> str:
    """Experiments, their models' scores and what they cost; the name is not used."""
    del name
    rows = []
    for path in sorted(results.glob("*/compare.json")):
        summary = json.loads(path.read_text(encoding="utf-8"))
        scores = [row["base_score"] for row in summary["models"]]
        span = f"{min(scores):.3f}" + (f" to {max(scores):.3f}" if max(scores) > min(scores) else "")
        first = summary["models"][0]
        seconds = sum(summary["cpu_seconds"].values())
        allowed = f"{summary['max_drop']:g}"
        cells = [str(len(scores)), f"{first['metric'].replace('_', '-')} {span}", f"{first['samples']:,}", allowed]
        rows.append([f"{summary['title']} (`{path.parent.name}`)", *cells, f"{seconds:.0f} s"])
    rows += [
        [f"{data['title']}, sensitivity", "1", "", "", f"{data['max_drop']:g}", f"{data['cpu_seconds']:.0f} s"]
        for data in (
            _read(results, path.parent.name, "sensitivity") for path in sorted(results.glob("*/sensitivity.json"))
        )
    ]
    return _table(["Experiment", "Models", "Score", "Scores averaged", "Allowed drop", "CPU time"], rows)


TABLES: dict[str, Callable[[Path, str], str]] = {
    "edges": _needed("edges", "section"),
    "nodes": _needed("nodes", "site"),
    "fourier": _fourier,
    "features": _features,
    "superposition": _superposition,
    "sensitivity": _sensitivity,
    "models": _models,
    "needed": branch_tables.needed,
    "equal": branch_tables.equal,
    "other": branch_tables.other,
    "outliers": branch_tables.outliers,
    "smaller": branch_tables.smaller,
    "half": edge_tables.edges,
    **superposition_tables.TABLES,
}


def _csv(results: Path, old: Path) -> str:
    """Every count of every experiment; those not run here as they were."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["experiment", "kind", "place", *COLUMNS, "counts"])
    here = {path.parent.name for path in results.glob("*/compare.json")}
    kept = csv.reader(io.StringIO(old.read_text(encoding="utf-8"))) if old.exists() else iter(())
    writer.writerows(row for row in [*kept][1:] if row[0] not in here)
    for path in sorted(results.glob("*/compare.json")):
        summary = json.loads(path.read_text(encoding="utf-8"))
        for kind, key in (("edges", "section"), ("nodes", "site")):
            for row in summary[kind]:
                counts = " ".join("none" if c is None else str(c) for c in row["counts"])
                writer.writerow([path.parent.name, kind, row[key], *(_cell(row[c]) for c in COLUMNS), counts])
    return text.getvalue()


def _cell(value: Any) -> Any:
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else value


if __name__ == "__main__":
    main()
