"""`diagnose`: which inputs mediate a model's alarm, tested."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from torch import nn

from ..ambient import neutral
from ..arguments import typed
from ..errors import LibasisError, OptionError, first_line
from ..provenance import versions
from ..types import Plain
from . import baselines
from .alarm import Alarm, alarm_of
from .effects import Effects
from .exchange import Exchange
from .features import feature_rows, features_tested, recommended
from .first_look import checked
from .groups import of_units, read_groups
from .pictures import picture_of
from .result import Diagnosis
from .rows import Singles, differences, plain_rows, set_row, untested_row
from .sentences import finding, say
from .sets import remaining, sets_tested, unsure

MOST = 128
"""Inputs that are tested; of more those by which the groups differ most, and those that the model uses most."""
DELTA = 0.05
"""The smallest change of an alarm rate that is of interest, where none is given."""
READABLE = 16
"""Inputs, the first ones, that a feature can be said to read."""


@typed
@neutral
def diagnose(  # noqa: PLR0913 - keyword options of the public face
    model: nn.Module,
    normal: Any,
    anomalous: Any,
    sites: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    units: Iterable[Any] | None = None,
    metric: str | Callable[..., Any] | None = None,
    seed: int = 0,
    *,
    threshold: float | None = None,
    normal_class: int | None = None,
    delta: float | None = None,
    image_shape: Sequence[int] | None = None,
) -> Diagnosis:
    """Which inputs mediate a model's alarm on anomalous samples, beside plain methods.

    Every input, and sets of the first ones, are set to matched normal values: those of the normal rows that are most
    alike in all other inputs. Before and after are the alarm rate of the anomalous rows. An input is "supported" where
    the alarm falls by more than chance, by more than on normal rows and by more than with random directions of the same
    size, also when the input is set to the normal mean, after Holm's correction for all inputs. It then mediates the
    model's alarm; whether it causes the fault in the plant is not for a model to say.

    The alarm is what the model returns: of a classifier another class than that of most normal rows; of a model that
    reconstructs its input the error, of one number its value, beyond 99% of the normal rows. A ``metric`` says
    otherwise.

    Args:
        model: in eval mode, with one input tensor.
        normal: rows of the normal group: an array, tensor or DataFrame ``[n, columns]``, or batches. In the order of
            time, where they are from one.
        anomalous: rows of the other group.
        sites: where inside the model features are tested too; by default where `libasis.scan` recommends, nowhere for
            an empty list.
        columns: the names of the columns.
        units: what each row belongs to (a run, a device): a pair of lists, of the normal and of the anomalous rows; or
            one list for all rows, normal ones first. Without it rows that depend on those before them are taken in
            blocks.
        metric: ``"class"``, ``"reconstruction"`` or ``"score"``: what the alarm is; or a function
            ``(outputs, targets) -> scores [batch]``, ``"accuracy"``, ``"cross_entropy"`` or ``"mse"`` (with batches of
            pairs), whose mean is compared.
        seed: of all draws.
        threshold: of the score, above which it is an alarm.
        normal_class: of a classifier; by default that of most normal rows.
        delta: the smallest change of interest; by default 0.05 of an alarm rate, none of a mean score.
        image_shape: ``[height, width]`` or ``[channels, height, width]`` of images that are given as flat numbers.
            Images are asked by patches, seven along each side.

    Raises:
        BatchError: a group is too small, not numeric, or not what the model takes.
        ModelStateError: the model is in training mode.
        OptionError: an option does not go with the data.
    """
    sites = None if sites is None else [str(name) for name in sites]
    groups = read_groups(model, normal, anomalous, columns, image_shape)
    alarm = alarm_of(model, groups, metric, threshold, normal_class)
    delta = _interesting(delta, alarm)
    effects = Effects(Exchange(groups, alarm, seed), of_units(units, groups))
    plain: dict[str, np.ndarray | None] = {
        "mean_z": baselines.mean_z(effects),
        "gradient_x_input": baselines.gradient_times_input(effects),
        "reconstruction": baselines.contributions(effects),
    }
    inputs = _screened(plain)
    plain["permutation"] = baselines.permutation(effects, inputs, seed)
    singles = Singles.of(effects, inputs, delta, seed)
    carrying, apart = singles.carrying, differences(effects)
    sets = sets_tested(effects, carrying, delta) if carrying else []
    left = [i for i in range(len(groups.names)) if i not in set(inputs)]
    ranked = [inputs[k] for k in singles.places] + left
    rows = singles.rows(effects, apart) + [untested_row(groups.names[i], effects, apart[i]) for i in left]
    findings = checked(model, groups, alarm)
    findings += [finding("left", inputs=len(groups.names), left=len(left))] if left else []
    findings += [finding("stretch")] if effects.units is None else []
    findings += unsure(effects, singles.verdicts, sets)
    features = _inside(effects, sites, ranked[:READABLE], delta, findings)
    return Diagnosis(
        [effects.turned(row) for row in rows],
        [effects.turned(set_row(groups.names, effects, one)) for one in sets],
        features,
        plain_rows(groups.names, ranked, plain),
        findings,
        {
            **_info(effects, delta, len(left), seed),
            "picture": picture_of(effects, None if image_shape is None else tuple(image_shape)),
            "left": remaining(effects, sets) if alarm.threshold is not None else None,
            "versions": versions(),
        },
    )


def _inside(
    effects: Effects, sites: list[str] | None, inputs: Sequence[int], delta: float | None, findings: list[Plain]
) -> list[Plain]:
    """Rows of features; where none were asked for and the model cannot be cut, a finding says why there are none."""
    try:
        names = recommended(effects) if sites is None else sites
        return feature_rows(effects, features_tested(effects, names, inputs, delta)) if names else []
    except LibasisError as error:
        if sites is not None:
            raise
        findings.append(finding("inside", reason=first_line(error)))
        return []


def _interesting(delta: float | None, alarm: Alarm) -> float | None:
    """The smallest change of interest."""
    if delta is not None and not 0 < delta < np.inf:
        raise OptionError(f"delta is {delta!r}; give a number above 0, or None.")
    if alarm.threshold is None:
        return delta
    if delta is not None and delta >= 1:
        raise OptionError(f"delta is {delta!r}, but an alarm rate is between 0 and 1; give 0.05 for 5 points.")
    return DELTA if delta is None else delta


def _screened(plain: dict[str, np.ndarray | None]) -> list[int]:
    """The inputs that are tested."""
    z = np.asarray(plain["mean_z"])
    if len(z) <= MOST:
        return list(range(len(z)))
    kinds = [np.argsort(-values, kind="stable") for values in plain.values() if values is not None]
    return sorted({int(i) for kind in kinds for i in kind[: MOST // len(kinds)]})


def _info(effects: Effects, delta: float | None, left: int, seed: int) -> Plain:
    exchange, alarm = effects.exchange, effects.exchange.alarm
    groups = exchange.groups
    return {
        "alarm": say(alarm.rule, **alarm.blanks),
        "rule": alarm.rule,
        "blanks": alarm.blanks,
        "kind": alarm.kind,
        "rates": alarm.threshold is not None,
        "delta": delta,
        "before": alarm.sign * float(effects.before.mean()),
        "normal_before": alarm.sign * float(effects.normal_before.mean()),
        "rows": {"normal": len(groups.normal), "anomalous": len(groups.anomalous)},
        "run": {"normal": len(exchange.normal), "anomalous": len(exchange.rows)},
        "inputs": len(groups.names),
        "not_tested": left,
        "units": "given" if effects.units is not None else "blocks of rows in time where rows depend on each other",
        "seed": seed,
    }
