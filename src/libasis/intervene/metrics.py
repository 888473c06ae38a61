"""How well the model does: per-sample scores, summed and counted, never means of batch means."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import BatchError, OptionError
from ..types import Vector

MetricSpec = str | Callable[[Tensor, Any], Tensor]
IGNORED = -100
"""Targets with this value are not counted."""


@dataclass(frozen=True)
class Metric:
    """A metric: ``scores(outputs, targets)`` gives the scores that count, in one flat tensor.

    Attributes:
        name: for the record.
        higher_is_better: whether a drop of the score is a loss.
        scores: the function.
    """

    name: str
    higher_is_better: bool
    scores: Callable[[Tensor, Any], Tensor]

    def drop(self, base: float, score: float) -> float:
        """By how much ``score`` is worse than ``base``."""
        return base - score if self.higher_is_better else score - base

    def passes(self, base: float, score: float, max_drop: float) -> bool:
        """Whether ``score`` is worse than ``base`` by no more than ``max_drop``.

        The tolerance is far below one sample's share of a score, and far above the rounding of a mean.
        """
        return self.drop(base, score) <= max_drop + 1e-12


def check_max_drop(max_drop: float) -> None:
    """Refuse what is no number.

    Raises:
        OptionError: it is none.
    """
    if not isinstance(max_drop, (int, float)) or math.isnan(max_drop):
        raise OptionError(f"max_drop is {max_drop!r}; give a number, in the units of the metric.")


class Tally:
    """The running mean of a metric; with ``per_sample`` also each sample's sum and number of scores."""

    def __init__(self, metric: Metric, *, per_sample: bool = False) -> None:
        self.metric = metric
        self.total = 0.0
        self.count = 0
        self._parts: list[tuple[Tensor, Tensor]] | None = [] if per_sample else None

    def add(self, outputs: Tensor, targets: Any) -> None:
        """Score one batch."""
        scores = self.metric.scores(outputs, targets).to(torch.float64)
        self.total += float(scores.sum())
        self.count += scores.numel()
        if self._parts is not None:
            counts = _scores_per_sample(len(outputs), scores, targets)
            sample = torch.repeat_interleave(torch.arange(len(outputs)), counts)
            sums = torch.zeros(len(outputs), dtype=torch.float64)
            self._parts.append((sums.index_add_(0, sample, scores.detach().cpu()), counts))

    def per_sample(self) -> tuple[Vector, Vector]:
        """Sum of the scores and number of scores of each sample, float64, each ``[samples]``."""
        sums, counts = zip(*(self._parts or []), strict=True)
        return torch.cat(sums), torch.cat(counts).to(torch.float64)

    @property
    def score(self) -> float:
        """Sum of scores over number of scores.

        Raises:
            BatchError: nothing was counted.
        """
        if not self.count:
            raise BatchError("No sample was scored: every target is -100; give targets that count.")
        return self.total / self.count


def _scores_per_sample(samples: int, scores: Tensor, targets: Any) -> Tensor:
    """How many of the flat ``scores`` each sample has: those of its targets that count, or its equal share."""
    if isinstance(targets, Tensor) and not targets.is_floating_point() and len(targets) == samples:
        counted = (targets.reshape(samples, -1) != IGNORED).sum(1).cpu()
        if int(counted.sum()) == scores.numel():
            return counted
    return torch.full((samples,), scores.numel() // max(samples, 1))


def parse_metric(metric: MetricSpec) -> Metric:
    """``"accuracy"``, ``"cross_entropy"``, ``"mse"`` or a callable ``(outputs, targets) -> scores [batch]``.

    A callable's scores are better when higher, unless it has an attribute ``higher_is_better = False``.

    Raises:
        OptionError: anything else.
    """
    if isinstance(metric, str) and metric in _NAMED:
        function, higher = _NAMED[metric]
        return Metric(metric, higher, _with_targets(metric, function))
    if callable(metric):
        name = getattr(metric, "__name__", type(metric).__name__)
        return Metric(name, bool(getattr(metric, "higher_is_better", True)), _checked(name, metric))
    raise OptionError(f"metric is {metric!r}; use one of {list(_NAMED)} or a function (outputs, targets) -> scores.")


def _with_targets(name: str, function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Any], Tensor]:
    def scores(outputs: Tensor, targets: Any) -> Tensor:
        if not isinstance(targets, Tensor):
            raise BatchError(f'metric "{name}" needs targets; give batches as pairs (inputs, targets).')
        return function(outputs, targets)

    return scores


def _checked(name: str, function: Callable[[Tensor, Any], Any]) -> Callable[[Tensor, Any], Tensor]:
    def scores(outputs: Tensor, targets: Any) -> Tensor:
        found = function(outputs, targets)
        if not isinstance(found, Tensor) or found.ndim == 0 or len(found) != len(outputs):
            shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise OptionError(
                f"The metric {name!r} returned {shape}, but must return a tensor of one score per sample, "
                f"[{len(outputs)}]."
            )
        return found.flatten()

    return scores


def _classes(outputs: Tensor, targets: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Logits ``[n, classes]`` and integer targets ``[n]``, those of -100 removed."""
    if outputs.shape[:-1] != targets.shape:
        raise BatchError(
            f'metric "{name}" got outputs of shape {list(outputs.shape)} and targets of shape {list(targets.shape)}; '
            "targets need the outputs' shape without its last dimension (the classes)."
        )
    logits, labels = outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1).long()
    counted = labels != IGNORED
    logits, labels = logits[counted], labels[counted]
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < logits.shape[1]):
        raise BatchError(
            f'metric "{name}" got targets from {int(labels.min())} to {int(labels.max())}, but the outputs have '
            f"{logits.shape[1]} classes; give targets from 0 to {logits.shape[1] - 1}, or -100 for those not to count."
        )
    return logits, labels


def _accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    logits, labels = _classes(outputs, targets, "accuracy")
    return (logits.argmax(-1) == labels).to(torch.float64)


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    logits, labels = _classes(outputs, targets, "cross_entropy")
    return F.cross_entropy(logits, labels, reduction="none")


def _mse(outputs: Tensor, targets: Tensor) -> Tensor:
    if outputs.numel() != targets.numel() or len(outputs) != len(targets):
        raise BatchError(
            f'metric "mse" got outputs of shape {list(outputs.shape)} and targets of shape {list(targets.shape)}; they '
            "must be equal."
        )
    return (outputs - targets.reshape(outputs.shape)).square().reshape(len(outputs), -1).mean(1)


_NAMED: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], bool]] = {
    "accuracy": (_accuracy, True),
    "cross_entropy": (_cross_entropy, False),
    "mse": (_mse, False),
}
