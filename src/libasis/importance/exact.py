"""The rule that holds for every section: one backward pass per readout column and output position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..cut import Record, pull_back
from ..types import Matrix
from .moment import Span
from .totals import BatchRule


@dataclass(frozen=True)
class Exact(BatchRule):
    r"""Exact :math:`M' = \frac1n\sum_{samples}\sum_{t,s} J_{ts}^T C'C'^T J_{ts}` by reverse mode.

    For each output position t and readout column k one vector-Jacobian product gives :math:`J_{ts}^T c'_k` for all
    samples and input positions s at once; their outer products are summed in float64. Products are batched up to the
    memory bound.
    """

    name = "exact"

    def term(self, record: Record, span: Span, readout: Matrix, memory: int) -> Matrix:
        """See `BatchRule`."""
        return batch_gram(record, span, readout, memory)


def batch_gram(record: Record, span: Span, readout: Matrix, memory: int) -> Matrix:
    """The sum over samples and positions of a batch, float64 ``[d, d]``."""
    x = record.activations[span.source]
    readout = readout.to(record.activations[span.target])
    through = record.contexts[span.source : span.target]
    y, pull = pull_back(lambda z: record.forward(z, span.source, span.target) @ readout, x, through)
    counted_in, counted_out = record.counted[span.source], record.counted[span.target]
    gram = torch.zeros(x.shape[-1], x.shape[-1], dtype=torch.float64, device=x.device)
    per_cotangent = 3 * record.workspace(span.source, span.target) * x.element_size()
    for _, cotangents in one_hot(y, max(1, memory // max(per_cotangent, 1))):
        if counted_out is not None:
            cotangents = cotangents * counted_out[..., None].to(cotangents)
        pulled = pull(cotangents)
        vectors = pulled if counted_in is None else pulled[:, counted_in]
        vectors = vectors.reshape(-1, x.shape[-1]).to(torch.float64)
        gram += vectors.T @ vectors
    return gram


def one_hot(y: Tensor, chunk: int) -> Iterator[tuple[Tensor, Tensor]]:
    """One-hot cotangents for every (position, column), the same for all samples: indices and ``[c, batch, t, k]``."""
    _, positions, columns = y.shape
    total = positions * columns
    for start in range(0, total, chunk):
        index = torch.arange(start, min(start + chunk, total), device=y.device)
        hot = torch.zeros(len(index), total, dtype=y.dtype, device=y.device)
        hot[torch.arange(len(index), device=y.device), index] = 1.0
        yield index, hot.view(-1, 1, positions, columns).expand(-1, *y.shape).contiguous()
