"""The edges of two graphs between matched features, in one unit, with the noise of the sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..graphs.graph import InteractionGraph
from ..interactions.edges import measured_sections, plan_of
from ..interactions.effects import GradientPath
from ..measure import Records
from ..types import Matrix, Plain
from .matching import Match

Array = NDArray[Any]

SPREADS = 3.0
"""Standard errors by which an edge must differ."""
PARTS = 8
"""Parts of the data, at most, whose edges are measured to know the standard error."""


@dataclass(frozen=True, eq=False)
class Shares:
    """Edges between matches of one section and graph.

    Attributes:
        codes: place of each edge, target match times the number of source matches plus source match, ascending.
        values: its share of the target match's whole input.
        variances: of the shares, where edges were estimated: of the draw, with the whole input as known.
        unmatched: share of the section's strength that has a feature without a match at one of its ends.
    """

    codes: Array
    values: Array
    variances: Array
    unmatched: float

    def at(self, codes: Array, values: Array | None = None) -> Array:
        """The shares, or others of their values, at these places; 0 where there is no edge."""
        values = self.values if values is None else values
        place = np.searchsorted(self.codes, codes).clip(max=max(len(self.codes) - 1, 0))
        if not len(self.codes):
            return np.zeros(len(codes))
        return np.where(self.codes[place] == codes, values[place], 0.0)


def match_of(matches: Sequence[Match], side: int, k: int) -> Array:
    """The match of each of the k features of a site in graph ``side`` (0 or 1), -1 for none."""
    of = np.full(k, -1)
    for number, one in enumerate(matches):
        of[(one.a, one.b)[side]] = number
    return of


def shares_of(edges: Matrix, source: Array, target: Array, errors: Tensor | None = None) -> Shares:
    """The edges ``[k_out, k_in]`` of a section between matches; those of features that match as a group are summed.

    ``errors`` are those of the edges above 0, in the order of `InteractionGraph.entries`.
    """
    edges = edges.to_sparse().coalesce()
    strengths, there = edges.values().numpy(), edges.values().numpy() > 0
    strengths, (targets, sources) = strengths[there], edges.indices().numpy()[:, there]
    count = int(source.max(initial=-1)) + 1
    sources, targets = source[sources], target[targets]
    whole = np.bincount(targets + 1, strengths, 1)[1:]
    both = (sources >= 0) & (targets >= 0)
    codes, place = np.unique((targets * count + sources)[both], return_inverse=True)
    of = whole[targets[both]]
    values = np.bincount(place, strengths[both] / of, len(codes))
    errors_of = np.zeros(len(of)) if errors is None else errors.numpy()[both] / of
    variances = np.bincount(place, errors_of**2, len(codes))
    total = strengths.sum()
    return Shares(codes, values, variances, float(1 - strengths[both].sum() / total) if total > 0 else 0.0)


def _errors(graph: InteractionGraph, l: int) -> Tensor | None:
    return graph.errors(l, graph.entries(l)[0]) if graph.sites[l] in graph.stderr else None


class Compared:
    """The sections of two graphs."""

    def __init__(self, graphs: tuple[InteractionGraph, InteractionGraph], matches: Sequence[Sequence[Match]]) -> None:
        self.graphs = graphs
        self.matches = matches
        self.groups = [
            [match_of(one, side, site.k) for one, site in zip(matches, graph.basis, strict=True)]
            for side, graph in enumerate(graphs)
        ]
        self.shares = [
            [shares_of(edges, groups[l], groups[l + 1], _errors(graph, l)) for l, edges in enumerate(graph.edges)]
            for graph, groups in zip(graphs, self.groups, strict=True)
        ]
        self.codes = [np.union1d(one.codes, two.codes) for one, two in zip(*self.shares, strict=True)]
        self.estimated = {l for graph in graphs for l, name in enumerate(graph.sites) if name in graph.stderr}
        self.noise: dict[int, Array] = {}
        for l in self.estimated:
            at = self.codes[l]
            self.noise[l] = np.sqrt(sum(one[l].at(at, one[l].variances) for one in self.shares))

    def measure_noise(self, records: tuple[Records, Records], parts: int, memory: int) -> None:
        """Standard errors of the differences, from parts of the batches, of the sections that were not estimated.

        Those of an estimated section are its draws', which are known: all its positions would take hours.
        """
        exact = [l for l in range(len(self.codes)) if l not in self.estimated]
        variances = {l: np.zeros(len(self.codes[l])) for l in exact}
        for side in (0, 1):
            graph = self.graphs[side]
            options = graph.info.get("quadrature") or {"n_steps": 1, "baseline": "mean"}
            method = graph.info.get("interactions", "gradient")
            path = GradientPath.parse(method, options["n_steps"], options["baseline"])
            top_k = (graph.info.get("top_k") or {}).get("k")
            plan = [[job for job in jobs if job[0] in variances] for jobs in plan_of(graph.basis, top_k, memory, parts)]
            plan = [jobs for jobs in plan if jobs]
            sections = measured_sections(
                records[side], graph.basis, path, plan, top_k=top_k, memory=memory, parts=parts
            )
            for l, section in zip(exact, sections, strict=True):
                source, target = self.groups[side][l : l + 2]
                found = [shares_of(part.matrices()[0], source, target).at(self.codes[l]) for part in section.parts]
                variances[l] += np.var(found, axis=0, ddof=1) / parts
        self.noise |= {l: np.sqrt(variance) for l, variance in variances.items()}

    def edges(self, threshold: float, factor: float) -> tuple[list[Plain], list[Plain]]:
        """Rows of the edges that differ, the largest differences first, and a row per section."""
        rows: list[Plain] = []
        sections: list[Plain] = []
        for l, codes in enumerate(self.codes):
            a, b = (shares[l].at(codes) for shares in self.shares)
            noise = self.noise.get(l, np.zeros(len(codes)))
            real = np.abs(b - a) > SPREADS * noise
            there = np.maximum(a, b) >= threshold
            kinds = np.full(len(codes), "same", dtype=object)
            ratio = np.maximum(a, b) >= factor * np.minimum(a, b)
            kinds[there & real & ratio & (np.minimum(a, b) >= threshold)] = "changed"
            kinds[real & (a < threshold) & (b >= threshold)] = "gained"
            kinds[real & (b < threshold) & (a >= threshold)] = "lost"
            for e in np.flatnonzero(kinds != "same"):
                spread = float(noise[e]) if l in self.noise else None
                rows.append({**self._ends(l, int(codes[e])), "a": float(a[e]), "b": float(b[e]), "noise": spread})
                rows[-1]["kind"] = str(kinds[e])
            counts = {kind: int((kinds == kind).sum()) for kind in ("gained", "lost", "changed")}
            sections.append(
                {
                    "section": self.graphs[0].sites[l],
                    "compared": int(there.sum()),
                    **counts,
                    "same": int(there.sum()) - sum(counts.values()),
                    "unmatched_a": self.shares[0][l].unmatched,
                    "unmatched_b": self.shares[1][l].unmatched,
                }
            )
        return sorted(rows, key=lambda row: -abs(row["b"] - row["a"])), sections

    def _ends(self, l: int, code: int) -> Plain:
        target, source = divmod(code, len(self.matches[l]))
        row: Plain = {"section": self.graphs[0].sites[l]}
        for side, graph in zip("ab", self.graphs, strict=True):
            for end, site, number in (("source", l, source), ("target", l + 1, target)):
                row[f"{end}_{side}"] = [f"{graph.sites[site]}:{i}" for i in getattr(self.matches[site][number], side)]
        return row
