"""What comes of one row: libasis is asked, and held against the truth."""

from __future__ import annotations

import copy
import re
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import libasis

from .row import Row
from .truth import Probe, importances, parts

TOLERANCE = 1e-6  # of the largest importance; differences are good to about 1e-9
MOST_SITES = 4


@dataclass
class Verdict:
    """What libasis said about a row.

    Attributes:
        status: ``"right"``, ``"refused"``, ``"wrong"`` (silently) or ``"crash"`` (an error that is not ours).
        sites: where it was cut.
        rules: of each section.
        said: the sentence of a refusal, the reason of a slow rule, or how wrong it is.
        error: largest difference from the truth, in units of the largest importance.
        seconds: what libasis took.
        untrue: sites about which `find_sites` says what is not so.
    """

    status: str
    sites: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    said: str = ""
    error: float = 0.0
    seconds: float = 0.0
    untrue: list[str] = field(default_factory=list)

    @property
    def cost(self) -> str:
        """The dearest rule of its sections."""
        for name in ("sketch", "exact"):
            if any(rule.startswith(name) for rule in self.rules):
                return name
        return "closed" if self.rules else ""


def data(row: Row) -> tuple[Any, Any, list[Any]]:
    """An example, another of the same size, and batches of which the second is smaller."""
    draw = lambda n, seed: _like(row, row.inputs(n, torch.Generator().manual_seed(seed)))  # noqa: E731
    return draw(row.size, 0), draw(row.size, 1), [draw(row.size, 2), draw(max(3 * row.size // 4, 1), 3)]


def _like(row: Row, inputs: Any) -> Any:
    dtype = {"float64": torch.float64}.get("float64")
    return pytree.tree_map_only(Tensor, lambda t: t.to(dtype) if t.is_floating_point() else t, inputs)


def judge(row: Row) -> Verdict:
    """Trace, fit, compare."""
    model, plain = row.model(), row.model(plain=True)
    example, other, batches = data(row)
    probe = Probe(plain, row.channels, row.batch)
    start = time.perf_counter()
    untrue: list[str] = []
    sites: list[str] = row.sites.split()
    given, batches_given, example_given = model, batches, example
    if row.dtype is not None:
        own = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
        cast = lambda v: pytree.tree_map_only(Tensor, lambda t: t.to(own) if t.is_floating_point() else t, v)  # noqa: E731
        example_given, batches_given = cast(example), [cast(b) for b in batches]
        example, other, batches = (pytree.tree_map_only(Tensor, lambda t: t.double() if t.is_floating_point() else t, v) for v in (example_given, cast(other), batches_given))
    try:
        if not sites:
            sites, untrue = chosen(given, example_given, probe, example, other)
        asked = [s if len(parts(s)) == 1 else parts(s) for s in sites]
        traced = libasis.trace(given, example_given, asked, mask=row.mask, dtype=row.dtype)
        basis = libasis.fit(traced, batches_given, progress=False)
    except libasis.LibasisError as error:
        return Verdict("refused", sites, said=f"{type(error).__name__}: {error}", seconds=time.perf_counter() - start, untrue=untrue)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)
        own = [f for f in where if "libasis" in f.filename and "/zoo/" not in f.filename]
        at = f"{own[-1].filename.rpartition('libasis/')[2]}:{own[-1].lineno}" if own else "?"
        text = next(iter(str(error).strip().splitlines()), "")[:200]
        return Verdict("crash", sites, said=f"{type(error).__name__} at {at}: {text}", seconds=time.perf_counter() - start, untrue=untrue)
    seconds = time.perf_counter() - start
    rules = [fact["rule"] for fact in basis.info["rules"]]
    why = "; ".join(dict.fromkeys(r for fact in basis.info["rules"] if fact["rule"] in ("exact", "sketch") for r in fact["not"].values()))
    try:
        error, flaw = compare(row, traced, basis, probe, sites, batches, other)
    except (RuntimeError, KeyError, IndexError) as error:
        if row.expect != "refused":
            raise
        error, flaw = float("inf"), f"it was taken, though it cannot be run so ({type(error).__name__})"
    return Verdict("wrong" if flaw else "right", sites, rules, flaw or why, error, seconds, untrue)


def chosen(model: nn.Module, example: Any, probe: Probe, mine: Any, other: Any) -> tuple[list[str], list[str]]:
    """Some sites that `find_sites` offers, spread over the model, and those about which it is wrong."""
    offered = [r.name for r in libasis.find_sites(model, example) if r.ok and not r.name.startswith("output.")]
    values = probe.run(mine, offered)
    distinct: list[str] = []
    for name in offered:
        if not any(values[n].shape == values[name].shape and torch.equal(values[n], values[name]) for n in distinct):
            distinct.append(name)
    last = "output"
    before = [n for n in distinct if not torch.equal(values[n], values[last]) or values[n].shape != values[last].shape]
    untrue = [f"{n}: yes, but goes round" for n in before if probe.cuts(mine, other, n, last) > 1e-7]
    step = max(1.0, len(before) / (MOST_SITES - 1))
    picked = list(dict.fromkeys(before[int(i * step)] for i in range(MOST_SITES - 1) if int(i * step) < len(before)))
    return [*picked, last], untrue


def compare(row: Row, traced: Any, basis: Any, probe: Probe, sites: Sequence[str], batches: Sequence[Any], other: Any) -> tuple[float, str]:
    """The largest difference, and what is wrong."""
    for a, b in zip(sites[:-1], sites[1:], strict=True):
        far = probe.cuts(batches[0], row.inputs(row.size, torch.Generator().manual_seed(9)), a, b) if row.dtype is None else 0.0
        if far > 1e-7:
            return far, f"{a} does not decide {b}: {far:.2g} goes round"
    counted = [_counted(row, b) for b in batches]
    truth = importances(probe, batches, sites, counted)
    worst = 0.0
    for site, (G, M) in zip(basis.sites[:-1], truth, strict=True):
        if site.d != len(G):
            return float("inf"), f"{site.name} is read as {site.d} features instead of {len(G)}"
        g, U = torch.linalg.eigh(G)
        root = (U * g.clamp_min(0).sqrt()) @ U.T
        R = root @ site.C
        top = torch.linalg.eigvalsh(M).flip(0)
        error = float((R @ R.T - M).abs().max() / top[0])
        n = min(len(top), site.k)
        spread = float((site.importances[:n] - top[:n]).abs().max() / top[0])
        error = max(error, spread)
        worst = max(worst, error)
        if not error < TOLERANCE:
            return error, f"at {site.name} importances are {_few(site.importances)}, true are {_few(top)}"
    return worst, ""


def _few(values: Tensor) -> str:
    return "[" + ", ".join(f"{v:.4g}" for v in values[:3].tolist()) + "]"


def _counted(row: Row, batch: Any) -> Tensor | None:
    if row.mask is None:
        return None
    mask = row.mask(batch) if callable(row.mask) else batch[row.mask]
    return mask.bool()


def as_expected(row: Row, verdict: Verdict) -> str:
    """What is not as the row says; empty where all is."""
    if verdict.status in ("wrong", "crash"):
        return f"{verdict.status}: {verdict.said}"
    if (verdict.status == "refused") != (row.expect == "refused"):
        return f"expected {row.expect}, but {verdict.status}: {verdict.said}"
    if row.expect == "refused" and not re.search(row.says, verdict.said):
        return f"refused by another sentence than /{row.says}/: {verdict.said}"
    if row.expect == "closed" and verdict.cost != "closed":
        return f"expected a closed form, but {verdict.rules}: {verdict.said}"
    return "; ".join(verdict.untrue)
