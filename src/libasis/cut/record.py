"""One batch as it went through a cut model: activations, and the functions between sites with what they need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..data import Batch, select
from ..types import Activations, Counted
from .subgraph import Subgraph


@dataclass(frozen=True, eq=False)
class Context:
    """What a section needs besides its input, recorded for one batch: integers, booleans, masks, the function itself.

    Attributes:
        run: the function from canonical activations and ``values`` to the section's output.
        values: tensors that depend on the user's integer and boolean inputs.
        batch_dims: the batch dimension of each value, or None.
        fixed_batch: the only batch size that ``run`` accepts, or None for any.
        workspace: about how many numbers one pass holds per sample.
        subgraph: the section in its graph, or None where there is no graph.
    """

    run: Callable[..., Tensor]
    values: tuple[Tensor, ...] = ()
    batch_dims: tuple[int | None, ...] = ()
    fixed_batch: int | None = None
    workspace: int = 0
    subgraph: Subgraph | None = None

    def tile(self, times: int) -> Context:
        """For the batch repeated ``times`` times in a row."""
        if times == 1:
            return self
        values = tuple(
            v if dim is None else torch.cat([v] * times, dim)
            for v, dim in zip(self.values, self.batch_dims, strict=True)
        )
        return replace(self, values=values)

    def of(self, samples: slice) -> tuple[Tensor, ...]:
        """The values of some samples."""
        return self._each(lambda v, dim: v.narrow(dim, samples.start, samples.stop - samples.start))

    def select(self, samples: Tensor) -> Context:
        """For some samples ``[m]`` of the batch."""
        return replace(self, values=self._each(lambda v, dim: v.index_select(dim, samples)))

    def _each(self, take: Callable[[Tensor, int], Tensor]) -> tuple[Tensor, ...]:
        """The values; ``take(value, dimension)`` of those that differ from sample to sample."""
        pairs = zip(self.values, self.batch_dims, strict=True)
        return tuple(v if dim is None or v.shape[dim] == 1 else take(v, dim) for v, dim in pairs)

    def __call__(self, x: Activations) -> Tensor:
        """Run the section on canonical activations; a graph of fixed batch size is run piece by piece."""
        size = self.fixed_batch
        if size is None or x.shape[0] == size:
            return self.run(x, self.values)
        pieces = len(x) // size
        split = [
            (v,) * pieces if dim is None or v.shape[dim] == size else v.chunk(pieces, dim)
            for v, dim in zip(self.values, self.batch_dims, strict=True)
        ]
        runs = [self.run(piece, tuple(v[i] for v in split)) for i, piece in enumerate(x.split(size))]
        return torch.cat(runs)


@dataclass(frozen=True, eq=False)
class Record:
    """One batch as it went through the model.

    Attributes:
        activations: per site ``[batch, position, feature]``.
        contexts: per section.
        tail: from the last site to the model's output tensor in its own layout.
        counted: per site bool ``[batch, position]``, or None where every position counts.
        targets: as the user gave them, on the compute device.
        batch: the batch as the user gave it.
        numbers: which sample of the data each of them is, int64 ``[batch]`` on the CPU: its place in the first pass,
            however later passes order or cut the data.
        each: whether the model's output is ``[batch, position]`` with a number for each position.
    """

    activations: tuple[Activations, ...]
    contexts: tuple[Context, ...]
    tail: Context
    counted: tuple[Counted | None, ...]
    targets: Any
    batch: Batch
    numbers: Tensor
    each: bool = False

    @property
    def index(self) -> int:
        """Number of the batch."""
        return self.batch.index

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.activations[0])

    @property
    def output(self) -> Tensor:
        """The model's output tensor in its own layout; computed from the last site whenever it is asked for."""
        with torch.no_grad():
            return self.tail(self.activations[-1])

    def select(self, samples: Tensor) -> Record:
        """Some samples ``[m]``; the whole batch where a section runs on whole batches only."""
        if any(context.fixed_batch is not None for context in (*self.contexts, self.tail)):
            return self
        samples = samples.to(self.activations[0].device)
        return replace(
            self,
            activations=tuple(x[samples] for x in self.activations),
            contexts=tuple(context.select(samples) for context in self.contexts),
            tail=self.tail.select(samples),
            counted=tuple(None if c is None else c[samples] for c in self.counted),
            targets=select(self.targets, samples, self.size),
            batch=self.batch.select(samples, self.size),
            numbers=self.numbers[samples.cpu()],
        )

    def with_activation(self, site: int, x: Activations) -> Record:
        """The record with another activation at one site; what follows stays as it was."""
        return replace(self, activations=(*self.activations[:site], x, *self.activations[site + 1 :]))

    def vectors(self, site: int) -> Tensor:
        """The counted activations at a site, ``[n, d]``."""
        x, counted = self.activations[site], self.counted[site]
        return x.reshape(-1, x.shape[-1]) if counted is None else x[counted]

    def count(self, site: int) -> int:
        """Number of counted (sample, position) pairs at a site."""
        x, counted = self.activations[site], self.counted[site]
        return x.shape[0] * x.shape[1] if counted is None else int(counted.sum())

    def forward(self, x: Activations, source: int, target: int, times: int = 1) -> Activations:
        """The activation at site ``target`` when that at ``source`` is ``x``, the batch repeated ``times`` times."""
        for context in self.contexts[source:target]:
            x = context.tile(times)(x)
        return x

    def workspace(self, source: int, target: int) -> int:
        """About how many numbers one pass from ``source`` to ``target`` holds for this batch."""
        edges = self.activations[source].numel() + self.activations[target].numel()
        return edges + self.size * sum(c.workspace for c in self.contexts[source:target])

    def rest(self, site: int, x: Activations, times: int = 1) -> Tensor:
        """The model's output when the activation at a site is ``x``, the batch being repeated ``times`` times."""
        return self.tail.tile(times)(self.forward(x, site, len(self.contexts), times))
