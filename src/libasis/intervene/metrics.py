"""How well the model does: the scores of each sample, summed and counted, never means of batch means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cut import Record
from ..errors import BatchError, OptionError
from ..types import Vector

MetricSpec = str | Callable[[Tensor, Any], Tensor]
IGNORED = -100
"""Targets with this value are not counted."""

OUTPUT_CHANGE = "output_mse"
"""The metric that needs no targets: the mean squared change of the model's output."""

SampleSums = tuple[Vector, Vector]
"""Sum and number of the scores of each sample of a batch, float64, each ``[batch]``."""


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name: for the record.
        higher_is_better: whether a drop of the score is a loss.
        scores: ``scores(outputs, targets)`` gives the sum and the number of the scores of each sample. A sample whose
            targets are all -100 has none.
    """

    name: str
    higher_is_better: bool
    scores: Callable[[Tensor, Any], SampleSums]

    def targets(self, record: Record) -> Any:
        """What a batch's outputs are compared with: its targets, or the model's own output."""
        return record.output if self.name == OUTPUT_CHANGE else record.targets


def parse_metric(metric: MetricSpec) -> Metric:
    """``"accuracy"``, ``"cross_entropy"``, ``"mse"``, ``"output_mse"`` or ``(outputs, targets) -> scores [batch]``.

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


def _with_targets(name: str, function: Callable[[Tensor, Tensor], SampleSums]) -> Callable[[Tensor, Any], SampleSums]:
    def scores(outputs: Tensor, targets: Any) -> SampleSums:
        if not isinstance(targets, Tensor):
            raise BatchError(f'metric "{name}" needs targets; give batches as pairs (inputs, targets).')
        return function(outputs, targets)

    return scores


def _checked(name: str, function: Callable[[Tensor, Any], Any]) -> Callable[[Tensor, Any], SampleSums]:
    def scores(outputs: Tensor, targets: Any) -> SampleSums:
        found = function(outputs, targets)
        if not isinstance(found, Tensor) or found.ndim == 0 or len(found) != len(outputs):
            shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise OptionError(
                f"The metric {name!r} returned {shape}, but must return a tensor of one score per sample, "
                f"[{len(outputs)}]."
            )
        return _all_of(found.detach())

    return scores


def _all_of(scores: Tensor) -> SampleSums:
    """Of scores ``[batch, ...]`` that all count."""
    scores = scores.to(torch.float64).reshape(len(scores), -1)
    return scores.sum(1), torch.full_like(scores[:, 0], scores.shape[1])


def _of_targets(
    name: str, function: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, targets: Tensor
) -> SampleSums:
    """Of a function of logits ``[n, classes]`` and integer targets ``[n]``, those of -100 left out."""
    if outputs.shape[:-1] != targets.shape:
        raise BatchError(
            f'metric "{name}" got outputs of shape {list(outputs.shape)} and targets of shape {list(targets.shape)}; '
            "targets need the outputs' shape without its last dimension (the classes)."
        )
    counted = targets != IGNORED
    logits, labels = outputs[counted], targets[counted].long()
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < logits.shape[1]):
        raise BatchError(
            f'metric "{name}" got targets from {int(labels.min())} to {int(labels.max())}, but the outputs have '
            f"{logits.shape[1]} classes; give targets from 0 to {logits.shape[1] - 1}, or -100 for those not to count."
        )
    scores = torch.zeros(targets.shape, dtype=torch.float64, device=outputs.device)
    scores[counted] = function(logits, labels).to(torch.float64)
    size = len(targets)
    return scores.reshape(size, -1).sum(1), counted.reshape(size, -1).sum(1).to(torch.float64)


def _mse(outputs: Tensor, targets: Tensor) -> SampleSums:
    if outputs.numel() != targets.numel() or len(outputs) != len(targets):
        raise BatchError(
            f'metric "mse" got outputs of shape {list(outputs.shape)} and targets of shape {list(targets.shape)}; they '
            "must be equal."
        )
    return _all_of((outputs - targets.reshape(outputs.shape)).square().reshape(len(outputs), -1).mean(1))


_NAMED: dict[str, tuple[Callable[[Tensor, Tensor], SampleSums], bool]] = {
    "accuracy": (partial(_of_targets, "accuracy", lambda logits, labels: logits.argmax(-1) == labels), True),
    "cross_entropy": (partial(_of_targets, "cross_entropy", partial(F.cross_entropy, reduction="none")), False),
    "mse": (_mse, False),
    OUTPUT_CHANGE: (_mse, False),
}
