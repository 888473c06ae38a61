"""How well the model does: the scores of each sample, summed and counted, never means of batch means."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..ambient import as_outside
from ..cut import Record
from ..errors import BatchError, OptionError, first_line
from ..numerics import are_probabilities, log_probabilities
from ..types import Vector

MetricSpec = str | Callable[[Tensor, Any], Tensor]
IGNORED = -100
"""Targets with this value are not counted."""

OUTPUT_CHANGE, DIVERGENCE = "output_mse", "kl"
"""The metrics that need no targets: they compare with the model as it is."""

SampleSums = tuple[Vector, Vector]
"""Sum and number of the scores of each sample of a batch, float64, each ``[batch]``."""

_Scorer = Callable[[Tensor, Tensor, Tensor | None], SampleSums]
"""Of outputs, targets and where they count, bool ``[batch, position]``."""


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name: for the record.
        higher_is_better: whether a drop of the score is a loss.
        scores: ``scores(outputs, targets)`` gives the sum and the number of the scores of each sample, with targets as
            `targets` gives them. A sample whose targets are all -100, or left out by the mask, has none.
        plain: whether it is one of libasis' own, which scores each sample alone, whatever the batch.
    """

    name: str
    higher_is_better: bool
    scores: Callable[[Tensor, Any], SampleSums]
    plain: bool = False

    def targets(self, record: Record) -> Any:
        """What a batch's outputs are compared with: its targets, or the model's own output, and where.

        A user's function gets the targets as they are.
        """
        if self.name in _BESIDE_ITSELF:
            return Untouched.of(record)
        counted = None if record.targets is None or not self.plain else _counted(record)
        return record.targets if counted is None else Told(record.targets, counted)


@dataclass(frozen=True, eq=False)
class Told:
    """Targets of which some positions do not count.

    Attributes:
        values: as the user gave them, whatever they are where nothing counts.
        counted: bool ``[batch, position]``: where the mask is set.
    """

    values: Any
    counted: Tensor


@dataclass(frozen=True, eq=False)
class Untouched:
    """What the model as it is makes of a batch.

    Attributes:
        output: in its own layout.
        counted: bool ``[batch, position]``: where the mask is set and the target, if there are some, is not -100; None
            where every position counts.
    """

    output: Tensor
    counted: Tensor | None

    @classmethod
    def of(cls, record: Record) -> Untouched:
        """Of a batch."""
        output, targets = record.output, record.targets
        places = tuple(output.shape[:2]) if output.ndim == 3 else ()
        told = [c for c in (_counted(record, output),) if c is not None]
        if isinstance(targets, Tensor) and tuple(targets.shape) == places and not targets.is_floating_point():
            told.append(targets != IGNORED)
        return cls(output, torch.stack(told).all(0) if told else None)


def _counted(record: Record, output: Tensor | None = None) -> Tensor | None:
    """Where a batch's output counts, bool ``[batch, position]``; None where it has no positions or no mask."""
    counted = record.counted[-1]
    if counted is None:
        return None
    output = record.output if output is None else output
    each = record.each or record.activations[-1].shape[2] == 1
    own = output.ndim > 2 or each  # a number for each position, not for each class
    return counted if own and output.shape[:2] == counted.shape else None


def parse_metric(metric: MetricSpec) -> Metric:
    r"""``"accuracy"``, ``"cross_entropy"``, ``"mse"``, ``"output_mse"``, ``"kl"`` or ``(outputs, targets) -> [batch]``.

    The last two need no targets: ``"output_mse"`` is the mean squared change of the output, and ``"kl"`` the
    Kullback-Leibler divergence of its probabilities from those of the model as it is, in nats,
    :math:`\sum_c p_c (\log p_c - \log q_c)`, for each position. Both leave out positions that the mask leaves out
    or whose target is -100. Probabilities are the softmax of the output, or the output itself where it is such (no
    number below 0, and a sum of 1); so they are for ``"cross_entropy"``.

    Those with targets leave out the same positions, of -100 among class numbers; a function decides for itself.

    Targets of ``"accuracy"`` and ``"cross_entropy"`` are class numbers in any dtype; floats count where they are whole
    (1.0 is class 1), and bool is 0 and 1. Those of ``"mse"`` are numbers. A callable's scores are better when higher,
    unless it has an attribute ``higher_is_better = False``.

    Raises:
        OptionError: anything else, or a function that does not take two arguments.
    """
    if isinstance(metric, str) and metric in _NAMED:
        function, higher = _NAMED[metric]
        return Metric(metric, higher, _with_targets(metric, function), True)
    if isinstance(metric, str) and metric in _BESIDE_ITSELF:
        return Metric(metric, False, _beside(metric, _BESIDE_ITSELF[metric]))
    if callable(metric):
        name = getattr(metric, "__name__", type(metric).__name__)
        return Metric(name, bool(getattr(metric, "higher_is_better", True)), _checked(name, metric))
    raise OptionError(
        f"metric is {metric!r}; use one of {[*_NAMED, *_BESIDE_ITSELF]} or a function (outputs, targets) -> scores."
    )


def _with_targets(name: str, function: _Scorer) -> Callable[[Tensor, Any], SampleSums]:
    def scores(outputs: Tensor, targets: Any) -> SampleSums:
        counted, targets = (targets.counted, targets.values) if isinstance(targets, Told) else (None, targets)
        if targets is None:
            raise BatchError(f'metric "{name}" needs targets; give batches as pairs (inputs, targets).')
        if isinstance(targets, (list, tuple, np.ndarray)):
            with contextlib.suppress(ValueError, TypeError, RuntimeError):  # of what is no numbers, say so below
                targets = torch.as_tensor(targets, device=outputs.device)
        if not isinstance(targets, Tensor) or targets.is_complex():
            kind = targets.dtype if isinstance(targets, Tensor) else f"type {type(targets).__name__}"
            raise BatchError(f'metric "{name}" got targets of {kind}; give a tensor of real numbers (torch.as_tensor).')
        if targets.layout != torch.strided or targets.is_quantized or targets.is_meta:
            raise BatchError(f'metric "{name}" got targets that are no plain array; give an ordinary tensor.')
        if outputs.dtype.itemsize < torch.float32.itemsize:  # scores are no less exact than the outputs
            outputs = outputs.float()
        if counted is not None:
            if targets.shape == outputs.flatten(1).shape:
                targets = targets.reshape(outputs.shape)
            targets = _filled(targets, counted) if targets.shape[:2] == counted.shape else targets
        _refuse_not_finite(targets, f'metric "{name}" got targets of which', "remove that sample or repair its target")
        sums, counts = function(outputs, targets, counted)
        if sums.isnan().any():
            _refuse_not_finite(outputs, "The model's output of", "clean the data or compute in float64")
        _refuse_not_finite(sums, f'metric "{name}": the score of', "compute in float64, or repair that sample")
        return sums, counts

    return scores


def _beside(name: str, function: Callable[..., Tensor]) -> Callable[[Tensor, Untouched], SampleSums]:
    """A function of the outputs and the model's own that gives a number for each position ``[batch, position]``."""

    def scores(outputs: Tensor, untouched: Untouched) -> SampleSums:
        exact = torch.promote_types(outputs.dtype, torch.float32)
        found = function(outputs.to(exact), untouched.output.to(exact), untouched.counted).to(torch.float64)
        _refuse_not_finite(found, f'metric "{name}": the score of', "compute in float64, or repair that sample")
        if untouched.counted is None:
            return _all_of(found)
        return _some_of(found, untouched.counted)

    return scores


def _filled(x: Tensor, counted: Tensor) -> Tensor:
    """Zeros in place of what stands ``[batch, position, ...]`` where nothing counts, be it no number at all."""
    return x.masked_fill(~counted.reshape(*counted.shape, *(1,) * (x.ndim - 2)), 0)


def _refuse_not_finite(numbers: Tensor, what: str, advice: str) -> None:
    """Refuse NaN and infinite numbers ``[batch, ...]`` with the first such sample.

    Raises:
        BatchError: there is one.
    """
    if numbers.is_floating_point() and not (finite := numbers.isfinite()).all():
        sample = int((~finite).nonzero()[0, 0])
        raise BatchError(f"{what} sample {sample} of its batch is not finite ({numbers[~finite][0].item()}); {advice}.")


def _checked(name: str, function: Callable[[Tensor, Any], Any]) -> Callable[[Tensor, Any], SampleSums]:
    """A user's function, whose scores are checked: finite real numbers, one or several for each sample."""
    if not _takes_two(function):
        raise OptionError(
            f"The metric {name!r} cannot be called with two arguments; give a function (outputs, targets) -> scores."
        )

    def scores(outputs: Tensor, targets: Any) -> SampleSums:
        try:
            with as_outside():
                found = function(outputs, targets)
        except TypeError as error:  # it takes other things; what else goes wrong in the user's code is the user's
            raise OptionError(
                f"The metric {name!r} does not take outputs of shape {list(outputs.shape)} and the targets "
                f"({first_line(error)}); give a function (outputs, targets) -> scores that does."
            ) from error
        real = isinstance(found, Tensor) and found.layout == torch.strided and not found.is_meta
        fits = real and found.ndim > 0 and len(found) == len(outputs) and found.numel() > 0
        if not fits or found.is_complex():
            shape = found.dtype if fits else list(found.shape) if real else type(found).__name__
            raise OptionError(
                f"The metric {name!r} returned {shape}, but must return a tensor of one score per sample, "
                f"[{len(outputs)}]."
            )
        _refuse_not_finite(found, f"The metric {name!r}: the score of", "return a finite number for every sample")
        return _all_of(found.detach())

    return scores


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None, None)
    except ValueError:  # a builtin that does not tell
        return True
    except TypeError:
        return False
    return True


def _all_of(scores: Tensor) -> SampleSums:
    """Of scores ``[batch, ...]`` that all count."""
    scores = scores.to(torch.float64).reshape(len(scores), -1)
    return scores.sum(1), torch.full_like(scores[:, 0], scores.shape[1])


def _some_of(scores: Tensor, counted: Tensor) -> SampleSums:
    """Of scores ``[batch, position]`` of which some count."""
    return _filled(scores, counted).sum(1), counted.sum(1).to(torch.float64)


def _of_targets(
    outputs: Tensor, targets: Tensor, told: Tensor | None, name: str, function: Callable[[Tensor, Tensor], Tensor]
) -> SampleSums:
    """Of a function of logits ``[n, classes]`` and class numbers ``[n]``, those of -100 left out."""
    _check_classes(outputs, targets, name)
    labels = targets.long()
    lost = labels.to(targets.dtype) != targets if targets.is_floating_point() else labels < 0
    if targets.is_floating_point() or not targets.dtype.is_signed:  # a fraction, or a number above those of int64
        _refuse_no_class(targets, lost, name)
    counted = labels != IGNORED
    if told is not None and told.shape == labels.shape:  # or the positions are the classes
        counted &= told
    everywhere = bool(counted.all())
    logits, labels = (outputs.flatten(0, -2), labels.flatten()) if everywhere else (outputs[counted], labels[counted])
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < logits.shape[1]):
        raise BatchError(
            f'metric "{name}" got targets from {int(labels.min())} to {int(labels.max())}, but the outputs have '
            f"{logits.shape[1]} classes; give targets from 0 to {logits.shape[1] - 1}, or -100 for those not to count."
        )
    found, size = function(logits, labels).to(torch.float64), len(targets)
    if everywhere:
        return _all_of(found.view(size, -1))
    scores = torch.zeros(targets.shape, dtype=torch.float64, device=outputs.device)
    scores[counted] = found
    return scores.reshape(size, -1).sum(1), counted.reshape(size, -1).sum(1).to(torch.float64)


def _refuse_no_class(targets: Tensor, lost: Tensor, name: str) -> None:
    if lost.any():
        given = targets.flatten().tolist()[int(lost.flatten().nonzero()[0])]
        shown = f"{given:.6g}"
        shown = repr(given) if float(shown).is_integer() and given < 2**53 else shown  # a whole number but for little
        raise BatchError(
            f'metric "{name}" got targets that are no whole numbers of classes, such as {shown}; give the number '
            'of each sample\'s class as int64, or use the metric "mse" for targets that are numbers.'
        )


def _check_classes(outputs: Tensor, targets: Tensor, name: str) -> None:
    """Refuse outputs and targets that are no logits of several classes and class numbers.

    Raises:
        BatchError: the model has one output, or the shapes do not fit.
    """
    shapes = f"outputs of shape {list(outputs.shape)} and targets of shape {list(targets.shape)}"
    if outputs.shape[-1] == 1 or (outputs.ndim == 1 and outputs.shape == targets.shape):
        scorer = "(outputs.flatten() > 0) == targets.flatten()"
        if name == "cross_entropy":
            scorer = "-binary_cross_entropy_with_logits(outputs.flatten(), targets.flatten().float(), reduction='none')"
        raise BatchError(
            f'metric "{name}" got {shapes}, but needs an output for each of two or more classes; for two classes told '
            f"apart by one logit give a function as metric: lambda outputs, targets: {scorer}."
        )
    if outputs.shape[:-1] != targets.shape:
        hint = "; of soft or one-hot labels give targets.argmax(-1)" if outputs.shape == targets.shape else ""
        raise BatchError(
            f'metric "{name}" got {shapes}; targets need the outputs\' shape without its last dimension (the classes)'
            f"{hint}."
        )


def _accuracy(outputs: Tensor, targets: Tensor, told: Tensor | None) -> SampleSums:
    return _of_targets(outputs, targets, told, "accuracy", _correct)


def _correct(logits: Tensor, labels: Tensor) -> Tensor:
    """1 where the largest logit is that of the label, 0 where it is not, NaN where there is one among the logits."""
    largest, found = logits.max(-1)
    return torch.where(largest.isnan(), largest, (found == labels).to(largest))


def _cross_entropy(outputs: Tensor, targets: Tensor, told: Tensor | None) -> SampleSums:
    return _of_targets(outputs, targets, told, "cross_entropy", _surprise)


def _surprise(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.nll_loss(log_probabilities(outputs), labels, reduction="none")


def _mse(outputs: Tensor, targets: Tensor, told: Tensor | None) -> SampleSums:
    without_ones = [[n for n in x.shape[1:] if n > 1] for x in (outputs, targets)]
    flat = min(map(len, without_ones)) < 2  # one of them may be flattened, as images are
    if (
        outputs.numel() != targets.numel()
        or len(outputs) != len(targets)
        or not (flat or without_ones[0] == without_ones[1])
    ):
        raise BatchError(
            f'metric "mse" got outputs of shape {list(outputs.shape)} and targets of shape {list(targets.shape)}; they '
            "must be equal."
        )
    if not targets.is_floating_point():
        targets = targets.double()
    squares = (outputs - targets.reshape(outputs.shape)).square()
    if told is not None:
        return _some_of(squares.reshape(*told.shape, -1).double().mean(2), told)
    return _all_of(squares.reshape(len(outputs), -1).mean(1))


_NAMED: dict[str, tuple[_Scorer, bool]] = {
    "accuracy": (_accuracy, True),
    "cross_entropy": (_cross_entropy, False),
    "mse": (_mse, False),
}


def _change(outputs: Tensor, own: Tensor, counted: Tensor | None) -> Tensor:
    each = outputs.shape[:2] if counted is not None or outputs.ndim == 3 else outputs.shape[:1]
    return (outputs - own).square().reshape(*each, -1).mean(-1)


def _divergence(outputs: Tensor, own: Tensor, counted: Tensor | None) -> Tensor:
    if own.ndim == 2 and counted is not None:
        raise BatchError(
            f'metric "kl" got outputs of shape {list(own.shape)}, one number for each position of the mask, but '
            'compares probabilities of classes; use "output_mse", or traced.to(mask=None) if positions are the classes.'
        )
    if own.ndim not in (2, 3) or own.shape[-1] < 2:
        raise BatchError(
            f'metric "kl" got outputs of shape {list(own.shape)}, but compares probabilities of two or more classes, '
            '[batch, classes] or [batch, position, classes]; use "output_mse".'
        )
    given = are_probabilities(own)
    p, q = (log_probabilities(x, probabilities=given) for x in (own, outputs))
    return torch.where(p == -math.inf, 0.0, p.exp() * (p - q)).sum(-1)  # a class that cannot be has no part


_BESIDE_ITSELF: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    OUTPUT_CHANGE: _change,
    DIVERGENCE: _divergence,
}
