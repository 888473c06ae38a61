"""What is wrong with a model and two groups of rows on the first day, as findings."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from ..cut.state import uncompiled
from ..errors import short
from ..numerics.dependence import time_of
from ..types import Plain
from .alarm import Alarm, alarm_of
from .extremes import extremes_of
from .groups import Groups, standardised
from .outputs import unfit
from .sentences import finding

PER_COLUMN = 5
"""Normal rows for each column, below which rows that match are far apart."""
BAD, GOOD = 0.6, 0.8
"""Balanced accuracies: hardly better than chance, and clearly better."""
SAME = 0.9999
"""Correlation from which two columns cannot be told apart."""
NAMED, MOST = 5, 1000
"""Columns that a sentence names, and columns that are compared with each other, at most."""
ENOUGH, DEPENDENT, MOVED = 100, 2.0, 1.5
"""Rows of a group; rows that tell as much as one; standard deviations between two halves of the normal rows."""


def checked(model: nn.Module, groups: Groups, alarm: Alarm) -> list[Plain]:
    """See `libasis.check`."""
    found = [
        *groups.findings,
        *unfit(model, groups),
        *order_of(model, groups),
        *_apart(model, groups, alarm),
        *_rows(groups),
    ]
    return [*found, *columns_of(groups), *extremes_of(groups), *series_of(groups)] if not groups.image else found


def _apart(model: nn.Module, groups: Groups, alarm: Alarm) -> list[Plain]:
    """Whether the alarm tells the groups apart, and whether it would with standardised rows."""
    if alarm.threshold is None:
        return []
    calm, fault = _rates(groups, alarm)
    if fault - calm >= 2 * BAD - 1:
        return []
    if alarm.kind == "class" and not groups.image:
        rows = standardised(groups)
        scaled_calm, scaled = _rates(rows, alarm_of(model, rows, "class", None, None))
        if scaled - scaled_calm >= 2 * GOOD - 1:
            return [finding("scale", fault=fault, calm=calm, scaled=scaled, scaled_calm=scaled_calm)]
    return [finding("chance", fault=fault, calm=calm)]


def _rates(groups: Groups, alarm: Alarm) -> tuple[float, float]:
    pairs = zip((groups.normal, groups.anomalous), groups.targets, strict=True)
    normal, anomalous = (float(alarm.alarms(alarm.scores(rows, own)).mean()) for rows, own in pairs)
    return normal, anomalous


def order_of(model: nn.Module, groups: Groups) -> list[Plain]:
    """Whether names or means that the model holds fit the columns in another order than they come in."""
    for name, held in vars(uncompiled(model)).items():
        own = [str(one) for one in held] if isinstance(held, list | tuple | np.ndarray) else []
        if sorted(own) == sorted(groups.names) and own != groups.names:
            first = next(b for a, b in zip(own, groups.names, strict=True) if a != b)
            return [finding("names", name=short(name), first=short(first))]
    mean, deviation = groups.normal.mean(0), groups.normal.std(0)
    for name, held in uncompiled(model).named_buffers():
        if held.numel() != len(mean) or len(mean) < 3 or not held.is_floating_point():
            continue
        own = held.detach().cpu().double().flatten()
        away = (own - mean).abs() > 5 * deviation + 1e-6 * mean.abs()
        order = mean.argsort()
        fits = (own.sort().values - mean[order]).abs() <= deviation[order] + 0.02 * mean[order].abs()
        if bool(fits.all()) and float(away.double().mean()) > 0.1:
            first = groups.names[int(away.double().argmax())]
            return [finding("model_order", name=short(name), first=short(first))]
    return []


def _rows(groups: Groups) -> list[Plain]:
    n, m, d = len(groups.normal), len(groups.anomalous), len(groups.names)
    out = [finding("few", normal=n, anomalous=m)] if min(n, m) < ENOUGH else []
    wide = n < PER_COLUMN * d
    return [*out, finding("wide", normal=n, inputs=d, least=PER_COLUMN * d)] if wide else out


def columns_of(groups: Groups, never: str = "still") -> list[Plain]:
    """Columns that do not vary, under this kind of sentence, or vary in one group only, or are the same."""
    still = [(rows == rows[:1]).all(0) for rows in (groups.normal, groups.anomalous)]
    masks = {never: still[0] & still[1], "new": still[0] & ~still[1]}
    out = [finding(kind, names=_named(groups, mask)) for kind, mask in masks.items() if bool(mask.any())]
    varying = (~still[0]).nonzero().flatten()[:MOST]
    if len(varying) > 1:
        close = np.abs(np.corrcoef(groups.normal[:, varying].numpy().T)) > SAME
        pairs = np.argwhere(np.triu(close, 1))
        if len(pairs):
            a, b = (short(groups.names[varying[i]]) for i in pairs[0])
            out.append(finding("same", a=a, b=b, pairs=len(pairs)))
    return out


def _named(groups: Groups, mask: Tensor) -> str:
    places = mask.nonzero().flatten().tolist()
    shown = ", ".join(short(groups.names[i]) for i in places[:NAMED])
    return shown + (f" (+{len(places) - NAMED})" if len(places) > NAMED else "")


def series_of(groups: Groups, dependent: str = "time") -> list[Plain]:
    """Rows that depend on those before them, under this kind of sentence, and columns that move within these rows."""
    times = np.array([time_of(column) for column in groups.normal.numpy().T[:MOST]])
    out = [finding(dependent, time=float(np.median(times)))] if float(np.median(times)) > DEPENDENT else []
    half = len(groups.normal) // 2
    deviation = groups.normal.std(0)
    moved = (groups.normal[:half].mean(0) - groups.normal[half:].mean(0)).abs() > MOVED * deviation
    moved &= deviation > 0
    return [*out, finding("drift", names=_named(groups, moved))] if bool(moved.any()) else out
