"""Edges beside what was measured by replacing the features they start from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import pages
from ..arguments import typed
from ..numerics import Bootstrap
from ..store import Stored, listed
from ..types import Matrix, Plain

FEW = 5
"""Below so many source features there is no interval."""


@dataclass(frozen=True, eq=False, repr=False)
class EdgeEffects(Stored, kind="edge-effects"):
    """Edges held against interventions, see `libasis.edge_effects`.

    Attributes:
        tested: one mapping for each edge tested and kind of replacement: ``source``, ``target``, ``to``, ``edge`` (its
            strength E), ``measured`` (the mean squared change, ``_low`` and ``_high`` its interval), ``random`` (the
            mean of the same over random directions of the source), ``p_random`` (its rank among these), ``signed``
            (the mean change), ``path`` (the change of the score by this edge alone), ``random_path`` (the mean size of
            the same of the random directions) and ``p_random_path`` (its rank), ``whole`` (the change of the score
            when everything changes), p-values, samples and units.
        calibration: one mapping for each section and kind: ``section``, ``to``, ``pairs``, ``sources``, ``spearman``
            (the rank correlation of E and what was measured, over all pairs), ``low`` and ``high`` (its 95% interval
            over resampled source features), ``within`` (the same within each target feature, the mean over these),
            ``ratio`` (the sum measured over the sum of E) and ``slope`` (of the
            logarithms).
        sources: numbers of the features replaced, by section.
        strengths: E by section, ``[sources, k_out]``.
        measured: mean squared changes by section, ``[kinds, sources, k_out]``.
        to: the kinds of replacement.
        sites: names of the sites.
        metric: of the paths.
        info: data, controls, seed, graph, model, versions.
    """

    tested: list[Plain]
    calibration: list[Plain]
    sources: list[list[int]]
    strengths: list[Matrix]
    measured: list[Tensor]
    to: tuple[str, ...]
    sites: tuple[str, ...]
    metric: str
    info: Plain = field(default_factory=dict)

    def rows(self) -> list[Plain]:
        """A row for each edge tested and kind of replacement."""
        return self.tested

    def flaw(self) -> str | None:
        """What makes it no such result; None if it is one."""
        shapes = [[len(self.to), *strength.shape] for strength in self.strengths]
        if [list(x.shape) for x in self.measured] != shapes or len(self.sites) != len(shapes) + 1:
            return "what was measured is not of its edges"
        return None

    @typed
    def to_html(self, path: str | Path, lang: str = "en") -> Path:
        """Write a self-contained page; ``"en"`` or ``"ja"``, which can be switched in it.

        Raises:
            OptionError: the language is unknown.
            StoreError: there is a file that is no page of libasis, or it cannot be written.
        """
        return pages.write_page(self, path, lang)

    def __repr__(self) -> str:
        rows = [
            f"  {row['section']} to {row['to']}: rank correlation {row['spearman']:.2f}"
            + ("" if row["low"] is None else f" [{row['low']:.2f}, {row['high']:.2f}]")
            + f", measured / E = {row['ratio']:.3g}"
            for row in self.calibration
        ]
        return listed(f"EdgeEffects({len(self.tested)} tests of edges, metric={self.metric!r})", rows)


def calibrate(
    section: str, strengths: Matrix, measured: Tensor, to: Sequence[str], bootstrap: Bootstrap
) -> Iterator[Plain]:
    """How edges ``[sources, k_out]`` and mean squared changes ``[kinds, sources, k_out]`` go together.

    The interval is that of resampled source features: all edges from one feature come from the same runs.
    """
    edges = strengths.numpy()
    draws = torch.cat(list(bootstrap.draws(len(edges)))).long().numpy() if len(edges) >= FEW else None
    for kind, found in zip(to, measured.numpy(), strict=True):
        low = high = None
        if draws is not None:
            rows = [np.repeat(np.arange(len(edges)), times) for times in draws]
            values = np.array([spearman(edges[r], found[r]) for r in rows])
            values = values[~np.isnan(values)]
            low, high = bootstrap.interval(values) if len(values) else (None, None)
        whole, rank = edges.sum(), spearman(edges, found)
        yield {
            "section": section,
            "to": kind,
            "pairs": edges.size,
            "sources": len(edges),
            "spearman": None if np.isnan(rank) else rank,
            "low": low,
            "high": high,
            "within": _within(edges, found),
            "ratio": float(found.sum() / whole) if whole > 0 else None,
            "slope": _slope(edges, found),
        }


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation of two arrays, equal values sharing their ranks; nan where one is constant."""
    from scipy.stats import rankdata

    a, b = (rankdata(x) for x in (one, other))
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / size) if size > 0 else float("nan")


def _within(edges: np.ndarray, found: np.ndarray) -> float | None:
    """The mean over target features of the rank correlation over the sources of each."""
    values = [spearman(a, b) for a, b in zip(edges.T, found.T, strict=True)] if len(edges) >= FEW else []
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else None


def _slope(edges: np.ndarray, found: np.ndarray) -> float | None:
    """Of the logarithms of what was measured on those of the edges, by least squares, where both are above 0."""
    both = (edges > 0) & (found > 0)
    if both.sum() < 3 or np.ptp(np.log(edges[both])) == 0:
        return None
    return float(np.polyfit(np.log(edges[both]), np.log(found[both]), 1)[0])
