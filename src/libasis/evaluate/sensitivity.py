"""How much a basis depends on the threshold, on how many samples it was fitted with, and on which ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..ablation import ablate_edges
from ..ambient import neutral
from ..arguments import typed
from ..basis import Basis, SiteBasis
from ..build import fit
from ..cut import Traced
from ..data import read_batches, size_of
from ..errors import OptionError
from ..interactions import interactions
from ..provenance import versions
from ..store import Stored
from ..types import Matrix, Plain
from .compare import Study

LEADING = 0.99
"""Leading features are those that together have this share of a site's importance."""

STEADY = 0.01
"""Importances that change by at most this much, relative, count as steady."""


@dataclass(frozen=True)
class Variation:
    """What is varied, one thing at a time.

    Attributes:
        factors: of the automatic threshold, below which directions are dropped.
        shares: of the training samples, the same ones in each larger share.
        seeds: each draws a half of the training samples at random.
        edges: whether to count the edges required each time, on the test samples.
    """

    factors: Sequence[float] = (0.1, 0.3, 1.0, 3.0, 10.0)
    shares: Sequence[float] = (0.1, 0.25, 0.5, 1.0)
    seeds: Sequence[int] = (0, 1, 2, 3)
    edges: bool = True

    def __post_init__(self) -> None:
        if not self.factors or not all(f > 0 for f in self.factors):
            raise OptionError(f"factors is {list(self.factors)}; give factors of the threshold above 0, at least one.")
        if not all(0 < s <= 1 for s in self.shares):
            raise OptionError(f"shares is {list(self.shares)}; give shares of the samples above 0 and up to 1.")


@dataclass(frozen=True, eq=False, repr=False)
class Sensitivity(Stored, kind="sensitivity"):
    """Fits compared with that of all samples and the automatic threshold.

    Attributes:
        samples: how many there are for training.
        reference: per site what that fit kept, and the edges required of the section that starts there.
        fits: a row per fit and site with ``varied`` (``"threshold"``, ``"samples"`` or ``"seed"``), ``value``,
            ``site``, ``kept``, ``change`` and ``change_leading`` (the largest relative change of an importance, over
            the features kept in both fits, and over the leading ones), ``change_total`` (of the sum), ``unsteady`` (the
            share of the importance in features that change by more than 1%), ``agreement`` (see `agreement`) and
            ``edges_required_stable`` of the section that starts there.
        info: how they were made.
    """

    samples: int
    reference: list[Plain]
    fits: list[Plain]
    info: Plain = field(default_factory=dict)

    def rows(self) -> list[Plain]:
        """A row per fit and site."""
        return self.fits

    def __repr__(self) -> str:
        return f"Sensitivity({len(self.fits)} fits and sites, {self.samples} samples)"


@typed
@neutral
def sensitivity(
    traced: Traced,
    train: Iterable[Any],
    test: Iterable[Any],
    variation: Variation | None = None,
    study: Study | None = None,
    *,
    say: Callable[[str], None] | None = None,
) -> Sensitivity:
    """Fit LIB again and again and compare each fit with that of all samples and the automatic threshold.

    Args:
        traced: from `trace` or `Chain`.
        train: batches for the bases; they are held in memory.
        test: pairs (inputs, targets) for the edges required.
        variation: what is varied.
        study: metric, allowed drop and options of the fit and of the ablations.
        say: told in a line what was fitted.
    """
    variation, study, say = variation or Variation(), study or Study(), say or (lambda line: None)
    job = _Job(traced, test, variation, study)
    data = _Samples(traced, train)
    reference = job.fit(data.whole, "auto")
    base = job.edges(reference, data.whole)
    rows = []
    for varied, value, batches, rule in _variations(variation, data):
        basis = job.fit(batches, rule)
        edges = base if varied == "threshold" and value == 1 else job.edges(basis, batches)
        rows += [
            {"varied": varied, "value": value, **_compared(ours, theirs, edges)}
            for ours, theirs in zip(basis.sites[:-1], reference.sites[:-1], strict=True)
        ]
        say(f"{varied} {value:g}")
    kept = [{"site": s.name, "kept": s.k, "edges_required_stable": base.get(s.name)} for s in reference.sites[:-1]]
    return Sensitivity(data.size, kept, rows, {"max_drop": study.max_drop, "versions": versions()})


def _variations(variation: Variation, data: _Samples) -> Iterable[tuple[str, float, Any, str]]:
    """What is varied, its value, training batches and truncation."""
    for factor in variation.factors:
        yield "threshold", factor, data.whole, f"auto:{factor!r}"
    for share in variation.shares:
        yield "samples", share, data.first(share), "auto"
    for seed in variation.seeds:
        yield "seed", seed, data.half(seed), "auto"


class _Job:
    def __init__(self, traced: Traced, test: Iterable[Any], variation: Variation, study: Study) -> None:
        self.traced, self.test, self.variation, self.study = traced, test, variation, study

    def fit(self, batches: Iterable[Any], rule: str) -> Basis:
        options = {"seed": self.study.seed, "progress": False, **self.study.fit, "truncation": rule}
        return fit(self.traced, batches, "lib", **options)

    def edges(self, basis: Basis, batches: Iterable[Any]) -> dict[str, int | None]:
        if not self.variation.edges:
            return {}
        study = self.study
        graph = interactions(self.traced, basis, batches, progress=False, **study.interactions)
        shared = {"metric": study.metric, "max_drop": study.max_drop, "progress": False}
        return ablate_edges(self.traced, graph, self.test, **{**study.ablate_edges, **shared}).edges_required_stable


def _compared(ours: SiteBasis, theirs: SiteBasis, edges: dict[str, int | None]) -> Plain:
    both = min(ours.k, theirs.k)
    change = (ours.importances[:both] / theirs.importances[:both] - 1).abs()
    leading = min(both, leading_features(theirs))
    total = float(ours.importances.sum() / theirs.importances.sum() - 1)
    return {
        "site": ours.name,
        "kept": ours.k,
        "change": float(change.max()),
        "leading": leading,
        "change_leading": float(change[:leading].max()),
        "change_total": abs(total),
        "unsteady": float(theirs.importances[:both][change > STEADY].sum() / theirs.importances.sum()),
        "agreement": agreement(ours, theirs),
        "edges_required_stable": edges.get(ours.name),
    }


def leading_features(site: SiteBasis) -> int:
    """How many of the most important features have `LEADING` of the importance."""
    share = site.importances.cumsum(0) / site.importances.sum()
    return int((share < LEADING).sum()) + 1


def agreement(ours: SiteBasis, theirs: SiteBasis) -> float:
    r"""How well the leading features of one basis are found again in another, from 0 to 1.

    For each leading feature of ``theirs`` the largest :math:`|\mathrm{corr}|` with any feature of ours, the mean
    weighted by importance. Correlations are those on the data of theirs, on which its own features are uncorrelated:
    :math:`\hat f_{theirs} C^+_{theirs} C_{ours}` for what theirs keeps.
    """
    leading = leading_features(theirs)
    through: Matrix = theirs.C_pinv @ ours.C  # [k_theirs, k_ours]
    spread = theirs.variances.sqrt()[:, None] * through
    scale = spread.square().sum(0).sqrt()
    correlation = (spread / torch.where(scale > 0, scale, torch.ones_like(scale))).abs()
    weights = theirs.importances[:leading]
    return float((weights * correlation[:leading].amax(1)).sum() / weights.sum())


class _Samples:
    """Training samples in memory, to take some of them."""

    def __init__(self, traced: Traced, batches: Iterable[Any]) -> None:
        self.whole = [traced.structure.joined(batch) for batch in read_batches(batches, traced.structure)]
        self.batch = max(size_of(batch) for batch in self.whole)
        self.all = pytree.tree_map(lambda *parts: torch.cat(parts), *self.whole)
        self.size = size_of(self.all)

    def first(self, share: float) -> list[Any]:
        order = torch.randperm(self.size, generator=torch.Generator().manual_seed(0))
        return self._rows(order[: max(2, round(share * self.size))]) if share < 1 else self.whole

    def half(self, seed: int) -> list[Any]:
        order = torch.randperm(self.size, generator=torch.Generator().manual_seed(seed + 1))
        return self._rows(order[: max(2, self.size // 2)])

    def _rows(self, rows: Tensor) -> list[Any]:
        return [pytree.tree_map(lambda x, r=part: x[r], self.all) for part in rows.sort().values.split(self.batch)]
