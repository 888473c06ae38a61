r"""The importance for what the model says itself: the Fisher information of its own labels, one pass for all sites."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..cut import Record
from ..errors import OptionError
from ..measure import Accumulator
from ..numerics import are_probabilities, eigh_descending, log_probabilities
from ..types import Matrix, Plain
from .estimate import Halves, quadratic
from .moment import Moment
from .probes import uniform

SHRINKAGES = tuple(i / 20 for i in range(20))
"""What is tried for ``shrink="auto"``."""


@dataclass(frozen=True)
class Fisher:
    r"""The readout by the Fisher information of the model's own distribution over classes (or tokens).

    A label :math:`y_t` is drawn from the softmax of the model's output at each counted position t (or from the output
    itself where that is probabilities). With
    :math:`g_s = \partial \sum_t \log p(y_t) / \partial f_s`, at every site from one backward pass,
    :math:`E[\sum_s g_s g_s^T] = \sum_{t,s} J_{ts}^T F_t J_{ts}`, :math:`F_t = \mathrm{diag}(p_t) - p_t p_t^T`: twice
    the Kullback-Leibler divergence that a small change of :math:`f_s` makes (Amari 1998; labels are the model's, not
    those of the data: Kunstner, Hennig and Balles 2019). Terms of different positions are uncorrelated.

    **Shrinkage.** The noise of few samples makes some directions look unimportant. :math:`M'` becomes
    :math:`(1-\alpha) M' + \alpha\,(\mathrm{tr} M'/d)\,1`, with the :math:`\alpha` of 0, 0.05, ..., 0.95 for which the
    matrix of one half of the samples says most about the other half: the least
    :math:`\log\det M_\alpha + \mathrm{tr}(M_\alpha^{-1} B)`, summed over both ways (Stein's loss).

    Attributes:
        draws: labels drawn for each position, one backward pass each; an even number.
        shrink: :math:`\alpha`, from 0 to below 1, or ``"auto"``.
        seed: of the labels, which depend on it and the sample's number alone.

    Raises:
        OptionError: an option is no such number.
    """

    draws: int = 4
    shrink: float | str = "auto"
    seed: int = 0

    name = "fisher"

    def __post_init__(self) -> None:
        """Check the options before any work."""
        whole = [isinstance(n, int) and not isinstance(n, bool) for n in (self.draws, self.seed)]
        if not whole[0] or self.draws < 2 or self.draws % 2:
            raise OptionError(f"draws is {self.draws!r}; give an even number of labels for each position, 2 or more.")
        if not whole[1] or self.seed < 0:
            raise OptionError(f"seed is {self.seed!r}; give a whole number from 0.")
        number = isinstance(self.shrink, (int, float)) and not isinstance(self.shrink, bool)
        if self.shrink != "auto" and not (number and 0 <= float(self.shrink) < 1):
            raise OptionError(f'shrink is {self.shrink!r}; give "auto" or a number from 0 to below 1.')


class FisherSums(Accumulator[list[Moment]]):
    """Sums of outer products of the log-likelihood's gradients at all sites but the last.

    Args:
        readout: the options.
        weigh: by site W ``[d, r]``: importances are the eigenvalues of WᵀM'W.
        memory: bound in bytes for what goes through the model together, and for the sums.
        eps: of the dtype in which derivatives are computed.
        real: of the number of a site and its matrix, an orthonormal basis ``[d, r]`` of what in it is more than
            rounding, if that is known: the rest has no say in the shrinkage.
    """

    sums = ("halves", "n")

    def __init__(
        self,
        readout: Fisher,
        weigh: Sequence[Matrix],
        memory: int,
        eps: float,
        real: Callable[[int, Matrix], Matrix] | None = None,
    ) -> None:
        self.readout, self.weigh, self.memory, self.eps, self.real = readout, weigh, memory, eps, real
        self.halves = [Halves(len(W), memory // len(weigh)) for W in weigh]
        self.n = torch.zeros(len(weigh), 2, dtype=torch.int64)  # by site, vectors of even and of odd groups

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        for part in parts(record, self.memory):
            self._add(part)

    def _add(self, record: Record) -> None:
        told = LabelGradients(record)
        for draw in range(self.readout.draws):
            grads = told.gradients(told.labels(self.readout, draw), keep=draw + 1 < self.readout.draws)
            for l, (halves, g) in enumerate(zip(self.halves, grads, strict=True)):
                here = record.counted[l]
                vectors = (g if here is None else g * here[..., None].to(g)).to(torch.float64)
                halves.add(vectors, vectors, halves.seats(record.numbers.to(g.device)), half=draw % 2, draw=0)
        for l in range(len(self.halves)):
            each = torch.full((record.size,), record.activations[l].shape[1])
            each = each if (here := record.counted[l]) is None else here.sum(1).cpu()
            side = record.numbers % self.halves[l].count % 2
            self.n[l] += torch.stack([each[side == parity].sum() for parity in (0, 1)])

    def finish(self) -> list[Moment]:
        """The moment of each site."""
        return [self._moment(l, *of_site) for l, of_site in enumerate(zip(self.halves, self.n.tolist(), strict=True))]

    def _moment(self, l: int, halves: Halves, n: list[int]) -> Moment:
        each, total, weigh = self.readout.draws * max(sum(n), 1), halves.total(), self.weigh[l]
        shrink = self.readout.shrink if isinstance(self.readout.shrink, float | int) else self._agreed(l, halves, n)
        rest = torch.eye(len(total)).to(total) * (shrink * float(total.trace()) / each / len(total))
        bar = halves.error_bar(weigh, each / (1 - shrink), rest=rest)
        facts: Plain = {"relative_error": bar.largest, "importance_stderr": bar.relative.tolist()}
        facts |= {"draws": self.readout.draws, "shrink": float(shrink), "seed": self.readout.seed}
        return Moment(total * ((1 - shrink) / each) + rest, bar.total_stderr, Fisher.name, sum(n), facts)

    def _agreed(self, l: int, halves: Halves, n: list[int]) -> float:
        if not all(n):
            return 0.0
        both = [halves.groups[:, side::2].sum((0, 1)) / n[side] for side in (0, 1)]
        if self.real is None:
            return shrinkage(both[0], both[1], self.eps)
        Q = self.real(l, halves.total())
        even, odd = (Q @ (Q.T @ one @ Q) @ Q.T for one in both)
        return shrinkage(even, odd)


def parts(record: Record, memory: int) -> Iterator[Record]:
    """As many samples at a time as there is memory for."""
    each = 8 * (record.workspace(0, len(record.contexts)) + 6 * record.output.numel()) / record.size
    at_once = max(1, int(memory // max(each, 1)))
    fixed = any(context.fixed_batch is not None for context in (*record.contexts, record.tail))
    if fixed or at_once >= record.size:
        yield record
        return
    for numbers in torch.arange(record.size).split(at_once):
        yield record.select(numbers)


class LabelGradients:
    """What the model says of a batch, to be differentiated by the activations of all sites but the last."""

    def __init__(self, record: Record) -> None:
        self.numbers = record.numbers
        with torch.enable_grad():
            self.path = [record.activations[0].detach().requires_grad_()]
            for context in record.contexts:
                self.path.append(context(self.path[-1]))
            self.log_p = _told(record.tail(self.path[-1]), record.targets)
        counted = record.counted[-1]
        fits = counted is not None and tuple(counted.shape) == tuple(self.log_p.shape[:2])
        self.counted = counted if fits else None
        self._edges: Tensor | None = None

    def labels(self, readout: Fisher, draw: int) -> Tensor:
        """Labels ``[batch, position]`` drawn from what it says."""
        if self._edges is None:
            self._edges = self.log_p.detach().to(torch.float64).exp().cumsum(-1)
        return _labels(self._edges, self.numbers.to(self._edges.device), (readout.seed % 2**63, draw))

    def gradients(self, labels: Tensor, *, keep: bool) -> Sequence[Tensor]:
        """Of the logarithm of the labels' probability, by site; ``keep`` for more labels."""
        with torch.enable_grad():
            chosen = self.log_p.gather(-1, labels[..., None])[..., 0]
            likelihood = (chosen if self.counted is None else chosen * self.counted.to(chosen)).sum()
            return torch.autograd.grad(likelihood, self.path[:-1], retain_graph=keep)


def _told(output: Tensor, targets: Any) -> Tensor:
    """Logarithms of probabilities ``[batch, position, class]`` of an output ``[batch, ..., class]``.

    Raises:
        OptionError: it is nothing of several classes.
    """
    if output.ndim not in (2, 3) or output.shape[-1] < 2:
        raise OptionError(
            f'readout="fisher" draws labels from the model\'s own probabilities, but its output has the shape '
            f'{list(output.shape)}, not [batch, classes] or [batch, position, classes]; use readout="output".'
        )
    numbers = isinstance(targets, Tensor) and targets.is_floating_point() and targets.shape == output.shape
    if numbers and not are_probabilities(targets):
        raise OptionError(
            'readout="fisher" draws labels of classes, but the targets of the batches are numbers in the shape of the '
            f'output, {list(output.shape)}, and no probabilities; use readout="output" for a model of numbers.'
        )
    told = log_probabilities(output)
    return told[:, None] if told.ndim == 2 else told


def _labels(edges: Tensor, numbers: Tensor, key: tuple[int, ...]) -> Tensor:
    """Labels ``[batch, position]`` for cumulated probabilities ``[batch, position, class]``."""
    chance = uniform(numbers, edges.shape[1], (*key, 2))
    return torch.searchsorted(edges, chance[..., None] * edges[..., -1:], right=True)[..., 0].clamp(
        max=edges.shape[-1] - 1
    )


def shrinkage(even: Matrix, odd: Matrix, eps: float = 0.0) -> float:
    """That for which the matrices of two halves of the samples say most about each other, computed to so much."""
    losses = torch.stack([_losses(even, odd, eps), _losses(odd, even, eps)]).sum(0)
    return SHRINKAGES[int(losses.argmin())]


def _losses(known: Matrix, other: Matrix, eps: float) -> Tensor:
    """Stein's loss of one matrix, shrunk, as a guess at another: nowhere less than rounding makes of nothing."""
    values, V = eigh_descending(known)
    least = values.max().clamp(min=torch.finfo(values.dtype).tiny) * torch.finfo(values.dtype).eps
    least = least + 64 * eps**2 * known.diagonal().clamp_min(0) @ V.square()
    seen, mean = quadratic(other, V), values.mean()
    guessed = [torch.maximum((1 - alpha) * values + alpha * mean, least) for alpha in SHRINKAGES]
    return torch.stack([(guess.log() + seen / guess).sum() for guess in guessed])
