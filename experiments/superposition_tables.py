"""Tables of docs/results.md from what experiments/superposition.py has measured."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from experiments.branch_tables import crossing

from libasis.numerics import paired, ratio
from libasis.numerics.resampling import Bootstrap

NAMES = {
    "neurons": "neurons",
    "pca": "PCA",
    "lib": "LIB",
    "plain": "dictionary",
    "jacobian": "Jacobian dictionary",
    "inside": "LIB inside the dictionary",
    "plain-errors": "dictionary, errors carried along",
    "jacobian-errors": "Jacobian dictionary, errors carried along",
}
MISSING = "*Not measured yet.*"
COSTS = {
    "activations": "activations of the fit",
    "dictionaries-plain": "plain dictionaries",
    "trials": "trials of the coefficient",
    "dictionaries-jacobian": "Jacobian dictionaries",
    "gradients": "gradients for M′",
    "bases": "PCA, LIB, LIB inside",
    "reconstruction-plain": "reconstruction, plain",
    "reconstruction-jacobian": "reconstruction, Jacobian",
    **{f"edges-{name}": f"edges: {told}" for name, told in NAMES.items()},
    **{f"strengths-{name}": f"derivatives: {told}" for name, told in NAMES.items()},
    **{f"equal-{name}": f"edges at the same divergence: {NAMES[name]}" for name in ("lib", "pca", "plain")},
    "free-plain": "active latents chosen anew, plain",
    "free-jacobian": "active latents chosen anew, Jacobian",
    "length-x": "bits at x",
    "length-y": "bits at y",
    "contexts": "contexts",
    "spliced": "LIB inside and beside, by the package",
}


class Found:
    """What a run has kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.protocol = self.read("protocol")["protocol"]
        self.bootstrap = Bootstrap(self.protocol["replicates"], self.protocol["confidence"], self.protocol["seed"])

    def there(self, name: str) -> bool:
        """Whether a part is measured."""
        return (self.folder / f"{name}.json").exists()

    def read(self, name: str) -> Any:
        """A part."""
        return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))

    def means(self, rows: Sequence[Sequence[float]]) -> np.ndarray:
        """Means over resampled sequences ``[row, B]``."""
        table = torch.tensor(np.asarray(rows), dtype=torch.float64)
        return self.bootstrap.means(table, torch.ones(table.shape[1])).numpy()

    def needed(self, name: str, some: slice = slice(None)) -> tuple[float, np.ndarray]:
        """Edges needed beyond the same method with all edges, on the sequences and on resampled ones."""
        found = self.read(f"edges-{name}")
        counts, rows = self.rows(name, some)
        return self.crossing(counts, rows - np.array(found["whole"][some]), self.protocol["allowed"])

    def rows(self, name: str, some: slice = slice(None)) -> tuple[list[int], np.ndarray]:
        """Counts measured and the divergences by sequence."""
        found = {}
        for kind in ("edges", "equal"):
            if self.there(f"{kind}-{name}"):
                found |= {int(n): row["kl"][some] for n, row in self.read(f"{kind}-{name}")["rows"].items()}
        return sorted(found), np.array([found[n] for n in sorted(found)])

    def crossing(self, counts: list[int], rows: np.ndarray, allowed: float) -> tuple[float, np.ndarray]:
        """Where rows of divergences fall to what is allowed, on the sequences and on resampled ones."""

        def one(means: np.ndarray) -> float:
            return crossing(counts, [*means], allowed) if means[-1] <= allowed else float(counts[-1])

        return one(rows.mean(1)), np.array([one(means) for means in self.means(rows.tolist()).T])

    def told(self, value: float, replicates: np.ndarray, form: str = "{:,.0f}") -> str:
        """A number with its interval."""
        low, high = self.bootstrap.interval(replicates)
        return f"{form} ({form} to {form})".format(value, low, high)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[str] = ()) -> str:
    rules = ["---" if i == 0 or head in words else "--:" for i, head in enumerate(heads)]
    return "\n".join(f"| {' | '.join(row)} |" for row in ([*heads], rules, *rows)) if rows else MISSING


def pairs(results: Path, name: str) -> str:
    """How well the dictionaries reconstruct, and what the model is with what they reconstruct."""
    run, rows = Found(results / name), []
    for pair in ("plain", "jacobian"):
        if not run.there(f"reconstruction-{pair}"):
            continue
        found, cells = run.read(f"reconstruction-{pair}"), []
        for site in "xy":
            left = ratio(*np.array(found["shares"][site]))
            cells.append(f"{1 - left.value:.3f} ({1 - left.high:.3f} to {1 - left.low:.3f})")
        for kl in found["kl"].values():
            one = paired(kl)
            cells.append(f"{one.value:.4f} ({one.low:.4f} to {one.high:.4f})")
        dead = " and ".join(f"{share:.1%}" for share in found["dead"])
        rows.append([NAMES[pair], *cells, dead, f"{run.read(f'train-{pair}')['J']:.4f}"])
    heads = [
        "Pair",
        "Explained at x",
        "At y",
        "x replaced, nats",
        "y replaced",
        "Both",
        "Never active, x and y",
        "Mean \\|J\\|",
    ]
    return _table(heads, rows)


def joined(results: Path, name: str) -> str:
    """How many edges each method needs."""
    run, rows = Found(results / name), []
    for method in ("neurons", "pca", "lib", "plain", "jacobian", "inside", "plain-errors", "jacobian-errors"):
        if not run.there(f"edges-{method}"):
            continue
        found = run.read(f"edges-{method}")
        value, replicates = run.needed(method)
        some = slice(None, None, 2) if method == "inside" else slice(None)
        cut = slice(0, len(found["whole"]) * (some.step or 1), some.step)
        active = found["rows"][str(found["passing"])].get("active")
        least = max(float(np.mean(found["whole"])), 0)
        cells = [NAMES[method], str(len(found["whole"])), f"{found['total']:,}", f"{least:.4f}"]
        cells += [run.told(value, replicates), f"{value:,.0f}" if active is None else f"{active:,.0f}"]
        if method != "lib" and run.there("edges-lib"):
            own, others = run.needed("lib", cut)
            cells.append(run.told(value / own, replicates / others, "{:.2f}"))
        else:
            cells.append("")
        free = np.array(run.read(f"free-{method}")) if run.there(f"free-{method}") else None
        whole = None if free is None else np.array(found["whole"])[::2][: len(free)]
        cells.append("" if free is None else f"{np.mean(free - whole):.4f}")
        rows.append([*cells, f"{value * (math.log2(found['total']) + 8) / 8e3:,.0f}"])
    heads = ["Features", "Sequences", "Edges", "With all, nats", "Needed", "At work in a vector", "Of LIB's"]
    return _table([*heads, "Beyond, chosen anew", "Graph, kB"], rows)


def same(results: Path, name: str) -> str:
    """How many edges for the same divergence in all."""
    run, rows = Found(results / name), []
    if not run.there("equal-lib"):
        return MISSING
    for pair, goal in zip(("plain", "jacobian"), run.read("equal-lib")["goals"], strict=True):
        own: tuple[float, np.ndarray] | None = None
        for method in ("lib", "pca", "plain", "jacobian"):
            if not run.there(f"edges-{method}") or (method == "jacobian" and pair == "plain"):
                continue
            counts, table = run.rows(method)
            if method != "jacobian" and not run.there(f"equal-{method}"):
                continue
            allowed = np.array(run.read(f"edges-{pair}")["whole"])  # paired with the dictionary's own
            found = run.crossing(counts, table - allowed, run.protocol["allowed"])
            own = own or found
            of = "" if method == "lib" else run.told(found[0] / own[0], found[1] / own[1], "{:.2f}")
            rows.append([f"{goal:.4f}", NAMES[method], run.told(*found), of])
    return _table(["Divergence in all, nats", "Features", "Edges", "Of LIB's"], rows, ["Features"])


def bits(results: Path, name: str) -> str:
    """Bits that a vector takes at the same divergence."""
    run, rows = Found(results / name), []
    for site in "xy":
        if not run.there(f"length-{site}"):
            continue
        found = run.read(f"length-{site}")
        for method in ("neurons", "pca", "lib", "inside", "plain", "jacobian"):
            for target in ("plain", "jacobian") if method == "jacobian" else ("plain",):
                cells = _bits(run, found, method, target)
                if cells:
                    rows.append([site, NAMES[method], *cells])
    heads = ["Site", "Features", "Divergence, nats", "Bits a vector", "Of the dictionary's", "Plain code"]
    return _table(heads, rows, ["Features"])


def _bits(run: Found, found: dict[str, Any], method: str, target: str) -> list[str] | None:
    """The cells of a method at one divergence; None where that of its own pair is the same."""
    equal, goals = run.protocol["equal"], {t: np.array(found[f"target {t}"]) for t in ("plain", "jacobian")}
    goal = equal * goals[target].mean()
    if target == "jacobian" and goal <= equal * goals["plain"].mean():
        return None
    rows = found[method]
    if min(np.mean(row["kl"]) for row in rows) > goal:
        return [f"{goal:.4f}", "does not get there", "", ""]
    goals_drawn = equal * run.means([goals[target].tolist()])[0]
    value, drawn = _at(run, rows, goal, goals_drawn)
    cells = [f"{goal:.4f}", run.told(value, drawn)]
    own, own_drawn = _at(
        run, found["plain"], equal * goals["plain"].mean(), equal * run.means([goals["plain"].tolist()])[0]
    )
    cells.append(
        "" if method == "plain" or target == "jacobian" else run.told(value / own, drawn / own_drawn, "{:.2f}")
    )
    if method not in ("plain", "jacobian"):
        return [*cells, ""]
    m, k = run.protocol["train"]["latents"], run.protocol["train"]["k"]
    most = next(row["most"] for row in sorted(rows, key=lambda row: -row["step"]) if np.mean(row["kl"]) <= goal)
    return [*cells, f"{math.log2(math.comb(m, k)) + k * math.ceil(math.log2(most + 1)):,.0f}"]


def _at(run: Found, rows: Sequence[Any], goal: float, goals: np.ndarray) -> tuple[float, np.ndarray]:
    """Bits at a divergence: linear in its logarithm between the two nearest widths of steps."""
    found, drawn = np.array([row["bits"] for row in rows]), np.log(run.means([row["kl"] for row in rows]))
    kl = np.log([np.mean(row["kl"]) for row in rows])
    above = max(1, min(int(np.searchsorted(kl, math.log(goal))), len(kl) - 1))
    i = above - 1

    def between(low: Any, high: Any, at: Any) -> Any:
        part = np.clip((at - low) / np.maximum(high - low, 1e-9), -1, 2)
        return found[i] + part * (found[above] - found[i])

    return float(between(kl[i], kl[above], math.log(goal))), between(drawn[i], drawn[above], np.log(goals))


def plain(results: Path, name: str) -> str:
    """How much of one token the contexts of features are."""
    run, rows = Found(results / name), []
    if not run.there("contexts"):
        return MISSING
    found = run.read("contexts")
    for site in "xy":
        for method in ("neurons", "pca", "lib", "inside", "plain", "jacobian"):
            features = found[site][method]
            share = paired([row["share"] for row in features])
            kurtosis = np.median([row["kurtosis"] for row in features])
            cells = [f"{share.value:.2f} ({share.low:.2f} to {share.high:.2f})", f"{found[site]['chance']:.2f}"]
            rows.append([site, NAMES[method], str(len(features)), *cells, f"{kurtosis:,.0f}"])
    heads = ["Site", "Features", "Drawn", "Commonest token", "By chance", "Kurtosis (median)"]
    return _table(heads, rows, ["Features"])


def words(results: Path, name: str) -> str:
    """Tokens where the first features drawn are largest."""
    run, rows = Found(results / name), []
    if not run.there("contexts"):
        return MISSING
    found = run.read("contexts")
    for method in ("pca", "lib", "plain", "jacobian"):
        for row in found["x"][method][: run.protocol["contexts"]["shown"]]:
            told = " · ".join(_plain(" ".join(text.split()[-3:])) for text in row["words"][:4])
            rows.append([NAMES[method], str(row["feature"]), told])
    return _table(
        ["Features", "Number", "Where it is largest (the last word of each)"],
        rows,
        ["Where it is largest (the last word of each)"],
    )


def _plain(text: str) -> str:
    """Text that is a cell of a table."""
    text = " ".join(text.split())
    return "".join(f"\\{c}" if c in "|*_`<>[]\\" else c for c in text)


def costs(results: Path, name: str) -> str:
    """Processor time and memory of each stage."""
    run = Found(results / name)
    found = run.read("costs")
    rows = [
        [told, f"{found[stage]['seconds'] / 60:.1f}", f"{found[stage]['peak_gib']:.1f}"]
        for stage, told in COSTS.items()
        if stage in found
    ]
    return _table(["Stage", "Minutes of one core", "Peak memory, GiB"], rows)


TABLES: dict[str, Callable[[Path, str], str]] = {
    "pairs": pairs,
    "joined": joined,
    "same": same,
    "bits": bits,
    "plain": plain,
    "words": words,
    "costs": costs,
}
