"""A model cut at sites: what every later stage works on, whether it came from a graph or from plain callables."""

from __future__ import annotations

import abc
import copy
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, NoReturn, Self

import torch
from torch import Tensor

from ..ambient import as_outside
from ..data import Batch, Structure, read_batches
from ..errors import ActivationError, BatchError, OptionError, first_line
from ..types import Activations, Counted, Plain
from .limits import NormLimits, norms
from .record import Record

_log = logging.getLogger("libasis")

Mask = str | Callable[[Any], Tensor]
LeadIn = Callable[[list[Tensor]], Sequence[Activations]]


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
        coarse: whether something is computed in half precision on the way, whatever the sites are in.
        limits: the largest norms that count, see `libasis.without_outliers`; None for any.
    """

    limits: NormLimits | None = None
    coarse: bool = False
    sites: tuple[Site, ...]
    structure: Structure
    mask: Mask | None

    @property
    def sections(self) -> tuple[Section, ...]:
        """The sections between neighbouring sites."""
        return tuple(Section(i, a, b) for i, (a, b) in enumerate(zip(self.sites[:-1], self.sites[1:], strict=True)))

    @abc.abstractmethod
    def run_batch(self, batch: Batch, first: int = 0) -> Record:
        """Run one batch and record it; its samples are numbered from ``first``."""

    def to(
        self,
        *,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
        mask: Mask | None | EllipsisType = ...,
    ) -> Traced:
        """The same cut computing in another dtype, on another device or with another mask; the model stays as it is.

        Args:
            dtype: ``"float32"`` or ``"float64"``; None leaves it as it is.
            device: a device of torch; None leaves it as it is.
            mask: which positions count, see `trace`; None for all.

        Raises:
            OptionError: there is no such dtype or device.
        """
        if not isinstance(mask, EllipsisType):
            check_mask(mask)
        moved = self._moved(parse_dtype(dtype), parse_device(device))
        return moved if isinstance(mask, EllipsisType) or mask is moved.mask else moved._with(mask)

    def _with(self, mask: Mask | None) -> Traced:
        return self._derived(mask=mask)

    def with_mask(self, *_: Any) -> NoReturn:
        """An old name."""
        raise OptionError("with_mask is traced.to(mask=...) now.")

    @abc.abstractmethod
    def _moved(self, dtype: torch.dtype | None, device: torch.device | None) -> Traced:
        """See `to`."""

    def _derived(self, **changes: Any) -> Self:
        new = copy.copy(self)
        vars(new).update(changes)
        return new

    @abc.abstractmethod
    def lead_in(self, batch: Batch) -> tuple[list[Tensor], LeadIn]:
        """The tensors among a batch's inputs, in their order, and what makes the activations of all sites of them.

        It can be differentiated by those inputs that are floating.
        """

    @property
    @abc.abstractmethod
    def weights(self) -> int:
        """How many numbers the model's own weights are."""

    @abc.abstractmethod
    def facts(self) -> Plain:
        """Model class, fingerprint, sites, dtype: for the record."""

    def record(self, inputs: Any) -> Record:
        """Run one batch of inputs (of the structure of the example) and record it."""
        return next(self.stream([inputs]))

    def stream(self, batches: Iterable[Any]) -> Iterator[Record]:
        """Run and record every batch, one at a time; samples are numbered in their order.

        Raises:
            BatchError: the batches are empty, one-shot, of the wrong structure or shape.
            ActivationError: an activation is not finite.
        """
        first = 0
        for batch in read_batches(batches, self.structure):
            with torch.no_grad():
                record = self.run_batch(batch, first)
            self._check(record)
            yield record
            first += record.size

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
        """Which positions count at each site, from the mask and the limits.

        Raises:
            OptionError: the mask names no input.
            BatchError: the mask's shape fits no site.
        """
        counted = self._masked(batch, activations)
        if self.limits is None:
            return counted
        both = zip(self.sites, activations, strict=True)
        near = self.limits.near(norms({s.name: x for s, x in both if s.name in self.limits.norms}))
        pairs = [(near.get(x.shape[1]), c) for x, c in zip(activations, counted, strict=True)]
        return tuple(c if n is None else n if c is None else n & c for n, c in pairs)

    def _masked(self, batch: Batch, activations: Sequence[Activations]) -> tuple[Counted | None, ...]:
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
            try:
                with as_outside():
                    return torch.as_tensor(self.mask(batch.kwargs if self.structure.kind == "dict" else batch.args))
            except Exception as error:
                raise BatchError(
                    f"The mask fails on batch {batch.index} ({type(error).__name__}: {first_line(error)}); give a "
                    "function of the inputs (a dict where they are one, otherwise a tuple) that returns a tensor "
                    "[batch, position]."
                ) from error
        if self.mask not in batch.kwargs:
            raise OptionError(
                f"mask is {self.mask!r}, but the inputs have the names {list(batch.kwargs)}; name one of them or give "
                "a function of the inputs."
            )
        return batch.kwargs[self.mask]


def say_flat(site: Site) -> None:
    """Say in the log that a mask has no part at a last site ``[batch, features]``."""
    _log.warning(
        f"The mask has no part at the last site {site.name!r}, which is read as one position of {site.features} "
        f"features; where it has a number for each position, let the model return [batch, {site.features}, 1]."
    )


def check_mask(mask: Any) -> None:
    """Refuse what is no mask.

    Raises:
        OptionError: it is neither the name of an input, a function nor None.
    """
    if mask is not None and not isinstance(mask, str) and not callable(mask):
        raise OptionError(
            f"mask is of type {type(mask).__name__}; give the name of an input or a function of the inputs that "
            "returns [batch, position]."
        )


def parse_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """``torch.float64``, ``"float64"`` or None.

    Raises:
        OptionError: anything else.
    """
    named = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if dtype is not None and not (isinstance(named, torch.dtype) and named in (torch.float32, torch.float64)):
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
        if (found := torch.empty(0, device=device).device).type != "meta":  # which holds no numbers
            return found
        raise RuntimeError
    except (RuntimeError, AssertionError, TypeError) as error:
        raise OptionError(f'device is {device!r}, which is not there; use "cpu" or a device that torch has.') from error
