"""What comes of one row: libasis is asked, and held against the truth."""

from __future__ import annotations

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
Pair = tuple[Any, Any]


@dataclass
class Verdict:
    """What libasis said about a row.

    Attributes:
        status: ``"right"``, ``"refused"``, ``"wrong"`` (silently) or ``"crash"`` (an error that is not ours).
        sites: where it was cut.
        rules: of each section.
        said: the sentence of a refusal, why a rule was slow, or how wrong it is.
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


def judge(row: Row) -> Verdict:
    """Trace, fit, compare."""
    model, probe = row.model(), Probe(row.model(plain=True), row.channels, row.batch, row.dtype is not None)
    own = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    given = [_floats(draw, own if row.dtype else torch.float64) for draw in _draws(row)]
    example, other, *batches = (_floats(draw, torch.float64) for draw in given)  # the same numbers, if rounded
    verdict, start = Verdict("", row.sites.split()), time.process_time()
    try:
        if verdict.sites in ([], ["norms"]):
            norms = bool(verdict.sites)
            verdict.sites, verdict.untrue = chosen(model, given[0], probe, (example, other), norms=norms)
        asked = [site if len(parts(site)) == 1 else parts(site) for site in verdict.sites]
        traced = libasis.trace(model, given[0], asked, mask=row.mask, dtype=row.dtype)
        basis = libasis.fit(traced, given[2:], progress=False)
    except libasis.LibasisError as error:
        verdict.status, verdict.said = "refused", f"{type(error).__name__}: {error}"
    except Exception as error:  # a bug, whatever it is
        verdict.status, verdict.said = "crash", _place(error)
    else:
        _hold_against_truth(row, basis, probe, verdict, batches, (example, other))
    verdict.seconds = time.process_time() - start
    return verdict


def _draws(row: Row) -> list[Any]:
    """An example, another of the same size, and batches of which the second is smaller."""
    sizes = row.size, row.size, row.size, max(3 * row.size // 4, 1)
    return [row.inputs(n, torch.Generator().manual_seed(seed)) for seed, n in enumerate(sizes)]


def _floats(inputs: Any, dtype: torch.dtype) -> Any:
    return pytree.tree_map_only(Tensor, lambda t: t.to(dtype) if t.is_floating_point() else t, inputs)


def _place(error: Exception) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/libasis/" in f.filename]
    at = f"{frames[-1].filename.rpartition('/libasis/')[2]}:{frames[-1].lineno}" if frames else "?"
    text = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__} at {at}: {text[:200]}"


def _hold_against_truth(row: Row, basis: Any, probe: Probe, verdict: Verdict, batches: list[Any], pair: Pair) -> None:
    rules = basis.info["rules"]
    verdict.rules = [fact["rule"] for fact in rules]
    slow = [reason for fact in rules if not fact["rule"].startswith("closed") for reason in fact["not"].values()]
    try:
        verdict.error, flaw = compare(row, basis, probe, verdict.sites, batches, pair)
    except (RuntimeError, KeyError, IndexError) as error:
        if row.expect != "refused":
            raise
        flaw = f"it was taken, though it cannot be run so ({type(error).__name__})"
    verdict.status, verdict.said = ("wrong", flaw) if flaw else ("right", "; ".join(dict.fromkeys(slow)))


def chosen(model: nn.Module, given: Any, probe: Probe, pair: Pair, *, norms: bool) -> tuple[list[str], list[str]]:
    """Some sites that `find_sites` offers, spread over the model, and those about which it is wrong."""
    kinds = {r.name: r.module for r in libasis.find_sites(model, given) if r.ok and not r.name.startswith("output.")}
    offered = sorted(kinds, key=lambda name: norms and "Norm" not in kinds[name])
    values, last = probe.run(pair[0], offered), "output"
    before: list[str] = []
    for name in [last, *offered]:
        if not any(values[n].shape == values[name].shape and torch.equal(values[n], values[name]) for n in before):
            before.append(name)
    before.remove(last)
    untrue = [f"find_sites offers {n!r}, but it goes round" for n in before if probe.goes_round(*pair, n, last) > 1e-7]
    if norms and (fronts := [n for n in before if n.endswith(":in") and "Norm" in kinds[n]]):
        return [*fronts, last], untrue
    step = max(1.0, len(before) / (MOST_SITES - 1))
    places = {int(i * step) for i in range(MOST_SITES - 1)}
    return [*(name for i, name in enumerate(before) if i in places), last], untrue


def compare(
    row: Row, basis: Any, probe: Probe, sites: Sequence[str], batches: Sequence[Any], pair: Pair
) -> tuple[float, str]:
    """The largest difference from the truth, and what is wrong."""
    for a, b in zip(sites[:-1], sites[1:], strict=True):
        if (far := probe.goes_round(*pair, a, b)) > 1e-7:
            return far, f"{a} does not decide {b}: {far:.2g} goes round"
    truth = importances(probe, batches, sites, [_counted(row, batch) for batch in batches])
    worst = 0.0
    for site, (G, M) in zip(basis.sites[:-1], truth, strict=True):
        if site.d != len(G):
            return float("inf"), f"{site.name} is read as {site.d} features instead of {len(G)}"
        g, U = torch.linalg.eigh(G)
        R = (U * g.clamp_min(0).sqrt()) @ U.T @ site.C
        top = torch.linalg.eigvalsh(M).flip(0)
        spectrum = torch.cat([site.importances, torch.zeros(len(top) - site.k, dtype=torch.float64)])
        error = float(torch.stack([(R @ R.T - M).abs().max(), (spectrum - top).abs().max()]).max() / top[0])
        worst = max(worst, error)
        if not error < TOLERANCE:
            return error, f"at {site.name} importances are {_few(site.importances)}, true are {_few(top)}"
    return worst, ""


def _few(values: Tensor) -> str:
    return "[" + ", ".join(f"{v:.4g}" for v in values[:3].tolist()) + "]"


def _counted(row: Row, batch: Any) -> Tensor | None:
    if row.mask is None:
        return None
    return (row.mask(batch) if callable(row.mask) else batch[row.mask]).bool()


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
