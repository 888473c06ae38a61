"""The rest of the model, run and differentiated at any activations of a site that belong to any samples of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..cut import Record, pull_back
from ..intervene.scores import AT_ONCE
from ..numerics import clamp, slices
from ..types import Activations, Vector
from .target import Target

Score = Callable[[Record, Activations, Tensor | None], Vector]


@dataclass(frozen=True, eq=False)
class Points:
    """What is explained, as a function of the activation at a site.

    Attributes:
        record: the batch.
        site: number of the site.
        target: what is explained, for this batch.
        which: see `Target.fixed`.
        memory: bound in bytes for what goes through the model together.
    """

    record: Record
    site: int
    target: Target
    which: Tensor | None
    memory: int

    @classmethod
    def of(cls, record: Record, site: int, target: Target, memory: int) -> Points:
        """Those of a batch."""
        return cls(record, site, *target.fixed(record), memory)

    def scores(self, rows: Tensor, x: Activations) -> Vector:
        """The numbers ``[m]`` of samples ``rows`` ``[m]`` at activations ``x`` ``[m, position, d]``, float64."""
        return self.outputs(rows, x, lambda record, z, which: self.target(record, self.site, z, which))

    def outputs(self, rows: Tensor, x: Activations, make: Score) -> Tensor:
        """What ``make(record, x, which)`` gives for the samples, one entry for each."""
        found: list[tuple[Tensor, Tensor]] = []
        with torch.no_grad():
            for places, record, z, own, which in self._parts(rows, x):
                found.append((places, make(record, z, which)[own]))
        order = torch.cat([places for places, _ in found]).argsort()
        return torch.cat([values for _, values in found])[order.to(found[0][1].device)]

    def gradients(self, rows: Tensor, x: Activations) -> Activations:
        """The derivatives of the numbers by the activations, ``[m, position, d]``, float64."""
        out = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
        for places, record, z, own, which in self._parts(rows, x):
            contexts = [*record.contexts[self.site :], record.tail]
            y, pull = pull_back(
                lambda point, r=record, w=which: self.target(r, self.site, point, w)[:, None], z, contexts
            )
            out[places] = pull(torch.ones_like(y)[None])[0][own].double()
        return out

    def _parts(
        self, rows: Tensor, x: Activations
    ) -> Iterator[tuple[Tensor, Record, Activations, Tensor | slice, Tensor | None]]:
        """Places in ``rows``, a record with an activation for each of its samples, and which of them are meant."""
        record, rows = self.record, rows.to(self.record.activations[0].device)
        if any(context.fixed_batch is not None for context in (*record.contexts, record.tail)):
            yield from self._whole(rows, x)
            return
        held = 4 * (record.workspace(self.site, len(record.contexts)) + record.output.numel()) // max(record.size, 1)
        for part in slices(len(rows), clamp(self.memory / max(8 * held, 1), AT_ONCE)):
            which = None if self.which is None else self.which[rows[part]]
            places = torch.arange(part.start, part.stop)
            yield places, record.select(rows[part]), x[part], slice(None), which

    def _whole(
        self, rows: Tensor, x: Activations
    ) -> Iterator[tuple[Tensor, Record, Activations, Tensor | slice, Tensor | None]]:
        """Of a model of fixed batch size: each sample in its own place, one point of it at a time."""
        same = rows[:, None] == rows
        times = (same & torch.ones_like(same).tril(-1)).sum(1)  # how often it came before
        for turn in range(int(times.max()) + 1):
            places = (times == turn).nonzero()[:, 0]
            z = self.record.activations[self.site].clone()
            z[rows[places]] = x[places]
            yield places.cpu(), self.record, z, rows[places], self.which
