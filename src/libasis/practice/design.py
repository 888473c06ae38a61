"""How long an A/B test must run: units for the metrics of success and for guardrails, and days."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..arguments import typed
from ..errors import OptionError, optional
from ..pages import write_page
from ..provenance import versions
from ..store import Stored, listed
from ..types import Plain
from .metrics import ABMetric, Metrics, check_roles, read_metrics
from .sequences import wider

Analysis = Literal["fixed", "always-valid"]
MANY, MOST = 1e6, 1e12
"""Units in a group from which t is as the normal, and that nobody has."""
LONG = 8
"""Weeks above which a test is called long."""


@dataclass(frozen=True)
class PlannedMetric:
    """One metric and the units it needs.

    Attributes:
        metric: what was given.
        role: "success" or "guardrail".
        change: what is to be found (of a guardrail, to be ruled out), in its unit.
        alpha: two-sided level of its interval.
        power: of this metric.
        control: units in the control group, looked at once at the end.
        treatment: units in the other group.
        always: how many times as many an analysis at every look needs at most.
    """

    metric: ABMetric
    role: str
    change: float
    alpha: float
    power: float
    control: int
    treatment: int
    always: float


@dataclass(frozen=True, eq=False, repr=False)
class ABDesign(Stored, kind="ab_design"):
    """How an A/B test is run and decided.

    Attributes:
        metrics: each with what it needs.
        analysis: "fixed" (one look, at the end) or "always-valid" (a look at any time).
        control: units in the control group.
        treatment: units in the other group.
        share: of the units that get the change.
        traffic: units a day, or None.
        days: how long it takes, in whole weeks; None without traffic.
        alpha: risk of a win without an effect.
        power: chance to find what is worth finding.
        warnings: what to think about, in words.
        info: versions.
    """

    metrics: tuple[PlannedMetric, ...]
    analysis: Analysis
    control: int
    treatment: int
    share: float
    traffic: float | None
    days: int | None
    alpha: float
    power: float
    warnings: tuple[str, ...]
    info: Plain = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Units in both groups."""
        return self.control + self.treatment

    def rows(self) -> list[Plain]:
        """One row for each metric."""
        return [
            {
                "metric": one.metric.name,
                "role": one.role,
                "baseline": one.metric.baseline,
                "change": one.change,
                "alpha": one.alpha,
                "power": one.power,
                "control": one.control,
                "treatment": one.treatment,
                "control_always_valid": math.ceil(one.control * one.always),
                "treatment_always_valid": math.ceil(one.treatment * one.always),
            }
            for one in self.metrics
        ]

    def summary(self) -> list[str]:
        """What it comes to, in sentences."""
        wins = [one.metric.name for one in self.metrics if one.role == "success"]
        guards = [one.metric.name for one in self.metrics if one.role == "guardrail"]
        when = (
            "once, when all units are in"
            if self.analysis == "fixed"
            else "at any time; this many are needed at most, fewer where the effect is larger"
        )
        rule = f"Win: {' or '.join(wins)} is better" + (
            f", and {', '.join(guards)} not worse than the margin." if guards else "."
        )
        time = f"At {self.traffic:g} units a day that takes {self.days} days." if self.days else ""
        return [
            f"{self.control} units in the control group and {self.treatment} with the change ({self.total} together), "
            f"read {when}.",
            *([time] if time else []),
            rule,
            *(f"Careful: {text}." for text in self.warnings),
        ]

    def to_html(self, path: str | Path, lang: str = "en") -> Path:
        """Write a self-contained page that shows it; opens in English or Japanese."""
        return write_page(self, path, lang)

    def __repr__(self) -> str:
        rows = [
            f"  {one.metric.name} ({one.role}): {one.control} + {one.treatment} for a change of {one.change:.4g}"
            for one in self.metrics
        ]
        return listed("\n".join(self.summary()), rows)


@typed
def ab_design(  # noqa: PLR0913 - keyword options of the public face
    success: Metrics,
    guardrails: Metrics = (),
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    share: float = 0.5,
    traffic: float | None = None,
    analysis: Analysis = "fixed",
) -> ABDesign:
    r"""Units and days that an A/B test needs.

    A rate needs :math:`(z_{1-\alpha/2} \sqrt{2 \bar p \bar q} + z_{1-\beta} \sqrt{p_1 q_1 + p_0 q_0})^2 / \delta^2`
    units in each group of equal groups, a mean about :math:`16 s^2 / \delta^2` at the usual risks (Student's t
    decides). A covariate that is known before takes the factor :math:`1 - \rho^2`, rows of one unit the factor
    :math:`1 + (m - 1) \mathrm{icc}`.

    The test is won if one of S metrics of success is better and all G guardrails are no worse than their margins. So
    each success has the risk :math:`\alpha / S`, guardrails keep theirs, and each metric has the power :math:`1 - \beta
    / (G + 1)`, so that all guardrails hold and success shows with the power asked for (Schultzberg et al. 2024, arXiv
    2402.11609). Read at every look (always-valid) the same takes more units at most, and ends early where the effect
    is large.

    Args:
        success: metrics of which one must get better, each with baseline, effect, and sd if it is no rate.
        guardrails: metrics that must not get worse by more than their margin.
        alpha: risk of a win without an effect, two-sided.
        power: chance of a win if one success has its effect and no guardrail is worse.
        share: of the units that get the change.
        traffic: units a day, for the duration.
        analysis: "fixed" (one look, at the end) or "always-valid" (a look at any time).

    Raises:
        OptionError: a metric lacks a number, or one is not allowed.
    """
    optional("statsmodels", "practice", "The design of an A/B test")
    for name, value in (("alpha", alpha), ("power", power), ("share", share)):
        if not 1e-9 <= value <= 1 - 1e-9:
            raise OptionError(f"{name} is {value:g}; give a number between 0 and 1 (and no nearer to them than 1e-9).")
    if traffic is not None and not 0 < traffic < math.inf:
        raise OptionError(f"traffic is {traffic:g}; give the units a day, above 0.")
    wins, guards = read_metrics(success, "success"), read_metrics(guardrails, "guardrails")
    check_roles(wins, guards, delta=True)
    each = 1 - (1 - power) / (len(guards) + 1)
    planned = [_planned(one, "success", alpha / len(wins), each, share) for one in wins]
    planned += [_planned(one, "guardrail", alpha, each, share) for one in guards]
    times = [one.always if analysis == "always-valid" else 1.0 for one in planned]
    control = max(math.ceil(one.control * more) for one, more in zip(planned, times, strict=True))
    treatment = max(math.ceil(one.treatment * more) for one, more in zip(planned, times, strict=True))
    days = None if traffic is None else 7 * math.ceil((control + treatment) / traffic / 7)
    return ABDesign(
        tuple(planned), analysis, control, treatment, share, traffic, days, alpha, power,
        tuple(_warnings(wins, guards, days)), {"versions": versions()},
    )  # fmt: skip


def _planned(one: ABMetric, role: str, alpha: float, power: float, share: float) -> PlannedMetric:
    from statsmodels.stats.power import normal_sample_size_one_tail

    change = one.change("effect" if role == "success" else "margin") or 0.0
    if one.baseline is None and one.sd is None:
        raise OptionError(f"{short_name(one)} has neither baseline nor sd; give its rate, or the sd of a number.")
    ratio = share / (1 - share)
    less = (1 - one.correlation**2) * (1 + (one.per_unit - 1) * one.icc)
    if one.sd is not None:
        spread = one.sd * math.sqrt(less)
        control = _by_t(change / spread, alpha, power, ratio)
    else:
        low, high = _rates(one, role, change)
        pooled = (low + ratio * high) / (1 + ratio)
        null = math.sqrt(pooled * (1 - pooled) * (1 + 1 / ratio))
        apart = math.sqrt(low * (1 - low) + high * (1 - high) / ratio)
        control = less * float(normal_sample_size_one_tail(change, power, alpha / 2, null, apart))
    if not control * max(1, ratio) < MOST:
        raise OptionError(
            f"{short_name(one)} would need {control:.1g} units for a change of {change:g}; give a larger one."
        )
    z, beta = _normal(1 - alpha / 2), _normal(power)
    always = ((wider(1, 1, alpha) + beta) / (z + beta)) ** 2
    return PlannedMetric(one, role, change, alpha, power, math.ceil(control), math.ceil(control * ratio), always)


def _by_t(size: float, alpha: float, power: float, ratio: float) -> float:
    """Units in the control group by Student's t; 2 where that is plenty, and by the normal where they are very many."""
    from statsmodels.stats.power import TTestIndPower

    z = _normal(1 - alpha / 2) + _normal(power)
    many = (1 + 1 / ratio) * (z / size) ** 2
    if not 2 < many < MANY:
        return max(many, 2.0)
    found = TTestIndPower().solve_power(size, alpha=alpha, power=power, ratio=ratio, alternative="two-sided")
    return float(found)


def _rates(one: ABMetric, role: str, change: float) -> tuple[float, float]:
    """The rate without the change and with it; of a guardrail it stays."""
    low = one.baseline or 0.0
    high = low + (one.sign if role == "success" else -one.sign) * change
    if not (0 < low < 1 and 0 < high < 1):
        raise OptionError(
            f"{short_name(one)} would go from {low:g} to {high:g}, but a rate is between 0 and 1 (5% is 0.05); give sd "
            "if it is a number."
        )
    return low, high if role == "success" else low


def short_name(one: ABMetric) -> str:
    """How a sentence begins that is about a metric."""
    return f"The metric {one.name[:60]!r}"


def _normal(probability: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability))


def _warnings(wins: Sequence[ABMetric], guards: Sequence[ABMetric], days: int | None) -> list[str]:
    found = []
    if len(wins) > 1:
        found.append(f"{len(wins)} metrics of success share the risk; one that decides needs fewer units")
    if not guards:
        found.append("no guardrail is named: a win in one metric may be paid for in another")
    if days and days > 7 * LONG:
        found.append(
            f"{days} days are long: cookies get lost and seasons change; look for a larger effect, a metric that "
            "varies less, or a covariate known before"
        )
    return found
