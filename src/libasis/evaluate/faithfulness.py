"""Faithfulness curves: the score with only the first k features or edges of a ranking, and without them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from ..ablation.masked_section import MaskedSection
from ..ablation.ranking import Ranking, sizes
from ..ablation.schedules import check_counts, geometric
from ..ambient import neutral
from ..arguments import typed
from ..basis import Basis, check_fits
from ..cut import Record, Traced
from ..errors import OptionError
from ..graphs import InteractionGraph, basis_of, graph_of_edges
from ..intervene import Intervention, MetricSpec, Preparation, Scores, SiteRuns, most_important, parse_metric
from ..intervene.registry import FILLERS
from ..measure import Records, measure, shares
from ..numerics import Estimate, ratio
from ..provenance import versions
from ..store import Stored, listed
from ..types import Matrix, Plain

POINTS = 24
"""Counts of a curve, about."""
WAYS = ("keep", "remove")


@dataclass(frozen=True, eq=False, repr=False)
class Faithfulness(Stored, kind="faithfulness"):
    """How much of the score the first features (or edges) of a ranking carry.

    With the score s of the model, that with k kept or removed, and that with all replaced (only the constant left),
    faithfulness is ``(s_k - s_none) / (s_model - s_none)``: 1 as the whole model, 0 as nothing.

    Attributes:
        curves: by place (site, or section of edges), then ``"keep"`` and ``"remove"``, one row ``[count, share, low,
            high]`` for each count; not a number where the share is not defined.
        areas: by place and way the area under the curve over the share of features (or edges) kept or removed: near 1
            for ``"keep"`` and near 0 for ``"remove"`` where few carry all, 0.5 where each carries the same.
        totals: by place, how many features or edges there are.
        base: mean score of the model over samples.
        nothing: by place, mean score with all replaced.
        metric: the metric's name.
        info: basis, data, options, versions.
    """

    curves: dict[str, dict[str, list[list[float]]]]
    areas: dict[str, dict[str, Estimate]]
    totals: dict[str, int]
    base: float
    nothing: dict[str, float]
    metric: str
    info: Plain = field(default_factory=dict)

    def rows(self) -> list[Plain]:
        """One plain row per place and way: the area, its interval, and the scores that it lies between."""
        return [
            {
                "place": place,
                "of": self.info.get("of"),
                "way": way,
                "total": self.totals[place],
                **{key: getattr(area, key) for key in ("value", "low", "high", "n", "units", "warning")},
                "model": self.base,
                "nothing": self.nothing[place],
            }
            for place, ways in self.areas.items()
            for way, area in ways.items()
        ]

    def __repr__(self) -> str:
        lines = [
            f"  {place}: area {way} {area.value:.3f} [{area.low:.3f}, {area.high:.3f}]"
            for place, ways in self.areas.items()
            for way, area in ways.items()
        ]
        return listed(f"Faithfulness({self.metric} {self.base:.4g} of the model, {len(self.areas)} places)", lines)


@typed
@neutral
def faithfulness(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    graph_or_basis: InteractionGraph | Basis,
    batches: Iterable[Any],
    metric: MetricSpec = "accuracy",
    *,
    places: Sequence[str] | None = None,
    edges: bool = False,
    counts: Sequence[int] | None = None,
    replacement: str = "mean",
    units: Iterable[Hashable] | None = None,
    seed: int = 0,
    progress: bool | None = None,
    memory: int | str = "auto",
) -> Faithfulness:
    """Curves of the score with a site's most important features (or a section's strongest edges) kept or removed.

    Removed features stand at their mean while all else stays; kept ones keep their values while all else is replaced,
    as in `ablate_nodes` and `ablate_edges`. Intervals are those of a ratio over units.

    Args:
        traced: from `trace` or `Chain`.
        graph_or_basis: whose features, or a graph whose edges.
        batches: pairs (inputs, targets), best not those of the fit.
        metric: see `intervene`.
        places: names of sites (or input sites of sections); all but the last by default.
        edges: rank edges in place of features; needs a graph.
        counts: how many are kept or removed; about `POINTS` by default. 0 and all are always measured; counts above
            what a place has are told in the log.
        replacement: of features: ``"mean"``, ``"zero"`` or ``"resample"``.
        units: the unit of each sample; None takes samples as independent.
        seed: of resamples, and of ``"resample"``.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes, see `ablate_edges`.

    Raises:
        OptionError: an option is unknown, edges are asked of a basis, or no place is so wide as the counts say.
        BatchError: the batches are empty or have no targets where the metric needs them.
    """
    graph, basis = graph_of_edges(graph_or_basis, edges), basis_of(graph_or_basis)
    names = _places(basis, graph, places, counts)
    if replacement not in FILLERS:
        raise OptionError(f"replacement is {replacement!r}; use one of {list(FILLERS)}.")
    scored, model = parse_metric(metric), check_fits(traced, basis)
    kept, memory = shares(memory, traced)
    records = Records.of(traced, batches, kept, progress=progress)
    labels = None if units is None else list(units)
    curves, areas, totals, nothing, base = {}, {}, {}, {}, 0.0
    for l, name in enumerate(site.name for site in basis):
        if name not in names:
            continue
        total = basis.sites[l].k if graph is None else Ranking(graph.edges[l]).total
        grid = sorted({0, total, *(min(c, total) for c in counts or geometric(1, max(total, 1), points=POINTS))})
        made = _Features(basis, l, grid, replacement, seed) if graph is None else _edge_runs(graph, l, grid, memory)
        scores = Scores(scored, made.of(records, memory), 1 + 2 * len(grid), per_sample=True)
        rows = measure(records, scores, f"curves at {name}").of_samples()
        totals[name], base, nothing[name] = total, float(np.nanmean(rows[0])), float(np.nanmean(rows[1]))
        curves[name], areas[name] = _curves(rows, grid, labels, seed)
    info = {
        "of": "edges" if edges else "features",
        "basis": basis.method,
        "replacement": "mean" if edges else replacement,
        "data": records.facts(),
        "seed": seed,
        "stands_on": {"basis": basis.digest()},
        "traced": model,
        "versions": versions(),
    }
    return Faithfulness(curves, areas, totals, base, nothing, scored.name, info)


def _places(
    basis: Basis, graph: InteractionGraph | None, places: Sequence[str] | None, counts: Sequence[int] | None
) -> list[str]:
    """The sites (of a graph the sections, by their first site) that are asked for, with counts that they can have."""
    names = [site.name for site in basis][:-1]
    if unknown := [place for place in places or [] if place not in names]:
        raise OptionError(f"places names {unknown}, but there are {names}.")
    names = [name for name in names if places is None or name in places]
    if counts is None:
        return names
    if not counts or min(counts) < 0:
        raise OptionError(f"counts is {list(counts)!r}; give whole numbers from 0, at least one.")
    there = {site.name: (site.k, site.d) for site in basis.sites[:-1]} if graph is None else sizes(graph)
    check_counts("counts", counts, {name: there[name] for name in names}, "features" if graph is None else "edges")
    return names


def _curves(
    rows: np.ndarray, grid: Sequence[int], units: Sequence[Hashable] | None, seed: int
) -> tuple[dict[str, list[list[float]]], dict[str, Estimate]]:
    """Curve and area of each way, from the scores ``[runs, n]``: the model, those that keep, those that remove."""
    curves, areas, total = {}, {}, max(grid[-1], 1)
    nothing = rows[1]  # none kept
    for way, values in zip(WAYS, (rows[1 : 1 + len(grid)], rows[1 + len(grid) :]), strict=True):
        gained, whole = values - nothing, rows[0] - nothing
        parts = [ratio(gain, whole, units, seed=seed) for gain in gained]
        curves[way] = [[c, s.value, s.low, s.high] for c, s in zip(grid, parts, strict=True)]
        areas[way] = ratio(np.trapezoid(gained, np.array(grid) / total, axis=0), whole, units, seed=seed)
    return curves, areas


class _Features:
    """The runs of one site: its most important features kept, then removed."""

    def __init__(self, basis: Basis, l: int, grid: Sequence[int], replacement: str, seed: int) -> None:
        self.basis, self.l = basis, l
        site, order = basis.sites[l], most_important(basis.sites[l])
        kept = [Intervention(site.name, order[:c], "keep_only", replacement, seed=seed) for c in grid]
        gone = [Intervention(site.name, order[:c], replacement, seed=seed) if c else None for c in grid]
        self.runs = [*kept, *gone]

    def of(self, records: Records, memory: int) -> Any:
        known, runs = Preparation(records, self.basis), [run for run in self.runs if run is not None]
        known.learn(runs)
        site = SiteRuns(self.l, [known.of(run) for run in runs], memory)

        def outputs(record: Record) -> Iterator[Tensor]:
            yield record.output
            found = site.outputs(record)
            for run in self.runs:
                yield record.output if run is None else next(found)

        return outputs


@dataclass(frozen=True, eq=False)
class _Edges:
    """The runs of one section: its strongest edges kept, then removed."""

    l: int
    grid: Sequence[int]
    kept: MaskedSection
    rest: MaskedSection
    total: int

    def of(self, records: Records, memory: int) -> Any:
        def outputs(record: Record) -> Iterator[Tensor]:
            yield record.output
            for y in self.kept.run(record, self.grid):
                yield record.rest(self.l + 1, y)
            for y in self.rest.run(record, [self.total - count for count in self.grid]):  # the weakest are left
                yield record.rest(self.l + 1, y)

        return outputs


def _edge_runs(graph: InteractionGraph, l: int, grid: Sequence[int], memory: int) -> _Edges:
    source, target = graph.basis.sites[l], graph.basis.sites[l + 1]
    strengths: Matrix = graph.edges[l]
    strong = Ranking(strengths)
    kept, rest = (MaskedSection(l, source, target, ranking, memory) for ranking in (strong, Ranking(-strengths)))
    return _Edges(l, grid, kept, rest, strong.total)
