"""The rule for sections too large for the exact one: an unbiased estimate by random probes, with its error bar."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ..cut import Record, pull_back
from ..measure import Accumulator
from ..types import Matrix
from .estimate import GROUPS, ErrorBar, Halves, ProbeOptions
from .moment import Cost, Moment, Span
from .probes import DRAW, ProbeFamily


@dataclass(frozen=True)
class Sketch(ProbeOptions):
    r"""An unbiased estimate of :math:`M' = \frac1n\sum_{samples}\sum_{t,s} J_{ts}^T C'C'^T J_{ts}`, for any section.

    A probe :math:`\epsilon_t` is random over the output positions t and the readout's columns, another one for every
    sample. One backward pass of the whole batch gives :math:`g_s = \sum_t J_{ts}^T C'\epsilon_t` at all input positions
    s, and :math:`E[\sum_s g_s g_s^T] = \sum_{ts} J_{ts}^T C'C'^T J_{ts}` (Hutchinson 1990). The errors of the samples
    are independent, so that many samples need few probes. The probes of one sample are orthogonal (see `ProbeFamily`):
    with R of C draws the error falls as :math:`\sqrt{1/R - 1/C}`, and all of them are exact, for as many passes as the
    exact rule takes for the longest batch, columns times positions (rounded up to a multiple of 4); it never takes
    more. Independent signs have :math:`\sqrt{1/R}`: as good for few probes, 1.4 times the error for half.

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

    def cost(self, span: Span, columns: int) -> Cost:
        """As many passes as the error asks for, never too many."""
        return Cost()

    def start(self, span: Span, readout: Matrix, memory: int, weigh: Matrix | None) -> Accumulator[Moment]:
        """See `Rule`. The facts are the probes taken, the passes of the exact rule, the errors reached, the seed."""
        return SketchSums(self, span, readout, memory, weigh)

    def goal(self, done: int, draws: int, samples: int, bar: ErrorBar) -> int:
        """The draws to have after the next round: what the error so far asks for, at most four times as many."""
        least = min(draws, math.ceil(2 * GROUPS / max(samples, 1)))
        if done == draws or (done >= least and bar.largest <= self.relative_error):
            return done
        goal = max(least, min(bar.draws_for(self.relative_error, done, draws), 4 * done))
        return draws if goal > 0.9 * draws else goal


class SketchSums(Accumulator[Moment]):
    """Sums of outer products of pulled-back probes; the first frequency of a draw is one half, the second the other.

    Attributes:
        halves: the sums.
        draws: how many make the probes complete.
        done: how many each sample has had.
        goal: how many it has after this round.
        n: counted (sample, position) pairs at the input.
        samples: samples in the data.
        bar: the error after the last round.
    """

    sums = ("halves", "n", "samples")
    plan = ("done", "goal")

    def __init__(self, rule: Sketch, span: Span, readout: Matrix, memory: int, weigh: Matrix | None) -> None:
        self.rule, self.span, self.readout, self.memory, self.weigh = rule, span, readout, memory, weigh
        self.outputs = readout.shape[1] * span.longest
        self.draws = math.ceil(self.outputs / DRAW)
        self.halves = Halves(span.traced.sites[span.source].features, memory)
        self.done, self.goal = 0, 1
        self.n = self.samples = 0
        self.bar: ErrorBar | None = None

    def add(self, record: Record) -> None:
        """Take every sample from ``done`` to ``goal`` draws."""
        source, target = self.span.source, self.span.target
        x = record.activations[source]
        readout = self.readout.to(record.activations[target])
        through = record.contexts[source:target]
        y, pull = pull_back(lambda z: record.forward(z, source, target) @ readout, x, through)
        counted_in, counted_out = record.counted[source], record.counted[target]
        probes = ProbeFamily(y, record.numbers, self.draws, self.goal, (self.rule.seed % 2**63, source))
        seats = self.halves.seats(record.numbers.to(x.device))
        bytes_each = 3 * record.workspace(source, target) * x.element_size() + 24 * y.numel()
        numbers = torch.arange(DRAW * self.done, DRAW * self.goal, device=x.device)
        for part in numbers.split(max(1, int(self.memory // bytes_each))):
            cotangents = probes(part)
            if counted_out is not None:
                cotangents = cotangents * counted_out[..., None].to(cotangents)
            pulled = pull(cotangents)
            if counted_in is not None:
                pulled = pulled * counted_in[..., None].to(pulled)
            for number, vectors in zip(part.tolist(), pulled.to(torch.float64), strict=True):
                self.halves.add(vectors, vectors, seats, half=number // 2 % 2, draw=number // DRAW)
        if not self.done:
            self.n += record.count(source)
            self.samples += record.size

    def another_round(self) -> bool:
        """Whether the error asks for more draws."""
        self.done = self.goal
        self.bar = self.error_bar()
        self.goal = self.rule.goal(self.done, self.draws, self.samples, self.bar)
        return self.goal > self.done

    def finish(self) -> Moment:
        """The moment, with its error."""
        bar = self.bar or self.error_bar()
        facts = {"probes": DRAW * self.done, "exact_passes": self.outputs, **self.rule.facts(bar)}
        complete = self.done == self.draws
        rule = f"{self.rule.name}, all probes" if complete else self.rule.name
        return Moment(self.halves.total() / self._scale, None if complete else bar.total_stderr, rule, self.n, facts)

    def error_bar(self) -> ErrorBar:
        """See `Sketch`."""
        return self.halves.error_bar(self.weigh, self._scale, left=1 - self.done / self.draws)

    @property
    def _scale(self) -> int:
        return 2 * self.done * max(self.n, 1)
