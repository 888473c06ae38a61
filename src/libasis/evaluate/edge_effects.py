"""`edge_effects`: what edges say held against what happens when the feature they start from is replaced."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..ambient import neutral
from ..arguments import typed
from ..basis import SiteBasis, check_fits
from ..cards.effects import random_units
from ..cut import Record, Traced
from ..errors import BatchError, OptionError, short
from ..graphs import InteractionGraph
from ..intervene import (
    OUTPUT_CHANGE,
    Intervention,
    Lines,
    Metric,
    MetricSpec,
    Preparation,
    Prepared,
    parse_metric,
)
from ..intervene.place import SiteBatch
from ..intervene.scores import AT_ONCE, BySample, run_many
from ..measure import DEFAULT_MEMORY, Accumulator, Records, check_memory, measure_all
from ..numerics import Bootstrap, clamp, paired
from ..provenance import versions
from ..types import Activations, Matrix, Plain, Vector
from .calibration import EdgeEffects, calibrate

KINDS = ("mean", "resample")
MOST = 10_000
"""Sources, edges to test and random directions of a section."""

Edge = tuple[int, int]
"""Numbers of the source and of the target feature."""


@typed
@neutral
def edge_effects(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    graph: InteractionGraph,
    batches: Iterable[Any],
    *,
    edges: Sequence[Sequence[str]] | None = None,
    strongest: int = 8,
    sources: int = 16,
    controls: int = 20,
    to: Sequence[str] = KINDS,
    metric: MetricSpec = OUTPUT_CHANGE,
    units: Sequence[Any] | None = None,
    seed: int = 0,
    progress: bool | None = None,
    memory: int = DEFAULT_MEMORY,
) -> EdgeEffects:
    r"""What edges say, held against interventions: feature i of a site is replaced, all else there is kept.

    Measured is how much each feature j of the next site changes, as edges are: the sum over the target's counted
    positions of the squared change of :math:`\hat f_j`, over the number of the source's counted vectors. Replaced by
    its mean, a feature that acts linearly changes j by exactly :math:`E_{ji}`, and replaced by its value in another
    sample by twice that in the mean. For the edges tested there are, beside it and with 95% intervals over samples
    (or units),

    - the same of random directions of the source site, uniform among its standardised features, and the rank of the
      edge among these, :math:`p = (b + 1) / (m + 1)`;
    - the mean change of :math:`\hat f_j` with its sign;
    - the edge by path: only :math:`\hat f_j` takes the value that it has under the intervention, all other features of
      its site (and what the basis leaves out) keep theirs, and the rest of the model runs on: the change of the score;
    - the change of the score when everything takes the values under the intervention, for comparison.

    The calibration holds all edges from ``sources`` features of each site against what was measured, see
    `EdgeEffects`. An edge says what acts in the model, not what acts in the world that the data come from.

    Args:
        traced: from `trace` or `Chain`.
        graph: whose edges.
        batches: a re-iterable of inputs or of pairs (inputs, targets), best not those that the edges were measured on.
        edges: those to test, pairs of ids such as ``("fc1:in:3", "fc2:in:0")``; None for the strongest.
        strongest: so many of each section, where ``edges`` is None.
        sources: features of each site that are replaced for the calibration, drawn evenly over the order of their
            summed edges; all where there are no more.
        controls: random directions of each site.
        to: what features are replaced by, some of ``"mean"``, ``"resample"``, ``"zero"``.
        metric: of the paths, as in `intervene`; by default the mean squared change of the output, which needs no
            targets.
        units: one id for each sample, of what it belongs to; None takes samples as independent.
        seed: of donors, controls and sources.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for what goes through the model together, and for activations kept between passes.

    Raises:
        OptionError: an option is not allowed, an edge does not exist, or the graph belongs to other sites.
        BatchError: the batches are empty or one-shot, or have no targets where the metric needs them.
    """
    measured = parse_metric(metric)
    check_memory(memory)
    to = tuple(to)
    _check(strongest, sources, controls, to)
    model = check_fits(traced, graph.basis)
    tested = _tested(graph, edges, strongest)
    chosen = [_sources(graph, l, sources, tested[l]) for l in range(len(graph.edges))]
    records = Records.of(traced, batches, memory, progress=progress)
    known = Preparation(records, graph.basis)
    asked = [
        Intervention(graph.sites[l], [i], kind, seed=seed) for l, own in enumerate(chosen) for i in own for kind in to
    ]
    known.learn(asked)
    jobs = [
        _SectionRuns(graph, l, chosen[l], tested[l], known, to, controls, measured, seed, memory)
        for l in range(len(graph.edges))
    ]
    measure_all(records, jobs, "edges by intervention")
    ids = None if units is None else list(units)
    if ids is not None and len(ids) != records.samples:
        raise OptionError(f"units has {len(ids)} ids, but the data have {records.samples} samples; give one for each.")
    info = {
        "basis": graph.basis.method,
        "data": records.facts(),
        **known.facts(),
        "controls": controls,
        "seed": seed,
        "units": "samples taken as independent" if ids is None else len(set(ids)),
        "stands_on": {"basis": graph.basis.digest(), "graph": graph.digest()},
        "traced": model,
        "versions": versions(),
    }
    rows = [row for job in jobs for row in job.rows(ids)]
    strengths = [job.strengths for job in jobs]
    squares = [job.measured() for job in jobs]
    calibration = [
        row
        for l, pair in enumerate(zip(strengths, squares, strict=True))
        for row in calibrate(f"{graph.sites[l]} → {graph.sites[l + 1]}", *pair, to, Bootstrap(500, seed=seed))
    ]
    return EdgeEffects(rows, calibration, chosen, strengths, squares, to, graph.sites, measured.name, info)


def _check(strongest: int, sources: int, controls: int, to: Sequence[str]) -> None:
    for name, value, least in (("strongest", strongest, 0), ("sources", sources, 1), ("controls", controls, 1)):
        if not least <= value <= MOST:
            raise OptionError(f"{name} is {value}; give a whole number from {least} to {MOST:,}.")
    if not to or len(set(to)) < len(to) or not set(to) <= {*KINDS, "zero"}:
        raise OptionError(f'to is {list(to)}; give some of "mean", "resample" and "zero", none twice.')


def _tested(graph: InteractionGraph, asked: Sequence[Sequence[str]] | None, strongest: int) -> list[list[Edge]]:
    """The edges to test in each section.

    Raises:
        OptionError: one does not exist.
    """
    found: list[list[Edge]] = [[] for _ in graph.edges]
    if asked is None:
        for l, own in enumerate(found):
            places, strengths, _ = graph.entries(l)
            for at in strengths.argsort(descending=True, stable=True)[:strongest].tolist():
                own.append((int(places[1, at]), int(places[0, at])))
        return found
    ids = {f"{site.name}:{i}": (l, i) for l, site in enumerate(graph.basis) for i in range(site.k)}
    for edge in asked:
        source, target = (ids.get(name, (-9, 0)) for name in edge) if len(edge) == 2 else ((-9, 0), (-9, 0))
        if target[0] != source[0] + 1 or source[0] < 0:
            raise OptionError(
                f"edges has {short(tuple(edge))}; give pairs of ids of features of two neighbouring sites, such as "
                f"('{graph.sites[0]}:0', '{graph.sites[1]}:0')."
            )
        found[source[0]].append((source[1], target[1]))
    return found


def _sources(graph: InteractionGraph, l: int, count: int, tested: Sequence[Edge]) -> list[int]:
    """Features of a site evenly over the order of their summed edges, and those that tested edges start from."""
    edges = graph.edges[l]
    total = (edges.to_dense() if edges.is_sparse else edges).sum(0)
    order = total.argsort(descending=True, stable=True).tolist()
    places = torch.linspace(0, len(order) - 1, min(count, len(order))).round().long().tolist()
    return sorted({*(order[place] for place in places), *(i for i, _ in tested)})


@dataclass(frozen=True, eq=False)
class _Run:
    """One replacement: of a source feature (or a control, where it is None), by a kind, and the edges to test there."""

    source: int | None
    kind: int
    prepared: Prepared
    edges: tuple[int, ...]


class _SectionRuns(Accumulator["_SectionRuns"]):
    """What replacements at a site do to the features of the next.

    Attributes:
        squares: summed squared changes of each run ``[runs, k_out]``.
        count: vectors of the source that count.
        samples: by sample: number of scores, score, then for each kind and edge the squared and the signed change, and
            the score by path and of the whole.
    """

    sums = ("squares", "count", "samples")

    def __init__(  # noqa: PLR0913 - what is measured, and how
        self,
        graph: InteractionGraph,
        l: int,
        sources: Sequence[int],
        edges: Sequence[Edge],
        known: Preparation,
        to: Sequence[str],
        controls: int,
        metric: Metric,
        seed: int,
        memory: int,
    ) -> None:
        self.l, self.to, self.edges, self.metric, self.memory = l, to, edges, metric, memory
        self.source, self.target = graph.basis[l], graph.basis[l + 1]
        own = graph.edges[l]
        self.strengths = (own.to_dense() if own.is_sparse else own).T[list(sources)].cpu().double()  # [sources, k_out]
        self.runs: list[_Run] = []
        for kind, name in enumerate(to):
            for i in sources:
                places = tuple(e for e, (source, _) in enumerate(edges) if source == i)
                asked = Intervention(self.source.name, [i], name, seed=seed)
                self.runs.append(_Run(i, kind, known.of(asked), places))
            for unit in random_units(controls if edges else 0, self.source.k, seed, l):
                self.runs.append(_Run(None, kind, _control(self.source, unit, known, name, seed), ()))
        self.squares: Matrix = torch.zeros(len(self.runs), self.target.k, dtype=torch.float64)
        self.count, self.samples = 0, BySample()

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        batch, y = SiteBatch(record, self.l, self.source), record.activations[self.l + 1]
        C, back = self.target.C.to(y), self.target.C_pinv.to(y)
        counted = record.counted[self.l + 1]
        base, counts = self._scores(record, record.output)
        table = torch.zeros(4, len(self.to), len(self.edges), record.size, dtype=torch.float64)
        made = _forward(record, self.l, (run.prepared.run(batch) for run in self.runs), self.memory)
        for n, (run, there) in enumerate(zip(self.runs, made, strict=True)):
            change = (there - y) @ C
            if counted is not None:
                change = change * counted[..., None]
            self.squares[n] += change.double().square().sum((0, 1)).cpu()
            targets = [self.edges[e][1] for e in run.edges]
            if not targets:
                continue
            table[0, run.kind, list(run.edges)] = change[..., targets].double().square().sum(1).T.cpu()
            table[1, run.kind, list(run.edges)] = change[..., targets].double().sum(1).T.cpu()
            paths = [y + change[..., j, None] * back[j] for j in targets]
            outputs = run_many(record, self.l + 1, [there, *paths], self.memory)
            whole, *by_path = (self._scores(record, output)[0] - base for output in outputs)
            table[2, run.kind, list(run.edges)] = torch.stack(by_path).cpu()
            table[3, run.kind, list(run.edges)] = whole.cpu().expand(len(targets), -1)
        rows = torch.cat([counts[None].cpu(), base[None].cpu(), table.flatten(0, 2)]).T
        self.samples.add(record.numbers, rows)
        self.count += record.count(self.l)

    def _scores(self, record: Record, output: Tensor) -> tuple[Vector, Vector]:
        return self.metric.scores(output, self.metric.targets(record))

    def finish(self) -> _SectionRuns:
        """See `Accumulator`."""
        return self

    def measured(self) -> Tensor:
        """The mean squared changes ``[kinds, sources, k_out]``."""
        rows = [n for n, run in enumerate(self.runs) if run.source is not None]
        return (self.squares[rows] / max(self.count, 1)).view(len(self.to), -1, self.target.k)

    def rows(self, units: Sequence[Hashable] | None) -> Iterator[Plain]:
        """What was found of each edge tested and kind.

        Raises:
            BatchError: no position counts.
        """
        if not self.count:
            raise BatchError(f"No position counts at {self.source.name!r}; give a mask that leaves some.")
        _, table = self.samples.table()
        counts, changes = table[:, 0], table[:, 2:].T.reshape(4, len(self.to), len(self.edges), len(table))
        scale = len(counts) / self.count
        scored = torch.where(counts > 0, counts, torch.nan)
        for e, (i, j) in enumerate(self.edges):
            for kind, name in enumerate(self.to):
                square, signed = (paired(changes[c, kind, e] * scale, units) for c in (0, 1))
                path = paired(changes[2, kind, e] / scored, units)
                random = self.squares[[n for n, r in enumerate(self.runs) if r.source is None and r.kind == kind], j]
                random = random / self.count
                beyond = int((random >= square.value * (1 - 1e-12)).sum())
                strength = float(self._strength(i, j))
                yield {
                    "source": f"{self.source.name}:{i}",
                    "target": f"{self.target.name}:{j}",
                    "to": name,
                    "edge": strength,
                    **_three("measured", square),
                    "random": float(random.mean()),
                    "p_random": (beyond + 1) / (len(random) + 1),
                    **_three("signed", signed),
                    "p_signed": signed.p,
                    **_three("path", path),
                    "p_path": path.p,
                    "whole": float((changes[3, kind, e] / scored).nanmean()),
                    "n": square.n,
                    "units": square.units,
                }

    def _strength(self, i: int, j: int) -> Tensor:
        at = next(n for n, run in enumerate(self.runs) if run.source == i)
        return self.strengths[at, j]


def _three(name: str, estimate: Any) -> Plain:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _control(site: SiteBasis, unit: Vector, known: Preparation, to: str, seed: int) -> Prepared:
    """A random direction, uniform among the standardised features."""
    spread = site.variances.clamp(min=0).sqrt()
    direction = ((unit * spread) @ site.C_pinv)[None]
    asked = Intervention(site.name, directions=direction, to=to, seed=seed)
    return Prepared(
        asked, Lines.along(site, direction), donors=known.of(Intervention(site.name, [0], to, seed=seed)).donors
    )


def _forward(record: Record, l: int, runs: Iterable[Activations], memory: int) -> Iterator[Activations]:
    """The next site's activation for each activation of site l; several go through the section together."""
    held = 2 * 8 * record.workspace(l, l + 1)
    at_once = clamp(min(memory / max(held, 1), AT_ONCE / max(record.size, 1)), AT_ONCE)
    context, waiting = record.contexts[l], []
    for x in runs:
        waiting.append(x)
        if len(waiting) == at_once:
            yield from context.tile(at_once)(torch.cat(waiting)).chunk(at_once)
            waiting = []
    if waiting:
        yield from context.tile(len(waiting))(torch.cat(waiting)).chunk(len(waiting))
