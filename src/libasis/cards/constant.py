"""Whether a model is better than one answer for all samples: of one that is not, nothing that it uses can be tested."""

from __future__ import annotations

import torch
from torch import Tensor

from ..intervene import Metric
from ..intervene.scores import BySample
from ..numerics import Sums
from ..types import Plain

WIDEST, LEAST = 64, 10
"""Numbers of a target and samples from which it is seen."""
CHANCE = 0.2
"""Of the way from chance to no error, in accuracy by class, up to which a classifier has learnt nothing."""


def by_class(right: Tensor, targets: Tensor) -> tuple[float, float]:
    """Of answers, 1 where right, how far they go from chance to no error in accuracy by class, and the largest class.

    Args:
        right: ``[n]``, float64.
        targets: at least two classes, ``[n]``.

    Returns:
        The part of that way, and the share of the most frequent class: the accuracy of always giving it.
    """
    classes, codes, counts = torch.unique(targets, return_inverse=True, return_counts=True)
    each = torch.zeros(len(classes), dtype=torch.float64).index_add_(0, codes, right) / counts
    chance = 1 / len(classes)
    return (float(each.mean()) - chance) / (1 - chance), float(counts.max()) / len(targets)


class Constant(Sums):
    """Targets of samples and how the model scores, to compare it with one answer for all of them."""

    sums = ("rows",)

    def __init__(self, metric: Metric) -> None:
        self.metric, self.rows = metric, BySample()

    def add(self, numbers: Tensor, scores: Tensor, targets: object, which: Tensor) -> None:
        """Look at scores ``[n]`` and targets of the samples ``which`` of a batch."""
        if not isinstance(targets, Tensor) or not targets.ndim or len(targets) != len(scores):
            return
        own = targets.reshape(len(targets), -1).cpu().double()
        if own.shape[1] <= (1 if self.metric.name in ("accuracy", "cross_entropy") else WIDEST):
            self.rows.add(numbers, torch.cat([scores.cpu().double()[:, None], own], 1)[which.cpu()])

    def facts(self) -> Plain | None:
        """The model's score beside that of one answer, and whether it is no better; None where that is not known."""
        table = self.rows.table()[1]
        table = table[table.isfinite().all(1)]
        if len(table) < LEAST:
            return None
        score, targets = float(table[:, 0].mean()), table[:, 1:]
        if self.metric.name == "mse":
            constant = float(targets.var(0, correction=0).mean())
            return {"score": score, "constant": constant, "no_better": score >= constant > 0}
        if self.metric.name not in ("accuracy", "cross_entropy"):
            return None
        shares = torch.unique(targets[:, 0], return_counts=True)[1].double() / len(table)
        if len(shares) < 2:
            return None
        if self.metric.name == "cross_entropy":
            constant = float(-(shares * shares.log()).sum())
            return {"score": score, "constant": constant, "no_better": score >= constant}
        way, constant = by_class(table[:, 0], targets[:, 0])
        return {"score": score, "constant": constant, "no_better": score <= constant and way <= CHANCE}
