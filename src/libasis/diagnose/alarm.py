"""What a model's alarm is: a class other than the normal one, a score above its normal range, or the user's metric."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..ambient import as_outside
from ..cut.hooks import Heard
from ..cut.state import check_eval, hear, rng_kept, run_model, uncompiled
from ..cut.twin import Twin
from ..errors import ActivationError, BatchError, OptionError, first_line
from ..intervene import parse_metric
from ..numerics import slices
from ..types import Plain
from .groups import Groups, spread, standardised

KINDS, NAMED = ("class", "reconstruction", "score"), ("accuracy", "cross_entropy", "mse")
"""What an alarm can be, and metrics that need targets, whose mean is compared."""
QUANTILE = 0.99
"""Of the normal rows' scores: above it a score is an alarm."""
SCALED = 0.8
"""A relative error of standardised rows that no other model would have."""
FOLLOWS, FEWEST = 0.7, 3
"""Correlation from which an output follows its input, and columns of which that can be told."""
AT_ONCE = 2**18
"""Values that go through the model together: more of them leave the processor's caches, and take longer."""


class AnomalyScore(nn.Module):
    """A model that reconstructs its input, as an anomaly score: the sum of squared errors of each sample.

    Args:
        model: returns something of its input's shape.
        scale: what errors are divided by, of the shape of a sample or a number: best the standard deviations of the
            normal rows, where they are not standardised.
    """

    scale: Tensor

    def __init__(self, model: nn.Module, scale: Tensor | float = 1.0) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("scale", torch.as_tensor(scale))
        self.train(model.training)

    def forward(self, x: Tensor) -> Tensor:
        """The score ``[batch, 1]`` of inputs ``[batch, ...]``."""
        return ((x - self.model(x)) / self.scale).square().flatten(1).sum(1, keepdim=True)


@dataclass(frozen=True, eq=False)
class Alarm:
    """A model as a score of rows, and from where on it is an alarm.

    Attributes:
        model: run on samples.
        kind: ``"class"``, ``"reconstruction"``, ``"score"`` or ``"metric"``.
        rule: the kind of sentence that says when there is an alarm.
        blanks: what fills that sentence.
        score: of outputs ``[n, ...]`` and targets, ``[n]``; larger is more alarming.
        threshold: above which a score is an alarm; None where only scores are compared.
        shape: of a sample.
        runs: the model's outputs of samples.
        sign: -1 where the score is a metric with its sign turned, because lower is more alarming.
    """

    model: nn.Module
    kind: str
    rule: str
    blanks: Plain
    score: Callable[[Tensor, Any], Tensor]
    threshold: float | None
    shape: tuple[int, ...]
    runs: ModelRuns
    sign: float = 1.0

    def scores(self, rows: Tensor, targets: Any = None) -> Tensor:
        """The score of each row ``[n, values]``, float64 ``[n]``."""
        parts = []
        for at in slices(len(rows), max(1, AT_ONCE // max(1, rows.shape[1]))):
            own = None if targets is None else targets[at]
            parts.append(self.score(self.runs(rows[at]), own).double().cpu())
        return torch.cat(parts)

    def gradient(self, rows: Tensor, targets: Any = None) -> Tensor | None:
        """The derivative of each row's score by its values, ``[n, values]``; None where there is none."""
        try:
            return self.runs.gradient(rows, lambda out: self.score(out, targets))
        except RuntimeError:  # a step without a derivative
            return None

    def errors(self, rows: Tensor) -> Tensor | None:
        """Of a model that reconstructs the squared errors ``[n, values]`` that add up to the score; else None."""
        if not isinstance(self.model, AnomalyScore):
            return None
        inner = ModelRuns(self.model.model, rows[:2], self.shape)
        return ((rows - inner(rows).double().cpu().flatten(1)) / self.model.scale.double().cpu().flatten()).square()

    def alarms(self, scores: Tensor) -> Tensor:
        """What is compared: whether there is an alarm, 1 or 0, or the score itself."""
        return scores if self.threshold is None else (scores > self.threshold).double()


class ModelRuns:
    """The model's outputs, run as if it had never been called."""

    def __init__(self, model: nn.Module, example: Tensor, shape: tuple[int, ...]) -> None:
        model = uncompiled(model)
        check_eval(model)
        weight = next((w for w in (*model.parameters(), *model.buffers()) if w.is_floating_point()), None)
        self.model, self.shape = model, shape
        self.like = torch.zeros((), dtype=torch.float32) if weight is None else weight.detach()
        try:
            self.acting = hear(model, (self.samples(example),), {})[1].acting
            self(example)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise BatchError(
                f"The model ({type(model).__name__}) refuses samples of the shape {list(shape)}: {first_line(error)}; "
                "give the columns on which it was trained, in its order (columns)."
            ) from error

    def samples(self, rows: Tensor) -> Tensor:
        """Rows ``[n, values]`` as the model takes them."""
        return rows.to(device=self.like.device, dtype=self.like.dtype).reshape(-1, *self.shape)

    def __call__(self, rows: Tensor) -> Tensor:
        """Outputs of rows ``[n, values]``: the first floating tensor that the model returns."""
        out = _first(run_model(self.model, (self.samples(rows),), {}, Heard(self.acting))[0])
        if out is None or not out.ndim or len(out) != len(rows):
            raise BatchError(f"The model gives no floating tensor with a row for each of {len(rows)} samples.")
        if not bool(out.isfinite().all()):
            raise ActivationError("The model's output is not finite on these rows; check the units of the inputs.")
        return out

    def gradient(self, rows: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
        """The derivative of the sum of scores of outputs by the rows, ``[n, values]``."""
        x = self.samples(rows).clone().requires_grad_()
        with as_outside(), rng_kept():
            out = _first(Twin(self.model, Heard(self.acting)).model(x))
            assert out is not None  # noqa: S101 - it was run before
            (grad,) = torch.autograd.grad(score(out).sum(), x)
        return grad.double().cpu().flatten(1)


def _first(found: Any) -> Tensor | None:
    leaves = pytree.tree_leaves(found)
    return next((leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()), None)


def alarm_of(model: nn.Module, groups: Groups, metric: Any, threshold: float | None, normal_class: int | None) -> Alarm:
    """What the model's alarm is, from what it returns for both groups.

    Raises:
        OptionError: the metric or the threshold does not go with the model.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise OptionError(f"threshold is {threshold}; give a finite number, or None.")
    runs = ModelRuns(model, groups.normal[:2], groups.shape)
    outputs = runs(groups.normal)
    if callable(metric) or metric in NAMED:
        return _of_metric(model, runs, metric, threshold, groups)
    if metric not in (None, *KINDS):
        raise OptionError(
            f"metric is {metric!r}; give one of {[*KINDS, *NAMED]} or a function (outputs, targets) -> scores [batch]."
        )
    if metric == "reconstruction" and tuple(outputs.shape[1:]) != groups.shape:
        raise OptionError(f'metric is "reconstruction", but the model returns {list(outputs.shape[1:])}.')
    if metric == "reconstruction" or (metric is None and _reconstructs(runs, outputs, groups)):
        deviation = spread(groups.normal).reshape(groups.shape)
        if groups.image:  # pixels have one unit, and those that hardly ever vary would outweigh all others
            deviation = deviation.square().mean().sqrt().expand(groups.shape)
        scale = torch.where(deviation > 0, deviation, torch.ones_like(deviation)).to(runs.like)
        wrapped = AnomalyScore(uncompiled(model), scale).eval() if not model.training else AnomalyScore(model, scale)
        runs = ModelRuns(wrapped, groups.normal[:2], groups.shape)
        return _of_score(wrapped, runs, groups, threshold, "reconstruction")
    flat = outputs.reshape(len(outputs), -1)
    count = flat.shape[1]
    kind = "score" if count == 1 else "class"
    if metric not in (None, kind):
        numbers = "1 number" if count == 1 else f"{count} numbers"
        raise OptionError(f'metric is "{metric}", but the model returns {numbers} for each row; give "{kind}".')
    if kind == "score":
        return _of_score(model, runs, groups, threshold, "score")
    _check_threshold(threshold)
    return _of_classes(model, runs, flat, groups, normal_class)


def _check_threshold(threshold: float | None) -> None:
    """Refuse a threshold where the alarm is a class."""
    if threshold is not None:
        raise OptionError(
            f"threshold is {threshold}, but the alarm is the most likely class, which has none; leave it out, or give "
            "a function as metric whose values it divides."
        )


def _reconstructs(runs: ModelRuns, outputs: Tensor, groups: Groups) -> bool:
    """Whether it returns its input, better than the mean of the normal rows would, or all of it but for an offset.

    Raises:
        BatchError: it does so only with standardised rows.
    """
    if tuple(outputs.shape[1:]) != groups.shape or outputs[0].numel() < 2:
        return False
    raw = _relative_error(outputs, groups.normal)
    if raw < 1:
        return True
    rows = standardised(groups).normal
    scaled = _relative_error(runs(rows), rows)
    if scaled < SCALED:
        raise BatchError(
            f"The model reconstructs standardised rows (error {scaled:.2g} of the variance) but not these ({raw:.2g}): "
            "it seems to be trained on standardised inputs; give the rows scaled as in training, or put the scaling in "
            "the model."
        )
    return outputs[0].numel() >= FEWEST and _follows(outputs, groups.normal) > FOLLOWS


def _relative_error(outputs: Tensor, rows: Tensor) -> float:
    """The squared error of a reconstruction over the variance, in the median column that varies."""
    variance = spread(rows).square()
    error = (outputs.double().cpu().flatten(1) - rows).square().mean(0)
    varies = variance > 0
    return float((error[varies] / variance[varies]).median()) if bool(varies.any()) else float("inf")


def _follows(outputs: Tensor, rows: Tensor) -> float:
    """The correlation of outputs and inputs, in the median column that varies."""
    varies = spread(rows) > 0
    out, given = (one - one.mean(0) for one in (outputs.double().cpu().flatten(1)[:, varies], rows[:, varies]))
    size = (out.square().sum(0) * given.square().sum(0)).sqrt().clamp(min=1e-300)
    return float(((out * given).sum(0) / size).median()) if bool(varies.any()) else 0.0


def _of_metric(model: nn.Module, runs: ModelRuns, metric: Any, threshold: float | None, groups: Groups) -> Alarm:
    """The user's metric; without a threshold the side on which the anomalous rows are is the alarming one."""
    measured = parse_metric(metric)

    def score(outputs: Tensor, targets: Any) -> Tensor:
        sums, counts = measured.scores(outputs, targets)
        return sums.double() / counts.double()

    plain = Alarm(model, "metric", "alarm_mean", {"what": measured.name}, score, None, groups.shape, runs)
    pairs = zip((groups.normal, groups.anomalous), groups.targets, strict=True)
    calm, fault = (float(plain.scores(rows, own).mean()) for rows, own in pairs)
    if threshold is not None:
        blanks = {"what": measured.name, "bound": threshold}
        return replace(plain, rule="alarm_above", blanks=blanks, threshold=threshold)
    return replace(plain, score=lambda out, own: -score(out, own), sign=-1.0) if fault < calm else plain


def _of_score(model: nn.Module, runs: ModelRuns, groups: Groups, threshold: float | None, kind: str) -> Alarm:
    """One number for each row: an alarm beyond the normal rows' range, on the side of the anomalous ones."""
    normal, anomalous = (runs(rows).double().flatten().cpu() for rows in (groups.normal, groups.anomalous))
    upper, lower = (torch.quantile(normal, q) for q in (QUANTILE, 1 - QUANTILE))
    below = (
        kind != "reconstruction"
        and threshold is None
        and float((anomalous < lower).double().mean()) > float((anomalous > upper).double().mean())
    )
    sign = -1.0 if below else 1.0
    if threshold is None and kind == "score" and _is_probability(normal, anomalous):
        threshold = 0.5
    bound = float(lower if below else upper) if threshold is None else threshold
    rule, blanks = "alarm_below" if below else "alarm_above", {"what": kind, "bound": bound}
    return Alarm(model, kind, rule, blanks, lambda out, _: sign * out.flatten(), sign * bound, groups.shape, runs)


def _is_probability(normal: Tensor, anomalous: Tensor) -> bool:
    """Whether the output looks like the probability of a fault: within 0 and 1, low on one group, high on another."""
    both = torch.cat([normal, anomalous])
    return bool((both >= 0).all() and (both <= 1).all() and normal.median() < 0.5 < anomalous.median())


def _of_classes(model: nn.Module, runs: ModelRuns, flat: Tensor, groups: Groups, normal_class: int | None) -> Alarm:
    count = flat.shape[1]
    own = int(torch.bincount(flat.argmax(1), minlength=count).argmax()) if normal_class is None else normal_class
    if not 0 <= own < count:
        raise OptionError(f"normal_class is {normal_class}, but the model has {count} classes, from 0.")
    chances = bool((flat >= 0).all()) and bool(((flat.double().sum(1) - 1).abs() < 1e-3).all())

    def score(outputs: Tensor, _: Any) -> Tensor:
        out = outputs.double().reshape(len(outputs), -1)
        out = out.clamp(min=1e-12).log() if chances else out
        others = torch.cat([out[:, :own], out[:, own + 1 :]], 1)
        return others.max(1).values - out[:, own]

    return Alarm(model, "class", "alarm_class", {"own": own}, score, 0.0, groups.shape, runs)
