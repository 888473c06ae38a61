"""Bases compared on one model: how few features and edges of each keep the score, with bootstrap intervals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..ablation import EdgeAblation, NodeAblation, SampleScores, ablate_edges, ablate_nodes
from ..ambient import neutral
from ..arguments import typed
from ..basis import Basis
from ..build import fit
from ..cut import Traced
from ..errors import OptionError
from ..interactions import interactions
from ..intervene import Allowance, MetricSpec
from ..provenance import versions
from ..types import Plain
from .comparison import Comparison
from .resample import Bootstrap, curve_band, replicate_counts
from .rotation import random_rotation
from .summary import summarise
from .superposition import feature_statistics, recovered

METHODS = ("lib", "sparse", "pca", "neuron", "global", "random")
"""What `compare` knows: the methods of `libasis.fit`, LIB rotated for few edges, LIB rotated at random."""

Rows = tuple[list[Plain], dict[str, list[int | None]]]


@dataclass(frozen=True)
class Study:
    """What is measured of every basis.

    Attributes:
        metric: see `libasis.ablate_edges`.
        max_drop: the worsening of the score that is allowed.
        nodes: whether to ablate features.
        edges: whether to ablate edges.
        bootstrap: how to resample the test samples.
        seed: of random rotations and random rules.
        fit: further keyword options of `libasis.fit`.
        interactions: of `libasis.interactions`.
        ablate_nodes: of `libasis.ablate_nodes`.
        ablate_edges: of `libasis.ablate_edges`.
    """

    metric: MetricSpec = "accuracy"
    max_drop: float = 0.001
    nodes: bool = True
    edges: bool = True
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    seed: int = 0
    fit: Plain = field(default_factory=dict)
    interactions: Plain = field(default_factory=dict)
    ablate_nodes: Plain = field(default_factory=dict)
    ablate_edges: Plain = field(default_factory=dict)


@typed
@neutral
def compare(
    traced: Traced,
    train: Iterable[Any],
    test: Iterable[Any],
    methods: Iterable[str] = METHODS,
    study: Study | None = None,
    *,
    done: Mapping[str, Plain] | None = None,
    each: Callable[[str, Plain], None] | None = None,
    describe: Callable[[Traced, Basis], Plain] | None = None,
) -> Comparison:
    """Fit each basis on the training data and ablate it on the test data.

    Args:
        traced: from `trace` or `Chain`.
        train: batches for bases and interactions.
        test: pairs (inputs, targets) that the bases were not fitted on.
        methods: some of `METHODS`.
        study: what is measured.
        done: results of an earlier call by method, which are taken as they are.
        each: told the method and its result as soon as there is one.
        describe: gives further plain facts of a basis, kept at ``"labels"``.

    Returns:
        The results by method, as ``runs["model"]``, and their summary.

    Raises:
        OptionError: a method is unknown.
    """
    methods, study, found = list(methods), study or Study(), dict(done or {})
    if unknown := [m for m in methods if m not in METHODS]:
        raise OptionError(f"methods names {unknown}; use some of {list(METHODS)}.")
    bases = _Bases(traced, train, study)
    for method in methods:
        if method not in found:
            found[method] = _Method(traced, train, test, study).run(bases, method, describe)
            if each is not None:
                each(method, found[method])
    runs = {"model": {method: found[method] for method in methods}}
    return Comparison(runs, summarise(runs, study.bootstrap), {"max_drop": study.max_drop, "versions": versions()})


class _Bases:
    """Fits bases; LIB, from which others are made, once."""

    def __init__(self, traced: Traced, train: Iterable[Any], study: Study) -> None:
        self.traced, self.train, self.study = traced, train, study
        self.lib: Basis | None = None

    def of(self, method: str) -> Basis:
        if method == "random":
            self.lib = self.lib or self._fit("lib")
            return random_rotation(self.lib, seed=self.study.seed)
        if method == "sparse":
            return self._fit("lib", sparse=True)
        found = self._fit(method)
        if method == "lib":
            self.lib = found
        return found

    def _fit(self, method: str, **options: Any) -> Basis:
        options = {"seed": self.study.seed, "progress": False, **self.study.fit, **options}
        return fit(self.traced, self.train, method, **options)


class _Method:
    """One basis: its fit, its edges, its ablations."""

    def __init__(self, traced: Traced, train: Iterable[Any], test: Iterable[Any], study: Study) -> None:
        self.traced, self.train, self.test, self.study = traced, train, test, study
        self.seconds: dict[str, float] = {}

    def run(self, bases: _Bases, method: str, describe: Callable[[Traced, Basis], Plain] | None) -> Plain:
        study = self.study
        basis = self._timed("fit", lambda: bases.of(method))
        shared = {"metric": study.metric, "max_drop": study.max_drop, "per_sample": True, "progress": False}
        out: Plain = {"method": method, "sites": feature_statistics(self.traced, basis, self.test)}
        out["labels"] = None if describe is None else describe(self.traced, basis)
        replicates: dict[str, dict[str, list[int | None]]] = {}
        if study.nodes:
            options = {**study.ablate_nodes, **shared}
            nodes = self._timed("nodes", lambda: ablate_nodes(self.traced, basis, self.test, **options))
            out["nodes"], replicates["nodes"] = self._nodes(nodes, basis)
            out.update(_base(nodes))
        if study.edges:
            graph = self._timed(
                "interactions",
                lambda: interactions(self.traced, basis, self.train, progress=False, **study.interactions),
            )
            options = {**study.ablate_edges, **shared}
            edges = self._timed("edges", lambda: ablate_edges(self.traced, graph, self.test, **options))
            out["edges"], replicates["edges"] = self._edges(edges, basis)
            out.update(_base(edges))
        return {**out, "replicates": replicates, "cpu_seconds": self.seconds}

    def _timed(self, name: str, work: Callable[[], Any]) -> Any:
        start = time.process_time()
        out = work()
        self.seconds[name] = time.process_time() - start
        return out

    def _nodes(self, result: NodeAblation, basis: Basis) -> Rows:
        def row(name: str, needed: int | None, ends: Plain, scores: SampleScores) -> Plain:
            site, curve = basis[name], result.curves[name]
            band = curve_band(scores, name, self.study.bootstrap)
            return {
                "site": name,
                "d": site.d,
                "k": site.k,
                "features_required_stable": needed,
                **ends,
                "recovered": recovered(curve, result.base_score, site.d),
                "curve": [[count, score, *band[count]] for count, score in curve.items()],
            }

        return self._rows(result, row)

    def _edges(self, result: EdgeAblation, basis: Basis) -> Rows:
        names = [site.name for site in basis]

        def row(name: str, needed: int | None, ends: Plain, scores: SampleScores) -> Plain:
            return {
                "section": name,
                "to": names[names.index(name) + 1],
                "edges_total": result.edges_total[name],
                "edges_required": result.edges_required[name],
                "edges_required_stable": needed,
                **ends,
                "curve": [list(point) for point in result.curves[name].items()],
            }

        return self._rows(result, row)

    def _rows(self, result: NodeAblation | EdgeAblation, row: Callable[..., Plain]) -> Rows:
        """Rows with the smallest count from which every larger one passes and its interval, and its replicates."""
        assert result.per_sample is not None  # asked for above
        rows, replicates = [], {}
        allowance, bootstrap = Allowance(self.study.max_drop, result.higher_is_better), self.study.bootstrap
        for name, curve in result.curves.items():
            counts = replicate_counts(result.per_sample, name, allowance, bootstrap)
            ends = dict(zip(("low", "high"), _plain(bootstrap.interval(counts)), strict=True))
            rows.append(row(name, allowance.stable(result.base_score, curve), ends, result.per_sample))
            replicates[name] = _plain(counts)
        return rows, replicates


def _plain(counts: Iterable[float]) -> list[int | None]:
    """Counts for JSON: None in place of infinity, where no count passes."""
    return [int(c) if np.isfinite(c) else None for c in counts]


def _base(result: NodeAblation | EdgeAblation) -> Plain:
    return {key: getattr(result, key) for key in ("metric", "higher_is_better", "base_score", "samples")}
