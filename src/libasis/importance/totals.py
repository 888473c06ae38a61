"""What rules sum up over the data: a matrix for each batch, or sums of each shape of batch."""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, Self, TypeVar

import torch

from ..anatomy import Anatomy
from ..cut import Record
from ..measure import Accumulator
from ..numerics import State, coarse
from ..types import Activations, Matrix
from .moment import Cost, Moment, Span


class BatchRule(abc.ABC):
    """A rule whose :math:`n M'` is a sum with a matrix for each batch: all that it must say is that matrix.

    Attributes:
        name: what results are said to come from.
    """

    name: str

    def matches(self, span: Span) -> str | None:
        """Every section, unless a rule says otherwise."""
        return None

    def cost(self, span: Span, columns: int) -> Cost:
        """A pass for each column and output position, unless a rule says otherwise."""
        return Cost(passes=columns * span.outputs)

    @abc.abstractmethod
    def term(self, record: Record, span: Span, readout: Matrix, memory: int) -> Matrix:
        """The batch's share of :math:`n M'`, ``[d, d]``, float64, for a readout ``[d_out, k_out]``."""

    def start(self, span: Span, readout: Matrix, memory: int, weigh: Matrix | None) -> Accumulator[Moment]:
        """See `Rule`."""
        return BatchTotal(self.name, span, lambda record: self.term(record, span, readout, memory))


class BatchTotal(Accumulator[Moment]):
    """M' as a sum with a term for each batch.

    Args:
        name: of the rule.
        span: the section.
        term: from a record to its share of :math:`n M'`, ``[d, d]``, float64.
    """

    sums = ("total", "n")

    def __init__(self, name: str, span: Span, term: Callable[[Record], Matrix]) -> None:
        self.name, self.span, self.term = name, span, term
        self.total: Matrix | None = None
        self.n = 0

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        term = self.term(record)
        self.total = term if self.total is None else self.total + term
        self.n += record.count(self.span.source)

    def finish(self) -> Moment:
        """The moment."""
        assert self.total is not None  # noqa: S101 - the driver refuses data without a batch
        return Moment(self.total / max(self.n, 1), None, self.name, self.n)


class ShapeSums(Protocol):
    """Sums over samples of one shape, of which :math:`n M'` is a linear function."""

    def moment(self) -> Matrix:
        """:math:`n M'` ``[d, d]``."""
        ...

    def emptied(self) -> Self:
        """See `Sums`."""
        ...

    def state(self) -> State:
        """See `Sums`."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """See `Sums`."""
        ...


def in_full(record: Record, site: int) -> Record:
    """With a site's activations in float32 where they are in half precision, in which sums lose digits or overflow."""
    x = record.activations[site]
    return record.with_activation(site, x.float()) if coarse(x.dtype) else record


Sum = TypeVar("Sum", bound=ShapeSums)


class ShapeTotals(Accumulator[Moment], abc.ABC, Generic[Sum]):
    """M' from sums for each shape of batch, since each may have an anatomy of its own.

    A state has the sums of the first batch's shape; of all others together it has :math:`n M'`.

    Attributes:
        shapes: by anatomy.
        before: :math:`n M'` of what was put together, or read from a state.
        n: counted (sample, position) pairs at the section's input.
    """

    sums = ("before", "shapes", "n")

    def __init__(self, name: str, span: Span) -> None:
        self.name, self.span = name, span
        self.before: Matrix | None = None
        self.shapes: dict[Anatomy, Sum] = {}
        self.n = 0

    @abc.abstractmethod
    def sums_for(self, anatomy: Anatomy, like: Activations) -> Sum:
        """Sums for a new shape, that of a batch with such activations at the section's input."""

    def of(self, record: Record) -> Sum:
        """The sums of its shape."""
        anatomy = self.span.anatomy_of(record)
        if anatomy not in self.shapes:
            self.shapes[anatomy] = self.sums_for(anatomy, record.activations[self.span.source])
        return self.shapes[anatomy]

    def total(self) -> Matrix | None:
        """:math:`n M'` ``[d, d]``, None before anything was added."""
        terms = [part.moment() for part in self.shapes.values()]
        if self.before is not None:
            terms.append(self.before.to(terms[0].device) if terms else self.before)
        return torch.stack(terms).sum(0) if terms else None

    def settle(self) -> None:
        """See `Sums`."""
        told = self._told()
        self.before, self.shapes = told.before, told.shapes

    def _told(self) -> Self:
        told = copy.copy(self)
        first = {shape: sums for shape, sums in self.shapes.items() if shape is self.span.anatomy}
        told.shapes = {shape: sums for shape, sums in self.shapes.items() if shape not in first}
        told.before, told.shapes = told.total(), first
        return told

    def state(self) -> State:
        """See `Sums`."""
        told = self._told()
        first, told.shapes = list(told.shapes.values()), {}
        found = super(ShapeTotals, told).state()
        return {**found, **{f"first.{key}": value for sums in first for key, value in sums.state().items()}}

    def load(self, state: Mapping[str, Any]) -> None:
        """See `Sums`."""
        super().load(state)
        if first := {key[6:]: value for key, value in state.items() if key.startswith("first.")}:
            anatomy, like = self.span.anatomy, self.span.like
            assert not isinstance(anatomy, str)  # noqa: S101 - the rule matched
            assert like is not None  # noqa: S101 - of a section that was recorded
            self.shapes = {anatomy: self.sums_for(anatomy, like)}
            self.shapes[anatomy].load(first)

    def finish(self) -> Moment:
        """The moment."""
        return Moment(self.value(), None, self.name, self.n)

    def value(self) -> Matrix:
        """M' ``[d, d]``."""
        total = self.total()
        assert total is not None  # noqa: S101 - the driver refuses data without a batch
        return total / max(self.n, 1)
