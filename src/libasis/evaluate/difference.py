"""What differs between two graphs: features, and the edges between those that both have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..ambient import neutral
from ..arguments import typed
from ..basis import SiteBasis, check_fits
from ..cut import Traced
from ..errors import OptionError
from ..graphs.graph import InteractionGraph
from ..measure import Records, measure, shares
from ..pages import write_page
from ..provenance import versions
from ..store import Stored
from ..types import Plain
from .edge_shares import PARTS, Compared
from .matching import Joint, JointMoments, Match, by_directions, match


@dataclass(frozen=True, eq=False)
class GraphDiff(Stored, kind="diff"):
    """Two graphs side by side, as plain data.

    Attributes:
        features: one row per match: ``site``, ``a`` and ``b`` (lists of ids; several where features of nearly equal
            importance match as one subspace), ``similarity`` (absolute correlation, of subspaces the root mean square
            of the canonical correlations), ``importance_a`` and ``importance_b`` (shares of their site's).
        only_a: one row per feature that only A has: ``id``, ``site``, ``importance``, and ``nearest``, ``similarity``:
            the feature of B that is most correlated.
        only_b: the same for B.
        edges: one row per edge between matched features that differs: ``section``, ``source_a``, ``target_a``,
            ``source_b``, ``target_b``, strengths ``a`` and ``b`` (shares of the target's input), ``noise`` (standard
            error of their difference, or None) and ``kind``: ``"gained"``, ``"lost"`` or ``"changed"``. The largest
            differences first.
        sections: one row per section: ``compared``, ``gained``, ``lost``, ``changed``, ``same`` (edges of matched
            features), and ``unmatched_a``, ``unmatched_b``: the share of each graph's strength at features that have
            no match.
        info: how it was made.
        coordinates: one row per coordinate whose mean differs, of sites with the same coordinates in both: ``site``,
            ``coordinate``, its means ``a`` and ``b`` on the data of each fit, and ``difference`` in standard deviations
            of A's; of each site the largest ones first.
    """

    features: list[Plain]
    only_a: list[Plain]
    only_b: list[Plain]
    edges: list[Plain]
    sections: list[Plain]
    info: Plain = field(default_factory=dict)
    coordinates: list[Plain] = field(default_factory=list)

    def rows(self) -> list[Plain]:
        """The edges that differ, the largest differences first."""
        return [{key: "+".join(c) if isinstance(c, list) else c for key, c in row.items()} for row in self.edges]

    def to_html(self, path: str | Path, lang: str = "en", *, title: str | None = None) -> Path:
        """Write a self-contained page that shows it; opens in English or Japanese."""
        return write_page(self, path, lang, title=title)

    def sites(self) -> list[Plain]:
        """One row per site: matched features of A and of B, those only in one, mean similarity of the matches."""
        rows = []
        for site in self.info["sites"]:
            matches = [row for row in self.features if row["site"] == site]
            alike = [row["similarity"] for row in matches]
            rows.append(
                {
                    "site": site,
                    "matched": sum(len(row["a"]) for row in matches),
                    "only_a": sum(row["site"] == site for row in self.only_a),
                    "only_b": sum(row["site"] == site for row in self.only_b),
                    "importance_matched_a": sum(row["importance_a"] for row in matches),
                    "importance_matched_b": sum(row["importance_b"] for row in matches),
                    "similarity": float(np.mean(alike)) if alike else None,
                }
            )
        return rows

    def __repr__(self) -> str:
        kinds = {kind: sum(row["kind"] == kind for row in self.edges) for kind in ("gained", "lost", "changed")}
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        matched = sum(len(row["a"]) for row in self.features)
        alone = f"{len(self.only_a)} only in A, {len(self.only_b)} only in B"
        return f"GraphDiff({matched} features matched, {alone}; edges: {counts})"


@typed
@neutral
def diff(
    a: InteractionGraph,
    b: InteractionGraph,
    *,
    traced: Traced | tuple[Traced, Traced] | None = None,
    batches: Iterable[Any] | None = None,
    least: float = 0.8,
    tolerance: float = 0.05,
    threshold: float = 0.01,
    factor: float = 2.0,
    columns: Sequence[str] | None = None,
    progress: bool | None = None,
    memory: int | str = "auto",
) -> GraphDiff:
    """What differs between two graphs: of two models, of two groups of data, or before and after training.

    Features are matched by what they are and not by their number, see `libasis.evaluate.matching.match`. Without
    data they are compared by their directions, which needs the same coordinates; with ``traced`` and ``batches`` by the
    correlation of their values on the same samples, which any two models allow.

    Edges are compared between matched features only, as shares of the input of the feature they lead to, so that
    neither its scale nor that of another section matters. One that only one graph has at ``threshold`` is gained or
    lost; one that both have is changed where it differs by ``factor``. With data, the edges of both graphs are also
    measured on up to eight parts of the batches, and a difference counts only above three standard errors. That is the
    noise of the sample for bases as they are; that of fitting the bases anew is not in it. Without data there is no
    noise estimate, and ``info["noise"]`` says so. Edges estimated from drawn positions have the standard error of
    the draw instead, with data or without.

    Args:
        a: one graph.
        b: the other, with the same number of sites.
        traced: the cut model of both, or a pair: that of A and that of B.
        batches: inputs that both models understand, or what `keep` returned for one of them.
        least: similarity from which features match.
        tolerance: importances that differ by less than this share are nearly equal.
        threshold: share of a feature's input from which an edge counts as there.
        factor: ratio of strengths from which an edge counts as changed.
        columns: names of the coordinates of the first site: of the inputs' columns, where it holds these. Graphs that
            were measured on tables (`libasis.data.read`) know theirs, and also compare the columns themselves.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for what one batch's products may hold, and for the activations of each model kept
            between passes.

    Raises:
        OptionError: an option is not allowed, or the graphs cannot be compared.
        BatchError: the batches are empty, one-shot or of the wrong structure.
    """
    _check(a, b, traced, batches, (least, tolerance, threshold, factor))
    if columns is not None and len(columns) != a.basis.sites[0].d:
        raise OptionError(
            f"columns has {len(columns)} names, but the first site {a.sites[0]!r} has {a.basis.sites[0].d} "
            "coordinates; name all of them."
        )
    sites = list(zip(a.basis, b.basis, strict=True))
    pair = traced if isinstance(traced, tuple) else None if traced is None else (traced, traced)
    records, parts = None, 0
    if pair is None:
        joints = [by_directions(one, two) for one, two in sites]
    else:
        for one, graph in zip(pair, (a, b), strict=True):
            check_fits(one, graph.basis)
        kept, work = shares(memory, pair[0])
        records = _records(pair, batches, kept, progress)
        moments = JointMoments(sites, None if pair[0] is pair[1] else pair[1])
        joints = measure(records[0], moments, "features")
        parts = min(PARTS, moments.batches)
    matches = [
        match(joint, (one.importances, two.importances), least, tolerance)
        for joint, (one, two) in zip(joints, sites, strict=True)
    ]
    moved = _moved_columns(a, b) if columns is None else []
    compared = Compared((a, b), matches)
    if records is not None and parts > 1:
        compared.measure_noise(records, parts, work)
    edges, sections = compared.edges(threshold, factor)
    only = [[row for at in zip(matches, joints, sites, strict=True) for row in _only(*at, side)] for side in (0, 1)]
    return GraphDiff(
        [row for found, site in zip(matches, sites, strict=True) for row in _matched(found, site)],
        only[0],
        only[1],
        edges,
        sections,
        {
            "sites": list(a.sites),
            "sites_b": list(b.sites),
            "methods": [a.basis.method, b.basis.method],
            "compared_by": "directions" if pair is None else "values on the same samples",
            "least": least,
            "tolerance": tolerance,
            "threshold": threshold,
            "factor": factor,
            "noise": _noise(parts, compared),
            "noise_parts": parts if parts > 1 else 0,
            "noise_drawn": [a.sites[l] for l in sorted(compared.estimated)],
            "data": None if records is None else records[0].facts(),
            "labels_a": {key: label.label for key, label in a.labels.items()},
            "labels_b": {key: label.label for key, label in b.labels.items()},
            "versions": versions(),
        },
        [*moved, *(row for row in _moved(sites, columns) if not moved or row["site"] != "input")],
    )


def _noise(parts: int, compared: Compared) -> str:
    """What the noise of edges was measured by."""
    drawn, of = len(compared.estimated), len(compared.codes)
    rest = f"standard error from {parts} parts of the batches" if parts > 1 else "not measured"
    if not drawn:
        return rest
    draw = "standard error of the draw"
    return draw if drawn == of else f"{draw} in {drawn} of {of} sections, in the others: {rest}"


def _moved_columns(a: InteractionGraph, b: InteractionGraph) -> list[Plain]:
    """The columns of the tables whose mean differs most, in standard deviations of A's rows, the largest first."""
    one, other = (graph.info.get("columns") or {} for graph in (a, b))
    rows = []
    for name, (mean, deviation) in one.items():
        if name in other and other[name][0] != mean and deviation > SAME * abs(mean):
            size = (other[name][0] - mean) / deviation
            rows.append({"site": "input", "coordinate": name, "a": mean, "b": other[name][0], "difference": size})
    return sorted(rows, key=lambda row: -abs(row["difference"]))[:MOVED]


def _moved(sites: Sequence[tuple[SiteBasis, SiteBasis]], columns: Sequence[str] | None) -> Iterator[Plain]:
    """The coordinates of each site whose mean differs most, the largest differences first.

    The standard deviation of a coordinate is what A's features, which are uncorrelated, leave of it.
    """
    for number, (one, other) in enumerate(sites):
        if one.d != other.d:
            continue
        spread = (one.variances.clamp(min=0)[:, None] * one.C_pinv**2).sum(0).sqrt()
        gap = other.mean - one.mean
        size = torch.where(spread > SAME * one.mean.abs(), gap / spread, torch.zeros_like(gap))
        names = columns if number == 0 and columns is not None else [str(c) for c in range(one.d)]
        for c in size.abs().argsort(descending=True, stable=True)[:MOVED].tolist():
            if size[c]:
                means = {"a": float(one.mean[c]), "b": float(other.mean[c])}
                yield {"site": one.name, "coordinate": names[c], **means, "difference": float(size[c])}


def _records(pair: tuple[Traced, Traced], batches: Any, memory: int, progress: bool | None) -> tuple[Records, Records]:
    """The data for both models; what was kept for one of them is not run again, and is read again for the other."""

    def of(traced: Traced) -> Records:
        if isinstance(batches, Records) and batches.traced is not traced:
            return Records(traced, batches, memory, progress=progress)
        return Records.of(traced, batches, memory, progress=progress)

    one = of(pair[0])
    return one, one if pair[1] is pair[0] else of(pair[1])


MOVED = 10
"""Coordinates of a site that are listed."""
SAME = 1e-9
"""A coordinate that varies by less than this part of its size is constant."""


def _check(a: InteractionGraph, b: InteractionGraph, traced: Any, batches: Any, numbers: Sequence[Any]) -> None:
    if len(a.sites) != len(b.sites):
        raise OptionError(
            f"A has the sites {list(a.sites)} and B {list(b.sites)}; graphs are compared site by site, so give two "
            "with the same number of sites."
        )
    if (traced is None) != (batches is None):
        raise OptionError("traced and batches belong together: give both, or neither to compare directions.")
    limits = {"least": (0, 1), "tolerance": (0, 1), "threshold": (0, 1), "factor": (1, 1e9)}
    for (name, (low, high)), value in zip(limits.items(), numbers, strict=True):
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not low < value <= high:
            raise OptionError(f"{name} is {value!r}; give a number above {low}, at most {high:g}.")


def _matched(found: Sequence[Match], sites: tuple[SiteBasis, SiteBasis]) -> Iterator[Plain]:
    for one in found:
        row: Plain = {"site": sites[0].name, "similarity": one.similarity}
        for side, site, which in (("a", sites[0], one.a), ("b", sites[1], one.b)):
            row[side] = [f"{site.name}:{i}" for i in which]
            row[f"importance_{side}"] = float(site.importances[which].sum() / site.importances.sum())
        yield row


def _only(found: Sequence[Match], joint: Joint, sites: tuple[SiteBasis, SiteBasis], side: int) -> Iterator[Plain]:
    site, other = sites[side], sites[1 - side]
    matched = {i for one in found for i in (one.a, one.b)[side]}
    correlations = joint.correlations().abs()
    best = (correlations if side == 0 else correlations.T).max(1)
    for i in range(site.k):
        if i not in matched:
            yield {
                "id": f"{site.name}:{i}",
                "site": sites[0].name,
                "importance": float(site.importances[i] / site.importances.sum()),
                "nearest": f"{other.name}:{int(best.indices[i])}",
                "similarity": float(best.values[i]),
            }
