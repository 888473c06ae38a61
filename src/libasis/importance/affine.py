"""Sections that are affine but mix positions, such as convolutions: their Jacobian is the same for every sample."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ..anatomy import why_not_affine
from ..cut import Record
from ..cut.subgraph import Subgraph
from ..measure import Accumulator
from ..types import Matrix
from .exact import batch_gram
from .moment import Cost, Moment, Span
from .totals import BatchTotal


@dataclass(frozen=True)
class AffineForm:
    r"""Exact :math:`M' = \frac1n \sum_{samples}\sum_{t,s} J_{ts}^T C'C'^T J_{ts}` with one J for all samples.

    The passes of the exact rule for one sample of each shape give the sum for all of them. Batches in which not every
    position counts take the exact rule.
    """

    name = "closed form, affine"

    def matches(self, span: Span) -> str | None:
        """None for sections without any operation that is not affine."""
        return span.not_affine or None

    def cost(self, span: Span, columns: int) -> Cost:
        """Next to nothing for each batch."""
        return Cost()

    def start(self, span: Span, readout: Matrix, memory: int, weigh: Matrix | None) -> Accumulator[Moment]:
        """See `Rule`."""
        each: dict[Subgraph | None, Matrix] = {}

        def term(record: Record) -> Matrix:
            context = record.contexts[span.source]
            if why_not_affine(context) or _padded(record, span):
                return batch_gram(record, span, readout, memory)
            if context.subgraph not in each:
                some = _first(record, span)
                each[context.subgraph] = batch_gram(some, span, readout, memory) / some.size
            return each[context.subgraph] * record.size

        return BatchTotal(self.name, span, term)


def _padded(record: Record, span: Span) -> bool:
    counted = (record.counted[span.source], record.counted[span.target])
    return any(c is not None and not bool(torch.all(c)) for c in counted)


def _first(record: Record, span: Span) -> Record:
    """The first sample alone, where the graph takes it alone."""
    context = record.contexts[span.source]
    if context.fixed_batch:
        return record
    one = slice(0, 1)
    contexts = list(record.contexts)
    contexts[span.source] = replace(context, values=context.of(one))
    counted = tuple(None if c is None else c[one] for c in record.counted)
    activations = tuple(x[one] for x in record.activations)
    return replace(record, activations=activations, contexts=tuple(contexts), counted=counted)
