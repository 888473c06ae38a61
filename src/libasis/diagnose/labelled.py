"""What is wrong with a model and a table of rows with their targets on the first day."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..cards.constant import CHANCE, by_class
from ..errors import LibasisError
from ..numerics.dependence import within
from ..types import Plain
from .alarm import ModelRuns
from .extremes import extremes_of
from .first_look import ENOUGH, PER_COLUMN, columns_of, order_of, series_of
from .groups import LEAST, Groups, filled, read_rows, standardised
from .outputs import unfit
from .sentences import finding

MOST = 4096
"""Rows that are run."""
CLEAR = 0.6
"""Of the way from one answer for all rows to no error: clearly better; `CHANCE` is hardly better."""


@dataclass(frozen=True)
class _Score:
    """How a model does: the share of right rows or the mean squared error, that of one answer, and the way to none."""

    value: float
    constant: float
    way: float


def checked_rows(model: nn.Module, given: Any, columns: Any = None) -> list[Plain]:
    """What is wrong with a model and rows, with or without targets, as findings.

    Raises:
        BatchError: the rows are not what the model takes.
        ModelStateError: the model is in training mode.
    """
    rows, names, targets = read_rows(model, given, columns)
    groups = Groups(rows, rows[:0], names, [], tuple(rows.shape[1:]), (targets, None))
    out = [*filled(given), *unfit(model, groups), *order_of(model, groups), *_scored(model, groups)]
    n, d = rows.shape
    out += [finding("few_rows", rows=n)] if n < ENOUGH else []
    out += [finding("wide_rows", rows=n, inputs=d, least=PER_COLUMN * d)] if ENOUGH <= n < PER_COLUMN * d else []
    out += [*columns_of(groups, "still_rows"), *extremes_of(groups)] if n >= LEAST else []
    if n < ENOUGH or getattr(given, "units", None) is not None:
        return out
    return [*out, *(one for one in series_of(_within_classes(groups), "time_rows") if one["kind"] == "time_rows")]


def _within_classes(groups: Groups) -> Groups:
    targets, rows = groups.targets[0], groups.normal
    if targets is None or targets.is_floating_point() or targets.shape != rows.shape[:1]:
        return groups
    return replace(groups, normal=torch.from_numpy(within(rows.numpy(), targets.numpy())))


def _scored(model: nn.Module, groups: Groups) -> list[Plain]:
    """Whether the model is no better than one answer for all rows, and whether it would be with standardised rows."""
    targets = groups.targets[0]
    if targets is None or len(targets) != len(groups.normal):
        return []
    if not targets.is_floating_point() and targets.ndim == 1 and bool((targets == targets[0]).all()):
        return [finding("one_class", rows=len(targets), own=int(targets[0]))]
    at = torch.linspace(0, len(targets) - 1, min(MOST, len(targets))).round().long()
    runs = ModelRuns(model, groups.normal[:2], groups.shape)
    now, *scaled = (_score(runs(one.normal[at]), targets[at]) for one in (groups, *_scaled(groups)))
    best = max((one for one in scaled if one is not None), key=lambda one: one.way, default=None)
    if now is None or best is None:
        return []
    kind = "right" if targets.dtype in (torch.int64, torch.bool) else "error"
    if best.way >= CLEAR and (1 - best.way) < (1 - now.way) / 2:
        return [finding(f"{kind}_scale", now=now.value, scaled=best.value)]
    poor = now.way <= 0 if kind == "error" else now.value <= now.constant and now.way <= CHANCE
    return [finding(kind, now=now.value, constant=now.constant)] if poor else []


def _scaled(groups: Groups) -> list[Groups]:
    """The rows standardised by all of them, and by those of the first class, which is often the normal one."""
    targets = groups.targets[0]
    classes = targets is not None and targets.ndim == 1 and not targets.is_floating_point()
    first = groups.normal[targets == 0] if classes else groups.normal[:0]
    return [standardised(groups), *([standardised(groups, first)] if len(first) >= LEAST else [])]


def _score(outputs: Tensor, targets: Tensor) -> _Score | None:
    """How outputs of rows do beside their targets; None where they do not fit, or all targets are the same."""
    out = outputs.double().cpu().flatten(1)
    if targets.is_floating_point():
        goals = targets.double().flatten(1) if targets.ndim > 1 else targets.double()[:, None]
        constant = float(goals.var(0, correction=0).mean())
        if out.shape != goals.shape or not constant > 0:
            return None
        error = float((out - goals).square().mean())
        return _Score(error, constant, 1 - error / constant)
    classes = torch.unique(targets)
    if targets.ndim != 1 or len(classes) < 2 or int(classes[0]) < 0:
        return None
    if out.shape[1] == 1 and int(classes[-1]) <= 1:
        said = (out[:, 0] > (0.5 if bool(((out >= 0) & (out <= 1)).all()) else 0)).long()
    elif int(classes[-1]) < out.shape[1]:
        said = out.argmax(1)
    else:
        return None
    right = (said == targets).double()
    way, constant = by_class(right, targets)
    return _Score(float(right.mean()), constant, way)


def findings_of(model: nn.Module, given: Any) -> list[Plain]:
    """`checked_rows`, or nothing where rows or model are of another kind."""
    try:
        return checked_rows(model, given)
    except LibasisError:  # whatever it is, the work itself says it
        return []
