"""The edges of two graphs between matched features, in one unit, with the noise of the sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cut import Traced
from ..graphs.graph import InteractionGraph
from ..interactions.edges import interactions
from ..types import Plain
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
        unmatched: share of the section's strength that has a feature without a match at one of its ends.
    """

    codes: Array
    values: Array
    unmatched: float

    def at(self, codes: Array) -> Array:
        """The shares at these places, 0 where there is no edge."""
        place = np.searchsorted(self.codes, codes).clip(max=max(len(self.codes) - 1, 0))
        if not len(self.codes):
            return np.zeros(len(codes))
        return np.where(self.codes[place] == codes, self.values[place], 0.0)


def shares_of(graph: InteractionGraph, l: int, matches: Sequence[Sequence[Match]], side: int) -> Shares:
    """The edges of section l between matches; those of features that match as a group are summed."""
    places, strengths, _ = graph.entries(l)
    (targets, sources), strengths = places.numpy(), strengths.numpy()
    source = _group_of(matches[l], side, graph.basis[l].k)[sources]
    target = _group_of(matches[l + 1], side, graph.basis[l + 1].k)[targets]
    whole = np.bincount(target + 1, strengths, len(matches[l + 1]) + 1)[1:]
    both = (source >= 0) & (target >= 0)
    codes, place = np.unique((target * len(matches[l]) + source)[both], return_inverse=True)
    values = np.bincount(place, (strengths[both] / whole[target[both]]), len(codes))
    total = strengths.sum()
    return Shares(codes, values, float(1 - strengths[both].sum() / total) if total > 0 else 0.0)


def _group_of(matches: Sequence[Match], side: int, k: int) -> Array:
    """The match of each feature, -1 for none."""
    out = np.full(k, -1)
    for number, one in enumerate(matches):
        out[(one.a, one.b)[side]] = number
    return out


class Compared:
    """The sections of two graphs.

    Args:
        graphs: A and B.
        matches: per site.
    """

    def __init__(self, graphs: tuple[InteractionGraph, InteractionGraph], matches: Sequence[Sequence[Match]]) -> None:
        self.graphs = graphs
        self.matches = matches
        count = len(graphs[0].edges)
        self.shares = [[shares_of(graph, l, matches, side) for l in range(count)] for side, graph in enumerate(graphs)]
        self.codes = [np.union1d(one.codes, two.codes) for one, two in zip(*self.shares, strict=True)]
        self.noise: list[Array] | None = None

    def measure_noise(self, traced: tuple[Traced, Traced], batches: Iterable[Any], progress: bool | None) -> int:
        """Standard errors of the differences, from parts of the batches; returns their number, 0 for one batch."""
        parts = min(PARTS, sum(1 for _ in batches))
        if parts < 2:
            return 0
        variances = [np.zeros(len(codes)) for codes in self.codes]
        for side in (0, 1):
            found = [self._measured(side, traced[side], Part(batches, p, parts), progress) for p in range(parts)]
            for variance, values in zip(variances, zip(*found, strict=True), strict=True):
                variance += np.var(values, axis=0, ddof=1) / parts
        self.noise = [np.sqrt(variance) for variance in variances]
        return parts

    def _measured(self, side: int, traced: Traced, batches: Iterable[Any], progress: bool | None) -> list[Array]:
        """The shares at all places, measured on other data in the same way."""
        graph = self.graphs[side]
        path = graph.info.get("quadrature") or {}
        kept = graph.info.get("top_k") or {}
        part = interactions(
            traced,
            graph.basis,
            batches,
            method=graph.info.get("interactions", "gradient"),
            n_steps=path.get("n_steps", 8),
            baseline=path.get("baseline", "mean"),
            top_k=kept.get("k"),
            progress=progress,
        )
        return [shares_of(part, l, self.matches, side).at(codes) for l, codes in enumerate(self.codes)]

    def edges(self, threshold: float, factor: float) -> tuple[list[Plain], list[Plain]]:
        """Rows of the edges that differ, the largest differences first, and a row per section."""
        rows: list[Plain] = []
        sections: list[Plain] = []
        for l, codes in enumerate(self.codes):
            a, b = (shares[l].at(codes) for shares in self.shares)
            noise = np.zeros(len(codes)) if self.noise is None else self.noise[l]
            real = np.abs(b - a) > SPREADS * noise
            there = np.maximum(a, b) >= threshold
            kinds = np.full(len(codes), "same", dtype=object)
            ratio = np.maximum(a, b) >= factor * np.minimum(a, b)
            kinds[there & real & ratio & (np.minimum(a, b) >= threshold)] = "changed"
            kinds[real & (a < threshold) & (b >= threshold)] = "gained"
            kinds[real & (b < threshold) & (a >= threshold)] = "lost"
            for e in np.flatnonzero(kinds != "same"):
                spread = None if self.noise is None else float(noise[e])
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


@dataclass(frozen=True)
class Part:
    """Every ``step``-th batch, from the ``first``."""

    batches: Iterable[Any]
    first: int
    step: int

    def __iter__(self) -> Iterator[Any]:
        return (batch for i, batch in enumerate(self.batches) if i % self.step == self.first)
