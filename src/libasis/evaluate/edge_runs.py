"""What replacements at a site do to the features of the next one, and by these to the score."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..basis import SiteBasis
from ..cards.effects import random_units
from ..cut import Record
from ..errors import BatchError
from ..graphs import InteractionGraph
from ..intervene import Intervention, Lines, Metric, Preparation, Prepared
from ..intervene.place import SiteBatch
from ..intervene.scores import AT_ONCE, BySample, run_many
from ..measure import Accumulator
from ..numerics import clamp, paired
from ..types import Activations, Matrix, Plain, Vector

Edge = tuple[int, int]
"""Numbers of the source and of the target feature."""


@dataclass(frozen=True, eq=False)
class _Run:
    """One replacement: of a source feature (or a control, where it is None), by a kind, and the edges to test there."""

    source: int | None
    kind: int
    prepared: Prepared
    edges: tuple[int, ...]


class SectionRuns(Accumulator["SectionRuns"]):
    """What replacements at a site do to the features of the next.

    Attributes:
        squares: summed squared changes of each run ``[runs, k_out]``.
        count: vectors of the source that count.
        paths: summed changes of the score by each target of an edge, of each run with a random direction
            ``[runs, targets]``.
        samples: by sample: number of scores, score, then for each kind and edge the squared and the signed change, and
            the score by path and of the whole.
    """

    sums = ("squares", "count", "paths", "samples")

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
        self.targets = sorted({j for _, j in edges})
        self.paths: Matrix = torch.zeros(len(self.runs), len(self.targets), dtype=torch.float64)
        self.count, self.samples = 0, BySample()

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        batch, y = SiteBatch(record, self.l, self.source), record.activations[self.l + 1]
        C, counted = self.target.C.to(y), record.counted[self.l + 1]
        base, counts = self._scores(record, record.output)
        table = torch.zeros(4, len(self.to), len(self.edges), record.size, dtype=torch.float64)
        made = _forward(record, self.l, (run.prepared.run(batch) for run in self.runs), self.memory)
        for n, (run, there) in enumerate(zip(self.runs, made, strict=True)):
            change = (there - y) @ C
            if counted is not None:
                change = change * counted[..., None]
            self.squares[n] += change.double().square().sum((0, 1)).cpu()
            if run.source is None and self.targets:
                by_path = self._changes(record, base, self._paths(y, change, self.targets))
                self.paths[n] += (by_path / counts).nan_to_num(0).double().sum(1).cpu()
            targets = [self.edges[e][1] for e in run.edges]
            if not targets:
                continue
            table[0, run.kind, list(run.edges)] = change[..., targets].double().square().sum(1).T.cpu()
            table[1, run.kind, list(run.edges)] = change[..., targets].double().sum(1).T.cpu()
            changes = self._changes(record, base, [there, *self._paths(y, change, targets)]).cpu()
            table[2, run.kind, list(run.edges)] = changes[1:]
            table[3, run.kind, list(run.edges)] = changes[:1].expand(len(targets), -1)
        rows = torch.cat([counts[None].cpu(), base[None].cpu(), table.flatten(0, 2)]).T
        self.samples.add(record.numbers, rows)
        self.count += record.count(self.l)

    def _paths(self, y: Activations, change: Activations, targets: Sequence[int]) -> Iterator[Activations]:
        """Activations of the next site in which one target feature at a time has changed."""
        back = self.target.C_pinv.to(y)
        return (y + change[..., j, None] * back[j] for j in targets)

    def _changes(self, record: Record, base: Vector, runs: Iterable[Activations]) -> Matrix:
        """Changes of the score ``[runs, batch]`` where the rest of the model runs on from these."""
        outputs = run_many(record, self.l + 1, runs, self.memory)
        return torch.stack([self._scores(record, output)[0] - base for output in outputs])

    def _scores(self, record: Record, output: Tensor) -> tuple[Vector, Vector]:
        return self.metric.scores(output, self.metric.targets(record))

    def finish(self) -> SectionRuns:
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
                alone = [n for n, run in enumerate(self.runs) if run.source is None and run.kind == kind]
                random = self.squares[alone, j] / self.count
                random_path = (self.paths[alone, self.targets.index(j)] / max(path.n, 1)).abs()
                strength = float(self._strength(i, j))
                yield {
                    "source": f"{self.source.name}:{i}",
                    "target": f"{self.target.name}:{j}",
                    "to": name,
                    "edge": strength,
                    **_three("measured", square),
                    "random": float(random.mean()),
                    "p_random": _rank(random, square.value),
                    **_three("signed", signed),
                    "p_signed": signed.p,
                    **_three("path", path),
                    "p_path": path.p,
                    "random_path": float(random_path.mean()),
                    "p_random_path": _rank(random_path, abs(path.value)),
                    "whole": float((changes[3, kind, e] / scored).nanmean()),
                    "n": square.n,
                    "units": square.units,
                }

    def _strength(self, i: int, j: int) -> Tensor:
        at = next(n for n, run in enumerate(self.runs) if run.source == i)
        return self.strengths[at, j]


def _rank(random: Vector, value: float) -> float:
    """The share of the random ones, and this one, that are as large."""
    return (int((random >= value * (1 - 1e-12)).sum()) + 1) / (len(random) + 1)


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
