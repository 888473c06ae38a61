"""Sections that are affine but mix positions, such as convolutions: their Jacobian is the same for every sample."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..anatomy import why_not_affine
from ..cut import Record
from ..cut.subgraph import Subgraph
from ..measure import Records
from ..types import Matrix
from .exact import batch_gram
from .moment import Moment, Span


class AffineForm:
    r"""Exact :math:`M' = \frac1n \sum_{samples}\sum_{t,s} J_{ts}^T C'C'^T J_{ts}` with one J for all samples.

    The passes of the exact rule for one sample of each shape give the sum for all of them. Batches in which not every
    position counts take the exact rule.
    """

    name = "closed form, affine"

    def matches(self, span: Span) -> str | None:
        """None for sections without any operation that is not affine."""
        return span.not_affine or None

    def second_moment(
        self, span: Span, records: Records, readout: Matrix, *, memory: int, progress: bool | None
    ) -> Moment:
        """See `Rule`."""
        each: dict[Subgraph | None, Matrix] = {}
        total: Tensor | None = None
        n = 0
        for record in records.stream(label=f"importance at {span.name}"):
            subgraph = record.contexts[span.source].subgraph
            if why_not_affine(record.contexts[span.source]) or _padded(record, span):
                gram = batch_gram(record, span, readout, memory)
            else:
                if subgraph not in each:
                    some = _first(record, span)
                    each[subgraph] = batch_gram(some, span, readout, memory) / some.size
                gram = each[subgraph] * record.size
            total = gram if total is None else total + gram
            n += record.count(span.source)
        assert total is not None  # noqa: S101 - the stream refuses to be empty
        return Moment(total / max(n, 1), None, self.name, n)


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
