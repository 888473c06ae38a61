"""What each sample scores under many interventions, and what random directions do: the runs of a trial."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..basis import Basis, SiteBasis
from ..cut import Record
from ..intervene import Intervention, Preparation, SiteRuns
from ..intervene.donors import Donors
from ..intervene.place import SiteBatch
from ..intervene.scores import BySample
from ..measure import Accumulator, Records, measure
from ..types import Activations, Matrix
from .readout import Readout

Ask = tuple[Intervention, Readout]
TOGETHER = 2**14
"""At most so many samples with a random direction replaced go through the model together."""


class Scored(Accumulator[tuple[Matrix, Matrix]]):
    """Scores of the model as it is, and under interventions, sample by sample.

    Args:
        readouts: what is read of the model as it is.
        asked: interventions, each with what is read of it.
        known: what they need to know of the data.
        memory: bound in bytes for what goes through the model together.
    """

    sums = ("rows",)

    def __init__(self, readouts: Sequence[Readout], asked: Sequence[Ask], known: Preparation, memory: int) -> None:
        self.readouts, self.count = readouts, len(asked)
        runs: dict[tuple[str, int | None], dict[Intervention, list[int]]] = {}
        for place, (one, readout) in enumerate(asked):
            runs.setdefault((one.site, readout.site), {}).setdefault(one, []).append(place)
        self.runs = [
            (SiteRuns(known.index[site], [known.of(one) for one in own], memory), target, list(own.values()))
            for (site, target), own in runs.items()
        ]
        self.reads = [readout for _, readout in asked]
        self.rows = BySample()

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        base = torch.cat([readout.base(record) for readout in self.readouts])
        found = torch.empty(self.count, record.size, dtype=torch.float64)
        for site, target, places in self.runs:
            for result, own in zip(site.outputs(record, target), places, strict=True):
                for place in own:
                    found[place] = self.reads[place].of(record, result)[0]
        self.rows.add(record.numbers, torch.cat([base, found]).T)

    def finish(self) -> tuple[Matrix, Matrix]:
        """Scores as it is ``[readouts, n]`` and under interventions ``[asked, n]``, in the order of the data."""
        _, rows = self.rows.table()
        return rows.T[: len(self.readouts)], rows.T[len(self.readouts) :]


def scored(
    records: Records, basis: Basis, asked: Sequence[Ask], memory: int
) -> tuple[dict[Readout, np.ndarray], list[np.ndarray], Preparation]:
    """Scores ``[n]`` of each readout as it is, the change ``[n]`` of each asked for, and what was learned of data."""
    known = Preparation(records, basis)
    known.learn(dict.fromkeys(one for one, _ in asked))
    unique = list(dict.fromkeys(asked))
    readouts = list(dict.fromkeys(readout for _, readout in unique))
    base, found = measure(records, Scored(readouts, unique, known, memory), f"{len(unique)} interventions")
    bases = {readout: row.numpy() for readout, row in zip(readouts, base, strict=True)}
    changes = {ask: row.numpy() - bases[ask[1]] for ask, row in zip(unique, found, strict=True)}
    return bases, [changes[ask] for ask in asked], known


@dataclass(frozen=True, eq=False)
class InGroup:
    """Whose mean change over some samples is compared with that of random directions.

    Attributes:
        readout: what is read.
        base: scores of the model as it is, ``[n]``.
        group: which samples, bool ``[n]``.
    """

    readout: Readout
    base: np.ndarray
    group: np.ndarray


@dataclass(frozen=True, eq=False)
class Frames:
    """Random directions of a site, some at a time, as features are: so much is read, and so is written back.

    Attributes:
        site: the basis of the site.
        reading: ``[d, K m]``.
        writing: ``[K, m, d]``.
    """

    site: SiteBasis
    reading: Matrix
    writing: Tensor

    def replaced(self, x: Activations, change: Activations, first: int, last: int) -> Activations:
        """The activations ``[K batch, position, d]`` with what is read of a change written onto them."""
        m, d = self.writing.shape[1:]
        own = self.writing[first:last].to(x)
        amounts = change.reshape(-1, d) @ self.reading[:, first * m : last * m].to(x)
        moved = amounts.reshape(-1, last - first, m).transpose(0, 1) @ own
        return (x.reshape(1, -1, d) + moved).reshape(-1, *x.shape[1:])

    def __len__(self) -> int:
        return len(self.writing)

    def some(self, first: int, last: int) -> Frames:
        """The frames ``[first, last)``."""
        m = self.writing.shape[1]
        return Frames(self.site, self.reading[:, first * m : last * m], self.writing[first:last])


class Controls(Accumulator[np.ndarray]):
    """The mean change that each random direction makes, for several claims at one site.

    Args:
        index: number of the site.
        frames: the directions.
        asked: an intervention at the site, of the kind, the positions and the seed that are meant.
        donors: where the kind needs them.
        claims: whose readouts are of one place.
        memory: bound in bytes for what goes through the model together.
    """

    sums = ("total", "count")

    def __init__(
        self,
        index: int,
        frames: Frames,
        asked: Intervention,
        donors: Donors | None,
        claims: Sequence[InGroup],
        memory: int,
    ) -> None:
        self.index, self.frames, self.asked, self.donors = index, frames, asked, donors
        self.claims, self.memory = claims, memory
        self.total = torch.zeros(len(claims), len(frames), dtype=torch.float64)
        self.count = torch.zeros(len(claims), 1, dtype=torch.float64)

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        target, numbers = self.claims[0].readout.site, record.numbers.numpy()
        wanted = [torch.from_numpy(claim.group[numbers]) for claim in self.claims]
        base = [torch.from_numpy(claim.base[numbers]) for claim in self.claims]
        for first, last, result in control_runs(
            record, self.index, self.frames, self._change(record), self.memory, target
        ):
            times = last - first
            read = {c.readout: c.readout.of(record, result, times) for c in self.claims}
            for place, claim in enumerate(self.claims):
                moved = (read[claim.readout] - base[place])[:, wanted[place]]
                self.total[place, first:last] += moved.nansum(1)
        for place in range(len(self.claims)):
            self.count[place] += (wanted[place] & ~base[place].isnan()).sum()

    def _change(self, record: Record) -> Activations:
        """What replacing everything would change, ``[batch, position, d]``."""
        batch = SiteBatch(record, self.index, self.frames.site)
        x, counted = batch.x, record.counted[self.index] if self.asked.where == "counted" else None
        if self.donors is not None:
            to = batch.donated(self.donors, counted=self.asked.where == "counted").x
        else:
            to = (batch.zero if self.asked.to == "zero" else batch.mean).x
        change = to - x
        return change if counted is None else change.masked_fill(~counted[..., None], 0)

    def finish(self) -> np.ndarray:
        """``[claims, directions]``."""
        return (self.total / self.count.clamp(min=1)).numpy()


def control_runs(  # noqa: PLR0913 - one run
    record: Record,
    index: int,
    frames: Frames,
    change: Activations,
    memory: int,
    target: int | None = None,
) -> Iterator[tuple[int, int, Tensor]]:
    """The model's output under random directions ``[first, last)``, the batch once for each of them, some at a time.

    Args:
        record: the batch.
        index: number of the site.
        frames: the directions.
        change: what replacing everything would change, of which each direction takes its part.
        memory: bound in bytes for what goes through the model together.
        target: number of the later site whose activation is given in place of the output.
    """
    held = 2 * (record.workspace(index, len(record.contexts)) + record.output.numel())
    step = max(1, min(memory // max(8 * held, 1), TOGETHER // max(record.size, 1)))
    for first in range(0, len(frames), step):
        last = min(first + step, len(frames))
        x = frames.replaced(record.activations[index], change, first, last)
        if target is None:
            yield first, last, record.rest(index, x, last - first)
        else:
            yield first, last, record.forward(x, index, target, last - first)


def control_means(
    records: Records, known: Preparation, asked: Intervention, frames: Frames, claims: Iterable[InGroup], memory: int
) -> np.ndarray:
    """The mean change that each random direction makes under a kind of intervention, ``[claims, directions]``."""
    donors = known.donors_of(asked)
    job = Controls(known.index[asked.site], frames, asked, donors, list(claims), memory)
    return measure(records, job, f"{len(frames)} random directions")
