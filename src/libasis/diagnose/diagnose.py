"""`diagnose`: which inputs mediate a model's alarm, tested."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..ambient import neutral
from ..arguments import typed
from ..errors import LibasisError, OptionError, first_line
from ..numerics import Estimate, benjamini
from ..numerics.dependence import beside, differ, means
from ..provenance import versions
from ..types import Plain
from . import baselines
from .alarm import alarm_of
from .effects import SURE, Effects, Tested
from .exchange import Exchange
from .features import feature_rows, features_tested, recommended
from .first_look import checked
from .groups import Groups, of_units, read_groups
from .pictures import picture_of
from .ranking import importances, shares, stability
from .result import Diagnosis
from .sentences import finding, say
from .sets import SetTest, remaining, sets_tested, unsure

MOST = 128
"""Inputs that are tested; of more those by which the groups differ most, and those that the model uses most."""
DELTA = 0.05
"""The smallest change of an alarm rate that is of interest, where none is given."""
READABLE = 16
"""Inputs, the first ones, that a feature can be said to read."""
CARRIES = 0.1
"""Inputs with less of the first one's importance belong to no set."""
_OWN = ("normal", "anomalous", "normal_std", "anomalous_std")


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
    rates = alarm.threshold is not None
    if delta is not None and not 0 < delta < np.inf:
        raise OptionError(f"delta is {delta!r}; give a number above 0, or None.")
    if delta is not None and rates and delta >= 1:
        raise OptionError(f"delta is {delta!r}, but it is a change of the share of rows with an alarm; 0.05 is 5%.")
    delta = DELTA if delta is None and rates else delta
    exchange = Exchange(groups, alarm, seed)
    effects = Effects(exchange, of_units(units, groups))
    gradient = baselines.gradient_times_input(effects)
    plain: dict[str, np.ndarray | None] = {
        "mean_z": baselines.mean_z(effects),
        "gradient_x_input": gradient,
        "reconstruction": baselines.contributions(effects),
    }
    inputs = _screened(plain)
    plain["permutation"] = baselines.permutation(effects, inputs, seed)
    found = [effects.of([i]) for i in inputs]
    share = shares(effects, inputs, seed)
    value = importances(effects, found, share)
    stable = stability(effects, found, share, seed)
    verdicts = effects.tested(found, delta)
    order = sorted(range(len(inputs)), key=lambda k: (verdicts[k].verdict != SURE[0], -value[k]))
    differences = _differences(effects)
    rows = [
        {
            **_row(groups.names[inputs[k]], effects, verdicts[k]),
            "share": float(share[k].mean()),
            "importance": float(value[k]),
            "stability": float(stable[k]),
            **differences[inputs[k]],
            **verdicts[k].reason(),
        }
        for k in order
    ]
    left = [i for i in range(len(groups.names)) if i not in set(inputs)]
    rows += [_untested(groups.names[i], effects, differences[i]) for i in left]
    carry = [k for k in np.argsort(-value, kind="stable") if value[k] >= CARRIES * max(value.max(), 1e-12)]
    sets = sets_tested(effects, {inputs[k]: verdicts[k] for k in carry}, delta) if carry else []
    ranked = [inputs[k] for k in order] + left
    findings = checked(model, groups, alarm)
    findings += [finding("left", inputs=len(groups.names), left=len(left))] if left else []
    findings += [finding("stretch")] if effects.units is None else []
    findings += unsure(effects, verdicts, sets)
    rows = [effects.turned(row) for row in rows]
    features = _inside(effects, sites, ranked[:READABLE], delta, findings)
    return Diagnosis(
        rows,
        [effects.turned(_set_row(groups.names, effects, one)) for one in sets],
        features,
        _plain_rows(groups.names, ranked, plain),
        findings,
        {
            "alarm": say(alarm.rule, **alarm.blanks),
            "rule": alarm.rule,
            "blanks": alarm.blanks,
            "kind": alarm.kind,
            "rates": rates,
            "delta": delta,
            "before": alarm.sign * float(effects.before.mean()),
            "normal_before": alarm.sign * float(effects.normal_before.mean()),
            "rows": {"normal": len(groups.normal), "anomalous": len(groups.anomalous)},
            "run": {"normal": len(exchange.normal), "anomalous": len(exchange.rows)},
            "inputs": len(groups.names),
            "not_tested": len(left),
            "picture": picture_of(effects, None if image_shape is None else tuple(image_shape)),
            "units": "given" if effects.units is not None else "blocks of rows in time where rows depend on each other",
            "left": remaining(effects, sets) if rates else None,
            "seed": seed,
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


def _screened(plain: dict[str, np.ndarray | None]) -> list[int]:
    """The inputs that are tested."""
    z = np.asarray(plain["mean_z"])
    if len(z) <= MOST:
        return list(range(len(z)))
    kinds = [np.argsort(-values, kind="stable") for values in plain.values() if values is not None]
    return sorted({int(i) for kind in kinds for i in kind[: MOST // len(kinds)]})


def _row(name: str, effects: Effects, one: Tested) -> Plain:
    effect, estimate = one.effect, one.effect.estimate
    exchange, own = effects.exchange, effects.exchange.columns(one.effect.inputs)
    return {
        "input": name,
        "verdict": one.verdict,
        **_values(exchange.groups, own),
        "before": float(effect.before.mean()),
        "after": float(effect.after.mean()),
        "low": effects.within(estimate.low),
        "high": effects.within(estimate.high),
        "effect": estimate.value,
        "p": one.p,
        "p_specific": one.p_specific,
        "n": estimate.n,
        "n_needed": one.needed,
        "units": estimate.units,
        "collateral": float(effect.normal.mean()),
        "alone": effect.alone,
    }


def _values(groups: Groups, own: Tensor) -> Plain:
    """Mean and standard deviation of an input in both groups, in its own units."""
    both = {"normal": groups.normal[:, own], "anomalous": groups.anomalous[:, own]}
    deviations = {f"{key}_std": float(rows.std(0).mean()) for key, rows in both.items()}
    return {**{key: float(rows.mean()) for key, rows in both.items()}, **deviations}


def _end(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _untested(name: str, effects: Effects, difference: Plain) -> Plain:
    i = effects.exchange.groups.names.index(name)
    own = effects.exchange.groups.parts[i]
    before = float(effects.before.mean())
    empty = dict.fromkeys(("after", "low", "high", "effect", "p", "p_specific"))
    rest: Plain = {
        "n": 0,
        "n_needed": None,
        "units": 0,
        "collateral": None,
        "alone": None,
        "share": None,
        "importance": None,
        "stability": None,
    }
    return {
        "input": name,
        "verdict": "undecided",
        **_values(effects.exchange.groups, own),
        "before": before,
        **empty,
        **rest,
        **difference,
        "why": say("why_left"),
        "why_kind": "why_left",
    }


def _set_row(names: Sequence[str], effects: Effects, one: SetTest) -> Plain:
    members = [names[i] for i in one.tested.effect.inputs]
    contrast: Estimate | None = one.contrast
    return {
        "set": " and ".join(members),
        "members": members,
        **{k: v for k, v in _row("", effects, one.tested).items() if k not in ("input", *_OWN)},
        "normal_before": float(effects.normal_before.mean()),
        "normal_after": float(effects.normal_before.mean() + one.tested.effect.normal.mean()),
        "contrast": None if contrast is None else contrast.value,
        "contrast_low": None if contrast is None else _end(contrast.low),
        "contrast_high": None if contrast is None else _end(contrast.high),
        "confirmed": one.confirmed,
        **one.tested.reason(),
    }


def _differences(effects: Effects) -> list[Plain]:
    """How far the groups are apart in each input, and the q-value of a difference in mean or spread."""
    change = effects.exchange
    gaps, ps = [], []
    for part in change.groups.parts:
        a, b = (
            ((rows - change.mean) / change.deviation)[:, part].mean(1).numpy() for rows in (change.rows, change.normal)
        )
        gaps.append(float(a.mean() - b.mean()))
        both = []
        for one, two in ((a, b), (np.abs(a), np.abs(b))):
            own = effects.units or beside(one, two)
            both.append(differ(means(one, own[0]), means(two, own[1])))
        ps.append(min(1.0, 2 * min(both)))
    return [{"difference": gap, "q": q} for gap, q in zip(gaps, benjamini(ps), strict=True)]


def _plain_rows(names: Sequence[str], ranked: Sequence[int], plain: dict[str, np.ndarray | None]) -> list[Plain]:
    rows: list[Plain] = [{"input": names[i], "rank": k + 1} for k, i in enumerate(ranked)]
    for method in ("mean_z", "permutation", "gradient_x_input", "reconstruction"):
        values = plain[method]
        places = None if values is None else np.argsort(np.argsort(-values, kind="stable"), kind="stable") + 1
        for row, i in zip(rows, ranked, strict=True):
            row[method] = None if values is None else float(values[i])
            row[f"{method}_rank"] = None if places is None else int(places[i])
    return rows
