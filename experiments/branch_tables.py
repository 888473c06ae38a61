"""Tables of docs/results.md from the divergences that experiments/language_branches.py has measured."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from experiments.language_branches import SMALLER

from libasis.numerics import Estimate, paired, ratio
from libasis.numerics.resampling import Bootstrap
from libasis.numerics.significance import holm

KINDS = {"mlp": "MLP hidden layer", "heads": "heads' output", "stream": "residual stream"}
METHODS = {"lib": "LIB", "pca": "PCA", "unshrunk": "LIB, unshrunk", "next": "LIB, next place", "random": "LIB turned"}
LEAST = 1e-4
LEVEL = 0.05
Curve = dict[int, list[float]]


def rows_of(file: Path) -> list[dict[str, Any]]:
    """Of a file of lines."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@dataclass(frozen=True)
class Needed:
    """Features for the allowed divergence: on the samples, and on resampled ones ``[B]``."""

    value: float
    replicates: np.ndarray

    def ends(self, bootstrap: Bootstrap) -> tuple[float, float]:
        """The interval."""
        return bootstrap.interval(self.replicates)


class Measured:
    """The divergences of a run, by site; ``also`` those of another file beside."""

    def __init__(self, folder: Path, also: str | None = None) -> None:
        self.made = json.loads((folder / "protocol.json").read_text(encoding="utf-8"))
        self.protocol = self.made["protocol"]
        self.sites = json.loads((folder / "sites.json").read_text(encoding="utf-8"))
        self.found: dict[tuple[str, str, str], Curve] = {}
        files = [folder / f"{name}.jsonl" for name in ("divergences", also) if name]
        for row in [
            json.loads(line) for file in files if file.exists() for line in file.read_text("utf-8").splitlines()
        ]:
            key = row["text"], f"{row['block']}|{row['kind']}", row["method"]
            self.found.setdefault(key, {})[row["features"]] = row["kl"]
        self.bootstrap = Bootstrap(self.protocol["replicates"], self.protocol["confidence"], self.protocol["seed"])

    def curve(self, site: str, method: str, text: str = "text") -> Curve:
        """By count the divergences of all sequences; with all features there is none."""
        found = {**self.found.get((text, site, "none"), {}), **self.found.get((text, site, method), {})}
        return {self.sites[site]["width"]: [0.0] * len(next(iter(found.values()))), **found} if found else found

    @property
    def planned(self) -> list[str]:
        """All sites of the protocol."""
        return [f"{block}|{kind}" for kind in self.protocol["sites"] for block in self.protocol["blocks"]]

    @cached_property
    def done(self) -> list[str]:
        """The sites whose counts are both known."""
        return [site for site in self.planned if "kept" in self.sites[site]]

    def passing(self, site: str, method: str) -> int:
        """The least count measured that passes, from which all larger ones do."""
        rows = sorted((n, float(np.mean(kl))) for n, kl in self.curve(site, method).items())
        failing = [n for n, mean in rows if mean > self.protocol["allowed"]]
        return min(n for n, _ in rows if not failing or n > failing[-1])

    def needed(self, site: str, method: str, allowed: float | None = None) -> Needed:
        """By linear interpolation in the logarithm; with all features there is no divergence."""
        curve = self.curve(site, method)
        counts = sorted(n for n in curve if n < self.sites[site]["width"])
        table = torch.tensor([curve[n] for n in counts], dtype=torch.float64)
        resampled = self.bootstrap.means(table, torch.ones(table.shape[1])).numpy()
        ends = [*counts, self.sites[site]["width"]]
        most = allowed or self.protocol["allowed"]
        return Needed(
            crossing(ends, [*table.mean(1).tolist(), 0.0], most),
            np.array([crossing(ends, [*column, 0.0], most) for column in resampled.T]),
        )

    def lower(self, site: str) -> tuple[bool, float]:
        """Whether LIB's divergence is lower than PCA's at the count at which PCA passes, and the p-value of none."""
        n = self.passing(site, "pca")
        lib = self.curve(site, "lib")
        test = paired(np.subtract(self.curve(site, "pca")[n], lib.get(min(n, self.sites[site]["kept"]), lib.get(n))))
        return test.value > 0, test.p


def crossing(counts: Sequence[int], means: Sequence[float], allowed: float) -> float:
    """Where the divergence falls to what is allowed for good."""
    heights = [math.log(max(mean, LEAST) / allowed) for mean in means]
    failing = [i for i, height in enumerate(heights) if height > 0]
    if not failing:
        return float(counts[0])
    i = failing[-1]
    part = heights[i] / (heights[i] - heights[i + 1])
    return counts[i] + part * (counts[i + 1] - counts[i])


def needed(results: Path, name: str) -> str:
    """How many features each site needs, and what the protocol says of it."""
    run = Measured(results / name)
    corrected = holm([run.lower(site)[1] if site in run.done else 1.0 for site in run.planned])
    rows = [_needed(run, site, p) for site, p in zip(run.planned, corrected, strict=True)]
    return table(["Site", "Width", "Mean alone, nats", "LIB needs", "PCA needs", "Of PCA's", "p", "Verdict"], rows)


def _needed(run: Measured, site: str, p: float) -> list[str]:
    block, kind = site.split("|")
    if site not in run.done:
        return [f"{KINDS[kind]}, block {block}", *[""] * 6, "not measured"]
    alone = float(np.mean(run.curve(site, "lib")[0]))
    cells = [f"{KINDS[kind]}, block {block}", str(run.sites[site]["width"]), f"{alone:.3f}"]
    if alone <= run.protocol["allowed"]:
        return [*cells, "0", "0", "", "", "the mean alone is enough"]
    lib, pca = (run.needed(site, method) for method in ("lib", "pca"))
    counts, ends = compared(lib, pca, run.bootstrap)
    words = verdict(
        lib.value / pca.value, ends, run.protocol["sites"][kind]["at_most"], better=run.lower(site)[0] and p <= LEVEL
    )
    if run.passing(site, "pca") == run.sites[site]["width"]:  # no count is left at which LIB could be lower
        words = "not decided: PCA passes at the end of the grid only"
    return [*cells, *counts, f"{p:.1g}", words]


def compared(lib: Needed, pca: Needed, bootstrap: Bootstrap) -> tuple[list[str], tuple[float, float]]:
    """Cells of both counts and of LIB's share of PCA's, each with its interval; and that of the share."""
    share, ends = lib.value / pca.value, bootstrap.interval(lib.replicates / np.maximum(pca.replicates, 1))
    cells = [f"{one.value:,.0f} ({' to '.join(f'{x:,.0f}' for x in one.ends(bootstrap))})" for one in (lib, pca)]
    return [*cells, f"{share:.2f} ({ends[0]:.2f} to {ends[1]:.2f})"], ends


def smaller(results: Path, name: str) -> str:
    """Features of the heads' output needed for the smaller divergences measured beside the protocol."""
    if not (results / name / "smaller.jsonl").exists():
        return "*Not measured yet.*"
    run, rows = Measured(results / name, "smaller"), []
    for site, allowed in product([site for site in run.done if site.endswith("heads")], SMALLER):
        lib, pca = (run.needed(site, method, allowed) for method in ("lib", "pca"))
        cells, _ = compared(lib, pca, run.bootstrap)
        rows.append([f"heads' output, block {site.split('|')[0]}", f"{allowed:g}", *cells])
    return table(["Site", "Nats", "LIB needs", "PCA needs", "Of PCA's"], rows)


def verdict(share: float, ends: tuple[float, float], at_most: float, *, better: bool) -> str:
    """In the words of the protocol."""
    if ends[0] > 1:
        return "more"
    if ends[1] >= 1 or not better:
        return "no difference found"
    return f"supported (at most {at_most:g})" if share <= at_most else f"fewer, but not {at_most:g}"


def equal(results: Path, name: str) -> str:
    """Divergence at equal counts, of PCA's on the same sequences."""
    run = Measured(results / name)
    rows = []
    for site in run.done:
        block, kind = site.split("|")
        n = run.passing(site, "lib")
        pca = run.curve(site, "pca").get(n)
        if pca is None:
            continue
        cells = [f"{np.mean(kl):.4f}" for kl in (run.curve(site, "lib")[n], pca)]
        for method in ("lib", "unshrunk", "next", "random"):
            other = run.found.get(("text", site, method), {}).get(n)
            cells.append("" if other is None else _with_ends(ratio(other, pca)))
        rows.append([f"{KINDS[kind]}, block {block}", str(n), *cells])
    heads = [
        "Site",
        "Features",
        "LIB, nats",
        "PCA, nats",
        *(f"{METHODS[m]} / PCA" for m in ("lib", "unshrunk", "next", "random")),
    ]
    return table(heads, rows)


def other(results: Path, name: str) -> str:
    """The same bases and counts on another text."""
    run = Measured(results / name)
    rows = []
    for site in run.done:
        block, kind = site.split("|")
        n = run.passing(site, "lib")
        lib, pca = (run.curve(site, method, "other").get(n) for method in ("lib", "pca"))
        if lib is not None and pca is not None:
            values = [f"{np.mean(one):.4f}" for one in (lib, pca)]
            rows.append([f"{KINDS[kind]}, block {block}", str(n), *values, _with_ends(ratio(lib, pca))])
    heads = ["Site", "Features", "LIB, nats", "PCA, nats", "LIB / PCA"]
    return table(heads, rows) if rows else "*Not measured yet.*"


def outliers(results: Path, name: str) -> str:
    """What the first position of a sequence carries, and what is kept of a site without it."""
    run = Measured(results / name)
    rows = []
    for site in run.planned:
        facts, (block, kind) = run.sites[site], site.split("|")
        cells = [f"{facts[key]:,.1f}" for key in ("first_norm", "other_norm")]
        cells += [f"{facts[key]:.2%}" for key in ("first_variance", "first_sensitivity")]
        kept = [f"{facts['kept']}", f"{facts['shrink']:g}", f"{facts['largest']:.1%}"] if "kept" in facts else [""] * 3
        rows.append([f"{KINDS[kind]}, block {block}", *cells, *kept])
    heads = ["Site", "Norm, first", "Norm, others", "Variance", "Sensitivity", "Kept", "Shrinkage", "First feature"]
    return table(heads, rows)


def _with_ends(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    rules = ["---" if head in ("Site", "Verdict") else "--:" for head in heads]
    return "\n".join(f"| {' | '.join(row)} |" for row in ([*heads], rules, *rows))


def curves(results: Path, name: str) -> str:
    """Every mean divergence with its interval, as CSV."""
    heads = ["text", "block", "site", "method", "features", "nats", "low", "high", "sequences"]
    return as_csv([heads, *_points(Measured(results / name, "smaller"))])


def _points(run: Measured) -> Iterator[list[Any]]:
    for (text, site, method), curve in sorted(run.found.items()):
        for n, kl in sorted(curve.items()):
            yield [text, *site.split("|"), method, n, *with_interval(kl)]


def with_interval(kl: list[float]) -> list[Any]:
    """The mean over sequences, its interval and their number."""
    one = paired(kl)
    return [*(f"{x:.5g}" for x in (one.value, one.low, one.high)), len(kl)]


def as_csv(rows: Sequence[Sequence[Any]]) -> str:
    """Rows as text."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
