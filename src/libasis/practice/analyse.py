"""`ab_analyse`: is the split as planned, what is the effect, do the guardrails hold, what is to be done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from ..arguments import typed
from ..errors import LibasisError, OptionError, optional, short
from ..provenance import versions
from .arms import Arms, Wanted, columns_of, read_arms
from .compare import Difference, difference, enough, exactly
from .design import ABDesign
from .metrics import ABMetric, Metrics, check_roles, read_metrics
from .outcome import ABOutcome, Look, MetricOutcome
from .sequences import wider

MISMATCH = 0.001
PLANNED = 10_000
"""Units at which intervals for every look are tightest where no number was planned."""


class SampleRatioError(LibasisError):
    """The groups of an A/B test are not of the sizes that were planned, so nothing that is read of it is right."""


@typed
def ab_analyse(  # noqa: PLR0913 - keyword options of the public face
    before: Any,
    after: Any = None,
    *,
    success: Metrics | None = None,
    guardrails: Metrics = (),
    delta: float | None = None,
    arm: str | None = None,
    control: str | None = None,
    treatment: str | None = None,
    unit: str | None = None,
    time: str | None = None,
    covariate: str | None = None,
    design: ABDesign | None = None,
    analysis: Literal["fixed", "always-valid", "exact"] | None = None,
    planned: int | None = None,
    share: float | None = None,
    alpha: float | None = None,
    power: float = 0.8,
) -> ABOutcome:
    """The outcome of an A/B test: win, harm, no difference above delta, or undecided and how many units more.

    First the sizes of the groups: where they are not as planned (chi-square, p < 0.001) something is broken, and no
    effect is given. Then each metric with its interval, then the verdict. By default it is always-valid: it may be read
    every day and acted on at once, and a win without an effect has the risk alpha / 2 over all looks together. With
    ``"fixed"`` it is read once, at the planned number of units. ``"exact"`` is always-valid for rates without any
    approximation, and wider.

    Args:
        before: the control group: a file (.csv, .xlsx, .parquet …), a DataFrame or a dict of columns, a row a unit (or
            a visit, with ``unit``); or all of it, with ``arm``.
        after: the group with the change, of the same time. None with ``arm``.
        success: the metric, or metrics, that should get better; by default that of the design, or the only column.
        guardrails: metrics with a margin that must not get worse by more.
        delta: the smallest effect of interest of a single success, where it has no effect of its own.
        arm: the column that says the group.
        control: its value for the control group (recognised where it is "control", "A", "0" and the like).
        treatment: its value for the other one.
        unit: the column of the unit that was dealt a group (a user), where rows are visits or parts.
        time: the column of the day (or time), for daily looks.
        covariate: a column known before the test, for all metrics without their own: takes out what it tells.
        design: from `ab_design`: metrics, analysis, units, share and alpha, as far as they are not given.
        analysis: "always-valid", "fixed" or "exact".
        planned: units in both groups that were planned.
        share: of the units that were to get the change.
        alpha: risk of a win or a harm without an effect.
        power: of the number of units that is still needed.

    Raises:
        SampleRatioError: the groups are not of the planned sizes.
        SourceError: a file cannot be read.
        OptionError: a column is missing or no numbers, the groups cannot be told, or an option is not allowed.
    """
    optional("statsmodels", "practice", "The analysis of an A/B test")
    kinds = {role: [one.metric for one in design.metrics if one.role == role] if design else [] for role in ROLES}
    if success is None and design is None:
        success = _only(before, {arm, unit, time, covariate, *(one.name for one in read_metrics(guardrails, ""))})
    wins = read_metrics(kinds["success"] if success is None else success, "success")
    guards = read_metrics(guardrails, "guardrails") or tuple(kinds["guardrail"])
    wins, guards = _with(wins, covariate, delta), _with(guards, covariate, None)
    check_roles(wins, guards, delta=False)
    split: float = _either(share, design.share if design else None, 0.5)
    risk: float = _either(alpha, design.alpha if design else None, 0.05)
    for name, value in (("share", split), ("alpha", risk), ("power", power)):
        if not 1e-9 <= value <= 1 - 1e-9:
            raise OptionError(f"{name} is {value:g}; give a number between 0 and 1 (and no nearer to them than 1e-9).")
    kind = analysis or (design.analysis if design else "always-valid")
    planned = planned or (design.total if design else None)
    if planned is not None and planned < 4:
        raise OptionError(f"planned is {planned}; give the units of both groups together.")
    arms = read_arms(before, after, [*wins, *guards], Wanted(arm, control, treatment, unit, time))
    for one in (*wins, *guards):
        _check_change(arms, one, one.change("effect" if one in wins else "margin"))
    check = _check_ratio(arms, split)
    test = _Test(kind, planned, risk, risk / len(wins), power)
    found = [
        test.compared(arms, one, role) for role, several in zip(ROLES, (wins, guards), strict=True) for one in several
    ]
    rows, looks = [one for one, _ in found], [look for _, several in found for look in several]
    counts = arms.counts()
    verdict = test.verdict(rows, sum(counts))
    notes = [*arms.notes, *([] if time or after is None else [UNSEEN])]
    return ABOutcome(
        verdict, tuple(rows), tuple(looks), kind, counts[0], counts[1], arms.names, check, planned, risk,
        tuple(notes), {"versions": versions(), "share": split, "power": power},
    )  # fmt: skip


ROLES = ("success", "guardrail")
UNSEEN = "without a time column it cannot be seen whether both groups ran at the same time"


def _only(source: Any, others: set[str | None]) -> str:
    """The one column that is left to be the metric."""
    left = [name for name in columns_of(source) if name not in others]
    if len(left) != 1:
        raise OptionError(
            "success is not given; name the one metric that decides, of "
            f"{', '.join(map(short, left[:12])) or 'no columns'}."
        )
    return left[0]


def _either(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _with(metrics: Sequence[ABMetric], covariate: str | None, delta: float | None) -> tuple[ABMetric, ...]:
    if delta is not None and (len(metrics) != 1 or not 0 < delta < math.inf):
        raise OptionError(f"delta is {delta:g} for {len(metrics)} metrics of success; give each its effect, above 0.")
    return tuple(
        replace(one, covariate=one.covariate or covariate, effect=one.effect if one.effect is not None else delta)
        for one in metrics
    )


def _check_change(arms: Arms, metric: ABMetric, change: float | None) -> None:
    """Refuse a change that no rate can have in either direction."""
    if change is None or not arms.is_rate(metric):
        return
    own = arms.columns[metric.name][arms.arm == 0]
    start = float(own.mean()) if metric.baseline is None and len(own) else metric.baseline or 0.0
    if change >= 1 or not (0 <= start + change <= 1 or 0 <= start - change <= 1):
        raise OptionError(
            f"The smallest change of {short(metric.name)} is {change:g}, but it is a rate, now {start:g}, and cannot "
            "leave 0 to 1; give the change in these units, such as 0.05 for 5 points of a percentage."
        )


def _check_ratio(arms: Arms, share: float) -> float:
    """The p-value of group sizes as planned."""
    from scipy.stats import chisquare

    zero, one = arms.counts()
    if min(zero, one) < 2:
        raise OptionError(
            f"The groups have {zero} and {one} units ({arms.names[0]}, {arms.names[1]}); each needs two or more."
        )
    p = float(chisquare([zero, one], [(zero + one) * (1 - share), (zero + one) * share]).pvalue)
    if p < MISMATCH:
        raise SampleRatioError(
            f"The groups have {zero} and {one} units, but {1 - share:.0%} and {share:.0%} were expected (chi-square "
            f"p = {p:.1g}): units are lost or dealt wrongly, so no effect is given; find the cause (filters, "
            "redirects, bots, lost events), or give share if another split was planned."
        )
    return p


class _Test:
    """How differences are judged: by one look or at all of them, with which risk."""

    def __init__(self, kind: str, planned: int | None, alpha: float, corrected: float, power: float) -> None:
        self.kind, self.planned, self.alpha, self.corrected, self.power = kind, planned, alpha, corrected, power

    def compared(self, arms: Arms, metric: ABMetric, role: str) -> tuple[MetricOutcome, list[Look]]:
        """A metric at the end, and at the end of each day."""
        level = self.corrected if role == "success" else self.alpha
        looks, low, high, wide = [], -math.inf, math.inf, (-math.inf, math.inf)
        days = range(len(arms.days)) if len(arms.days) > 1 else [0]
        groups, rate = arms.of(metric)
        if self.kind == "exact" and not rate:
            raise OptionError(f"{metric.name!r} is no rate of single rows; take the analysis always-valid for it.")
        now = None
        for day in days:
            part = arms if day == days[-1] else arms.until(day)
            if min(part.counts()) < 2:
                continue
            groups = arms.of(metric)[0] if part is arms else part.of(metric)[0]
            now = difference(groups, rate, level)
            step, step90 = self._always(now, groups, rate, level)
            low, high = max(low, step[0]), min(high, step[1])
            wide = max(wide[0], step90[0]), min(wide[1], step90[1])
            name = arms.days[day] if len(arms.days) > 1 else "all"
            looks.append(
                Look(metric.name, name, len(groups[0]), len(groups[1]), now.effect, now.low, now.high, low, high)
            )
        assert now is not None  # noqa: S101 - both groups have two units at the end
        if self.kind == "fixed":
            one = difference(groups, rate, 2 * level)
            wide = one.low, one.high
        return self._judged(metric, role, level, now, (low, high), wide), looks

    def _always(
        self, now: Difference, groups: Sequence[np.ndarray], rate: bool, level: float
    ) -> tuple[tuple[float, float], tuple[float, float]]:
        """The intervals for every look, with the risk and with twice as much (to rule a difference out)."""
        if self.kind == "exact":
            return exactly(groups, level), exactly(groups, min(2 * level, 0.5))
        if not enough(groups, rate):
            return (-math.inf, math.inf), (-math.inf, math.inf)
        planned = self.planned or PLANNED
        return now.always(planned, level), now.always(planned, min(2 * level, 0.5))

    def _judged(
        self,
        metric: ABMetric,
        role: str,
        level: float,
        now: Difference,
        always: tuple[float, float],
        wide: tuple[float, float],
    ) -> MetricOutcome:
        low, high = (now.low, now.high) if self.kind == "fixed" else always
        if low > high:
            judgement = "changed over time"
        elif role == "success":
            judgement = self._of_success(metric, (low, high), wide)
        else:
            judgement = self._of_guardrail(metric, (low, high))
        limit = metric.change("effect" if role == "success" else "margin")
        needed = None if limit is None or not now.error > 0 else self._needed(now, limit, level)
        return MetricOutcome(
            metric.name, role, metric.better, limit, now.control, now.treatment, now.effect, now.low, now.high, now.p,
            always[0], always[1], 1 - level, judgement, needed,
        )  # fmt: skip

    @staticmethod
    def _of_success(metric: ABMetric, ends: tuple[float, float], wide: tuple[float, float]) -> str:
        delta = metric.change("effect")
        if delta is not None and -delta < wide[0] <= wide[1] < delta:
            return "no difference above delta"
        gain, loss = (ends[0], ends[1]) if metric.sign > 0 else (-ends[1], -ends[0])
        return "better" if gain > 0 else "worse" if loss < 0 else "undecided"

    @staticmethod
    def _of_guardrail(metric: ABMetric, ends: tuple[float, float]) -> str:
        margin = metric.change("margin") or 0.0
        worst, best = (ends[0], ends[1]) if metric.sign > 0 else (-ends[1], -ends[0])
        return "holds" if worst > -margin else "broken" if best < -margin else "undecided"

    def _needed(self, now: Difference, limit: float, level: float) -> int:
        """Units in both groups at which the limit is found, or ruled out, with the power."""
        from scipy.special import ndtri

        planned = self.planned or PLANNED

        def ends(risk: float, n: float) -> float:
            if self.kind == "fixed":
                return float(ndtri(1 - risk / 2))
            if self.kind == "exact":
                return math.sqrt(2) * wider(1, 1, risk / 2)  # two intervals, added up
            return wider(n, planned, risk)

        beta = float(ndtri(self.power)), float(ndtri((1 + self.power) / 2))
        found = float(now.units)
        for _ in range(30):  # how wide an interval is depends on the units that are looked for
            most = max(ends(level, found) + beta[0], ends(min(2 * level, 0.5), found) + beta[1])
            found = max(1.0, now.units * min(most * now.error / limit, 1e6) ** 2)
        return math.ceil(found)

    def verdict(self, rows: Sequence[MetricOutcome], units: int) -> str:
        """Of all metrics together."""
        if self.kind == "fixed" and self.planned and units < self.planned:
            return "undecided"
        found = {one.judgement for one in rows}
        wins = [one.judgement for one in rows if one.role == "success"]
        guards = [one.judgement for one in rows if one.role == "guardrail"]
        if found & {"worse", "broken"}:
            return "harm"
        if "better" in wins and all(one == "holds" for one in guards):
            return "win"
        if all(one == "no difference above delta" for one in wins):
            return "no difference above delta"
        return "undecided"
