"""A model cut at sites: what every later stage works on, whether it came from a graph or from plain callables."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..errors import ActivationError, BatchError, OptionError
from ..types import Activations, Counted, Plain
from .batches import Batch, Structure, read_batches, to_device
from .excerpt import Excerpt

Mask = str | Callable[[Any], Tensor]


@dataclass(frozen=True)
class Site:
    """A place where the model is cut.

    Attributes:
        name: ``"blocks.0.mlp:in"``; for a concatenated site the names joined by ``" + "``.
        parts: the names of its tensors, one unless concatenated.
        features: number of coordinates d.
    """

    name: str
    parts: tuple[str, ...]
    features: int


@dataclass(frozen=True, eq=False)
class Context:
    """What a section needs besides its input, recorded for one batch: integers, booleans, masks, the function itself.

    Attributes:
        run: the function from canonical activations and ``values`` to the section's output.
        values: tensors that depend on the user's integer and boolean inputs.
        batch_dims: the batch dimension of each value, or None.
        fixed_batch: the only batch size that ``run`` accepts, or None for any.
        workspace: about how many numbers one pass holds per sample.
        excerpt: the section in its graph, or None where there is no graph.
    """

    run: Callable[..., Tensor]
    values: tuple[Tensor, ...] = ()
    batch_dims: tuple[int | None, ...] = ()
    fixed_batch: int | None = None
    workspace: int = 0
    excerpt: Excerpt | None = None

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
        return tuple(
            v if dim is None or v.shape[dim] == 1 else v.narrow(dim, samples.start, samples.stop - samples.start)
            for v, dim in zip(self.values, self.batch_dims, strict=True)
        )

    def select(self, samples: Tensor) -> Context:
        """For some samples ``[m]`` of the batch."""
        values = tuple(
            v if dim is None or v.shape[dim] == 1 else v.index_select(dim, samples)
            for v, dim in zip(self.values, self.batch_dims, strict=True)
        )
        return replace(self, values=values)

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
        index: number of the batch.
    """

    activations: tuple[Activations, ...]
    contexts: tuple[Context, ...]
    tail: Context
    counted: tuple[Counted | None, ...]
    targets: Any
    index: int

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
            targets=self.targets[samples] if isinstance(self.targets, Tensor) else self.targets,
        )

    def vectors(self, site: int) -> Tensor:
        """The counted activations at a site, ``[n, d]``."""
        x, counted = self.activations[site], self.counted[site]
        return x.reshape(-1, x.shape[-1]) if counted is None else x[counted]

    def count(self, site: int) -> int:
        """Number of counted (sample, position) pairs at a site."""
        x, counted = self.activations[site], self.counted[site]
        return x.shape[0] * x.shape[1] if counted is None else int(counted.sum())

    def forward(self, x: Activations, source: int, target: int) -> Activations:
        """The activation at site ``target`` when the activation at site ``source`` is ``x``."""
        for context in self.contexts[source:target]:
            x = context(x)
        return x

    def workspace(self, source: int, target: int) -> int:
        """About how many numbers one pass from ``source`` to ``target`` holds for this batch."""
        edges = self.activations[source].numel() + self.activations[target].numel()
        return edges + self.size * sum(c.workspace for c in self.contexts[source:target])

    def rest(self, site: int, x: Activations, times: int = 1) -> Tensor:
        """The model's output when the activation at a site is ``x``, the batch being repeated ``times`` times."""
        for context in self.contexts[site:]:
            x = context.tile(times)(x)
        return self.tail.tile(times)(x)


class Section:
    """The model between two neighbouring sites, ``f_{l+1} = F_l(f_l)``.

    Call it with canonical activations ``[batch, position, d_in]`` and the record of the batch that they belong to:
    the record holds the context (masks, position ids) of that batch. It returns ``[batch, position, d_out]``.
    """

    def __init__(self, index: int, source: Site, target: Site) -> None:
        self.index = index
        self.source = source
        self.target = target

    def __call__(self, x: Activations, record: Record) -> Activations:
        """The activation at the next site."""
        return record.contexts[self.index](x)

    def __repr__(self) -> str:
        return f"Section({self.index}: {self.source.name} -> {self.target.name})"


class Traced(abc.ABC):
    """A model cut at sites.

    Attributes:
        sites: the sites, in the model's order.
        sections: one fewer.
        structure: the structure every batch must have.
        mask: which positions count, see `trace`.
    """

    sites: tuple[Site, ...]
    structure: Structure
    mask: Mask | None

    @property
    def sections(self) -> tuple[Section, ...]:
        """The sections between neighbouring sites."""
        return tuple(Section(i, a, b) for i, (a, b) in enumerate(zip(self.sites[:-1], self.sites[1:], strict=True)))

    @abc.abstractmethod
    def run_batch(self, batch: Batch) -> Record:
        """Run one batch and record it."""

    @abc.abstractmethod
    def to(self, *, dtype: torch.dtype | None = None, device: torch.device | None = None) -> Traced:
        """The same cut computing in another dtype or on another device; the model itself stays as it is."""

    @abc.abstractmethod
    def with_mask(self, mask: Mask | None) -> Traced:
        """The same cut with another mask."""

    @abc.abstractmethod
    def facts(self) -> Plain:
        """Model class, fingerprint, sites, dtype: for the record."""

    def record(self, inputs: Any) -> Record:
        """Run one batch of inputs (of the structure of the example) and record it."""
        return next(self.stream([inputs], progress=False))

    def stream(self, batches: Iterable[Any], *, progress: bool | None = None, label: str = "") -> Iterator[Record]:
        """Run and record every batch, one at a time.

        Raises:
            BatchError: the batches are empty, one-shot, of the wrong structure or shape.
            ActivationError: an activation is not finite.
        """
        for _, record in self.pairs(batches, progress=progress, label=label):
            yield record

    def pairs(
        self, batches: Iterable[Any], *, progress: bool | None = None, label: str = ""
    ) -> Iterator[tuple[Batch, Record]]:
        """Like `stream`, with the batch itself beside its record."""
        total = len(batches) if hasattr(batches, "__len__") else None  # pyright: ignore
        disable = None if progress is None else not progress
        with tqdm(total=total, desc=label, disable=disable, leave=False, unit="batch") as bar:
            for batch in read_batches(batches, self.structure):
                with torch.no_grad():
                    record = self.run_batch(batch)
                self._check(record)
                yield batch, record
                bar.update()

    def _check(self, record: Record) -> None:
        for site, x in zip(self.sites, record.activations, strict=True):
            if x.shape[-1] != site.features:
                raise BatchError(
                    f"Batch {record.index} gives {x.shape[-1]} features at site {site.name!r}, but the example gave "
                    f"{site.features}; give batches of the same shape as the example."
                )
            if torch.isfinite(x.sum()):  # a sum shows what is not finite, at a fraction of the cost
                continue
            finite = torch.isfinite(x)
            if not finite.all():
                b, t, i = (~finite).nonzero()[0].tolist()
                raise ActivationError(
                    f"The activation at site {site.name!r} is not finite ({x[b, t, i].item()}) in batch "
                    f"{record.index}, sample {b}, position {t}, feature {i}; clean the data or compute in float64."
                )

    def counted(self, batch: Batch, activations: Sequence[Activations]) -> tuple[Counted | None, ...]:
        """Which positions count at each site, from the mask.

        Raises:
            OptionError: the mask names no input.
            BatchError: the mask's shape fits no site.
        """
        if self.mask is None:
            return (None,) * len(activations)
        mask = self._mask_of(batch)
        out: list[Counted | None] = []
        for site, x in zip(self.sites, activations, strict=True):
            if x.shape[1] == 1:
                out.append(None)
            elif tuple(mask.shape) == tuple(x.shape[:2]):
                out.append(mask.to(x.device, torch.bool))
            else:
                raise BatchError(
                    f"The mask has shape {list(mask.shape)}, but site {site.name!r} has [batch, position] = "
                    f"{list(x.shape[:2])}; give a mask with one entry per sample and position."
                )
        return tuple(out)

    def _mask_of(self, batch: Batch) -> Tensor:
        if callable(self.mask):
            mask = self.mask(batch.kwargs if self.structure.kind == "dict" else batch.args)
            return torch.as_tensor(mask)
        if self.mask not in batch.kwargs:
            raise OptionError(
                f"mask is {self.mask!r}, but the inputs have the names {list(batch.kwargs)}; name one of them or give "
                "a function of the inputs."
            )
        return batch.kwargs[self.mask]


def prepare(
    traced: Traced,
    *,
    dtype: torch.dtype | str | None,
    device: torch.device | str | None,
    mask: Mask | None,
) -> Traced:
    """The traced model with the options that all calls share."""
    if dtype is not None or device is not None:
        traced = traced.to(dtype=parse_dtype(dtype), device=parse_device(device))
    if mask is not None:
        traced = traced.with_mask(mask)
    return traced


def parse_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """``torch.float64``, ``"float64"`` or None.

    Raises:
        OptionError: anything else.
    """
    named = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if named is not None and not (isinstance(named, torch.dtype) and named in (torch.float32, torch.float64)):
        raise OptionError(f"dtype is {dtype!r}; use float32 or float64.")
    if isinstance(dtype, str) and named is None:
        raise OptionError(f"dtype is {dtype!r}; use float32 or float64.")
    return named


def parse_device(device: torch.device | str | None) -> torch.device | None:
    """A device that is there, or None.

    Raises:
        OptionError: there is no such device.
    """
    if device is None:
        return None
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:
        raise OptionError(f'device is {device!r}, which is not there; use "cpu" or a device that torch has.') from error


def moved_targets(batch: Batch, device: torch.device | None) -> Any:
    """The batch's targets on the compute device."""
    return to_device(batch.targets, device, None)
