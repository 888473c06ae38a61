"""The rule for sections too large for the exact one: an unbiased estimate by random probes, with its error bar."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ..cut import Record
from ..measure import Records
from ..types import Matrix
from .estimate import GROUPS, ErrorBar, Estimate, Halves
from .exact import pull_back
from .moment import Moment, Span
from .probes import DRAW, Probes


@dataclass(frozen=True, eq=False)
class Sketch(Estimate):
    r"""An unbiased estimate of :math:`M' = \frac1n\sum_{samples}\sum_{t,s} J_{ts}^T C'C'^T J_{ts}`, for any section.

    A probe :math:`\epsilon_t` is random over the output positions t and the readout's columns, another one for every
    sample. One backward pass of the whole batch gives :math:`g_s = \sum_t J_{ts}^T C'\epsilon_t` at all input
    positions s, and :math:`E[\sum_s g_s g_s^T] = \sum_{ts} J_{ts}^T C'C'^T J_{ts}` (Hutchinson 1990). The errors of
    the samples are independent, so that many samples need few probes. The probes of one sample are orthogonal (see
    `Probes`): with R of C draws the error falls as :math:`\sqrt{1/R - 1/C}`, and all of them are exact, for as many
    passes as the exact rule takes for the longest batch, columns times positions (rounded up to a multiple of 4); it
    never takes more. Independent signs have :math:`\sqrt{1/R}`: as good for few probes, 1.4 times the error for half.

    **Errors.** The two frequencies of a draw give two estimates of equal law. Half their difference, summed over
    samples and draws in groups, has the variance of the estimate (stratified sampling, Cochran 1977): one degree of
    freedom from each of 32 groups (as few as 8 where memory is short). The importances are the eigenvalues of
    :math:`W^T M' W`, :math:`W = U g^{1/2}`; noise spreads them, and the largest come out too large, the more the closer
    others are. The eigenvectors of one half's matrix gain nothing on the other half's, so the difference shows how
    much. The error of an importance is the root of its variance plus this difference squared.

    **Stop.** Rounds of more and more draws, each a pass over the records, until the error is at most
    ``relative_error`` for each of the leading importances that together make 99% of the sum.

    M' itself is not corrected for the spread. So it stays unbiased through the recursion, where :math:`C'C'^T` is M'
    of the next site on its kept directions. All errors are those of one section's probes, given its readout and data.
    """

    name = "sketch"

    def matches(self, span: Span) -> str | None:
        """Always."""
        return None

    def second_moment(
        self, span: Span, records: Records, readout: Matrix, *, memory: int, progress: bool | None
    ) -> Moment:
        """See `Rule`. The facts are the probes taken, the passes of the exact rule, the errors reached, the seed."""
        outputs = readout.shape[1] * records.positions[span.target]
        groups = _Groups(span, readout, math.ceil(outputs / DRAW), (self.seed % 2**63, span.source), memory)
        goal = 1
        while goal > groups.done:
            groups.extend(records.stream(label=f"importance at {span.name}"), goal)
            bar = groups.error_bar(self.weigh)
            goal = self._goal(groups, bar)
        complete = groups.done == groups.draws
        facts = {"probes": DRAW * groups.done, "exact_passes": outputs, **self.facts(bar)}
        rule = f"{self.name}, all probes" if complete else self.name
        return Moment(groups.moment(), None if complete else bar.total_stderr, rule, groups.n, facts)

    def _goal(self, groups: _Groups, bar: ErrorBar) -> int:
        """The draws to have after the next round: what the error so far asks for, at most four times as many."""
        done, draws = groups.done, groups.draws
        least = min(draws, math.ceil(2 * GROUPS / max(groups.samples, 1)))
        if done == draws or (done >= least and bar.largest <= self.relative_error):
            return done
        goal = max(least, min(bar.draws_for(self.relative_error, done, draws), 4 * done))
        return draws if goal > 0.9 * draws else goal


class _Groups:
    """Sums of outer products of pulled-back probes; the first frequency of a draw is one half, the second the other.

    Attributes:
        halves: the sums.
        draws: how many make the probes complete.
        done: how many each sample has had.
        n: counted (sample, position) pairs at the input.
        samples: samples in the data.
    """

    def __init__(self, span: Span, readout: Matrix, draws: int, key: tuple[int, int], memory: int) -> None:
        self.span, self.readout, self.draws, self.key, self.memory = span, readout, draws, key, memory
        self.halves = Halves(span.traced.sites[span.source].features, memory)
        self.done = self.n = self.samples = 0

    def extend(self, stream: Iterable[Record], goal: int) -> None:
        """Take every sample from ``done`` to ``goal`` draws."""
        self.n = self.samples = 0
        for record in stream:
            self._add(record, goal)
            self.n += record.count(self.span.source)
            self.samples += record.size
        self.done = goal

    @torch.no_grad()  # of the model's own parameters; torch.func differentiates all the same
    def _add(self, record: Record, goal: int) -> None:
        source, target = self.span.source, self.span.target
        x = record.activations[source]
        readout = self.readout.to(x)
        y, pull = torch.func.vjp(lambda z: record.forward(z, source, target) @ readout, x)[:2]
        counted_in, counted_out = record.counted[source], record.counted[target]
        probes = Probes(y, self.samples, self.draws, goal, self.key)
        bytes_each = 3 * record.workspace(source, target) * x.element_size() + 24 * y.numel()
        numbers = torch.arange(DRAW * self.done, DRAW * goal, device=x.device)
        for part in numbers.split(max(1, int(self.memory // bytes_each))):
            cotangents = probes(part)
            if counted_out is not None:
                cotangents = cotangents * counted_out[..., None].to(cotangents)
            pulled = pull_back(pull, cotangents)
            if counted_in is not None:
                pulled = pulled * counted_in[..., None].to(pulled)
            for number, vectors in zip(part.tolist(), pulled.to(torch.float64), strict=True):
                self.halves.add(vectors, vectors, half=number // 2 % 2, first=self.samples + number // DRAW)

    def moment(self) -> Matrix:
        """The estimate of M' ``[d, d]``."""
        return self.halves.total() / self._scale

    def error_bar(self, weigh: Matrix | None) -> ErrorBar:
        """See `Sketch`."""
        return self.halves.error_bar(weigh, self._scale, left=1 - self.done / self.draws)

    @property
    def _scale(self) -> int:
        return 2 * self.done * max(self.n, 1)
