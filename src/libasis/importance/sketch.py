"""The rule for sections too large for the exact one: an unbiased estimate by random probes, with its error bar."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..cut import Record, Records
from ..errors import OptionError
from ..numerics import eigh_descending
from ..numerics.eigen import symmetric
from ..types import Matrix, Vector
from .exact import pull_back
from .moment import Moment, Span
from .probes import DRAW, Probes

GROUPS = 32
"""Independent groups of probes: degrees of freedom of the error bar."""

SHARE = 0.99
"""The leading importances that together make this share of their sum are held to the requested error."""


@dataclass(frozen=True, eq=False)
class Sketch:
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

    Attributes:
        weigh: W ``[d, r]``; None for the identity.
        seed: decides the probes, and nothing else does: no batch, no device, no global generator (none is touched).
        relative_error: where to stop, between 0 and 1.

    Raises:
        OptionError: ``relative_error`` is no such number.
    """

    weigh: Matrix | None = None
    seed: int = 0
    relative_error: float = 0.01

    name = "sketch"

    def __post_init__(self) -> None:
        """Check the options before any work."""
        error = self.relative_error
        if isinstance(error, bool) or not isinstance(error, (int, float)) or not 0 < error < 1:
            raise OptionError(
                f"relative_error is {error!r}; give a number between 0 and 1, for instance 0.01 for one percent."
            )

    def matches(self, span: Span) -> str | None:
        """Always."""
        return None

    def second_moment(
        self, span: Span, records: Records, readout: Matrix, *, memory: int, progress: bool | None
    ) -> Moment:
        """See `Rule`. The facts are the probes taken, the passes of the exact rule, the errors reached, the seed."""
        outputs = readout.shape[1] * max(r.activations[span.target].shape[1] for r in records.stream(progress=False))
        groups = _Groups(span, readout, math.ceil(outputs / DRAW), (self.seed % 2**63, span.source), memory)
        goal = 1
        while goal > groups.done:
            groups.extend(records.stream(progress=progress, label=f"importance at {span.name}"), goal)
            bar = groups.error_bar(self.weigh)
            goal = self._goal(groups, bar.largest)
        complete = groups.done == groups.draws
        facts = {
            "probes": DRAW * groups.done,
            "exact_passes": outputs,
            "relative_error": bar.largest,
            "importance_stderr": bar.relative.tolist(),
            "seed": self.seed,
        }
        rule = f"{self.name}, all probes" if complete else self.name
        return Moment(groups.moment(), None if complete else bar.total_stderr, rule, groups.n, facts)

    def _goal(self, groups: _Groups, reached: float) -> int:
        """The draws to have after the next round: what the error so far asks for, at most four times as many."""
        done, draws = groups.done, groups.draws
        least = min(draws, math.ceil(2 * GROUPS / max(groups.samples, 1)))
        if done == draws or (done >= least and reached <= self.relative_error):
            return done
        shrink = (self.relative_error / max(reached, 1e-12)) ** 2
        need = 1.1 / (1 / draws + (1 / done - 1 / draws) * shrink)
        goal = max(least, done + 1, min(math.ceil(need), 4 * done))
        return draws if goal > 0.9 * draws else goal


@dataclass(frozen=True, eq=False)
class ErrorBar:
    """What is known about the error of the importances.

    Attributes:
        importances: ``[r]``, descending.
        differences: half the difference between the two halves of each group, in each importance, ``[group, r]``.
        gain: how far each importance stands above its eigenvector's value on independent probes, ``[r]``.
        left: the share of the draws not taken.
    """

    importances: Vector
    differences: Matrix
    gain: Vector
    left: float

    @property
    def relative(self) -> Vector:
        """Relative error of each importance, those above zero."""
        variance = self.differences.square().sum(0) * self.left + (self.gain * self.left).square()
        above = self.importances > 0
        return variance[above].sqrt() / self.importances[above]

    @property
    def largest(self) -> float:
        """The largest relative error among the leading importances that make `SHARE` of the sum; 0 without any."""
        before = self.importances.cumsum(0) - self.importances
        relative = self.relative[: int((before < SHARE * self.total).sum())]
        return float(relative.max()) if len(relative) else 0.0

    @property
    def total_stderr(self) -> float:
        """Relative standard error of the sum of the importances."""
        variance = self.differences.sum(1).square().sum() * self.left
        return float(variance.sqrt() / self.total.clamp(min=torch.finfo(torch.float64).tiny))

    @property
    def total(self) -> Tensor:
        """The sum of the importances."""
        return self.importances.sum()


class _Groups:
    """Sums of outer products of pulled-back probes: the two halves of all draws, each in independent groups.

    Sample i's draw c belongs to group i + c, modulo their number; the first frequency of a draw is one half, the second
    the other.

    Attributes:
        sums: ``[half, group, d, d]``, float64.
        draws: how many make the probes complete.
        done: how many each sample has had.
        n: counted (sample, position) pairs at the input.
        samples: samples in the data.
    """

    def __init__(self, span: Span, readout: Matrix, draws: int, key: tuple[int, int], memory: int) -> None:
        self.span, self.readout, self.draws, self.key, self.memory = span, readout, draws, key, memory
        d = span.traced.sites[span.source].features
        self.count = max(GROUPS // 4, min(GROUPS, int(memory // (64 * d**2))))  # a quarter of the memory
        self.sums = torch.zeros(2, self.count, d, d, dtype=torch.float64)
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
        readout, self.sums = self.readout.to(x), self.sums.to(x.device)
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
                self._accumulate(vectors, half=number // 2 % 2, first=self.samples + number // DRAW)

    def _accumulate(self, vectors: Tensor, half: int, first: int) -> None:
        """Add each sample's outer products to its group: ``[batch, position, d]``, the first to group ``first``."""
        padded = functional.pad(vectors, (0, 0, 0, 0, 0, -len(vectors) % self.count))
        groups = padded.unflatten(0, (-1, self.count)).transpose(0, 1).flatten(1, 2).roll(first, 0)
        self.sums[half].baddbmm_(groups.mT, groups)

    def moment(self) -> Matrix:
        """The estimate of M' ``[d, d]``."""
        return symmetric(self.sums.sum((0, 1))) / self._scale

    def error_bar(self, weigh: Matrix | None) -> ErrorBar:
        """See `Sketch`."""
        W = torch.eye(self.sums.shape[-1]).to(self.sums) if weigh is None else weigh.to(self.sums)
        halves = [W.T @ half.sum(0) @ W * (2 / self._scale) for half in self.sums]
        values, V = eigh_descending((halves[0] + halves[1]) / 2)
        differences = [quadratic(a - b, W @ V) / self._scale for a, b in zip(*self.sums, strict=True)]
        others = (quadratic(halves[1 - i], eigh_descending(halves[i])[1]) for i in (0, 1))
        return ErrorBar(values, torch.stack(differences), values - sum(others) / 2, 1 - self.done / self.draws)

    @property
    def _scale(self) -> int:
        return 2 * self.done * max(self.n, 1)


def quadratic(A: Matrix, V: Matrix) -> Vector:
    """The diagonal of VᵀAV."""
    return (V * (A @ V)).sum(0)
