"""What an A/B test is judged by: a metric that should get better, or a guardrail that must not get worse."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from ..arguments import check_fields
from ..errors import OptionError, did_you_mean, short


@dataclass(frozen=True)
class ABMetric:
    """A metric of an A/B test.

    Attributes:
        name: of its column; ``"clicks/views"`` is the ratio of two columns.
        baseline: its mean without the change, or its rate (between 0 and 1) where there is no ``sd``.
        effect: the smallest change worth finding, in its own unit or, as a text, of the baseline ("10%").
        margin: of a guardrail: how much worse it may get, in the same way.
        sd: its standard deviation from unit to unit; None for a rate.
        better: "higher" or "lower".
        covariate: a column known before the test by which the variance is reduced (CUPED).
        correlation: of that covariate with the metric.
        per_unit: rows of each unit that is dealt an arm (visits of a user), where rows are counted.
        icc: how much rows of one unit have in common (intraclass correlation).

    Raises:
        OptionError: a value is not allowed.
    """

    name: str
    baseline: float | None = None
    effect: float | str | None = None
    margin: float | str | None = None
    sd: float | None = None
    better: Literal["higher", "lower"] = "higher"
    covariate: str | None = None
    correlation: float = 0.0
    per_unit: float = 1.0
    icc: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        for key, low, high in (
            ("baseline", -math.inf, math.inf), ("sd", 0, math.inf), ("correlation", -1, 1), ("per_unit", 1, math.inf),
            ("icc", 0, 1),
        ):  # fmt: skip
            value = getattr(self, key)
            open_end = key in ("sd", "correlation")
            if value is not None and (not low <= value <= high or (open_end and value in (low, high))):
                raise self._refusal(key, f"give a number from {low} to {high}{', ends excluded' if open_end else ''}")
            if value is not None and not math.isfinite(value):
                raise self._refusal(key, "give a finite number")
        for key in ("effect", "margin"):
            if getattr(self, key) is not None and not 0 < self._amount(key) < math.inf:
                raise self._refusal(key, "give a finite number above 0; in which direction is said by better")

    def _refusal(self, key: str, what: str) -> OptionError:
        return OptionError(f"{key} of the metric {short(self.name)} is {short(getattr(self, key))}; {what}.")

    def _amount(self, key: str) -> float:
        """`effect` or `margin` in the metric's unit."""
        value = getattr(self, key)
        if not isinstance(value, str):
            return float(value)
        try:
            share = float(value.strip().removesuffix("%")) / (100 if value.strip().endswith("%") else math.nan)
        except ValueError:
            share = math.nan
        if not math.isfinite(share):
            raise self._refusal(key, 'give a number, or a share of the baseline such as "10%"')
        if not self.baseline:
            raise self._refusal(key, "a share of the baseline needs a baseline that is not 0; give it too, or a number")
        return share * abs(self.baseline)

    def change(self, key: Literal["effect", "margin"]) -> float | None:
        """`effect` or `margin` in the metric's unit, or None."""
        return None if getattr(self, key) is None else self._amount(key)

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return 1 if self.better == "higher" else -1

    @classmethod
    def parse(cls, text: str, *extra: str) -> ABMetric:
        """A metric as it is written on the command line: ``"conversion,baseline=0.05,effect=10%"``.

        Raises:
            OptionError: it is not of that form.
        """
        name, *pairs = [part.strip() for part in text.split(",")]
        known = {one.name: one for one in fields(cls)}
        values: dict[str, Any] = {}
        for pair in pairs:
            key, equals, value = (part.strip() for part in pair.partition("="))
            if not equals or key not in known or key == "name":
                raise OptionError(
                    f"The metric {short(text)} has {short(pair)}{did_you_mean(key, known)}; write it as "
                    f"name,baseline=0.05,effect=0.005 with the keys {', '.join(list(known)[1:])}."
                )
            values[key] = value if key in ("better", "covariate") else _number(key, value, text)
        if not name:
            raise OptionError(f"The metric {short(text)} has no name; write it as name,baseline=0.05,effect=0.005.")
        return cls(name, **values)


def _number(key: str, value: str, text: str) -> float | str:
    """A number; a percentage of the baseline stays a text, and any other is the number that it is."""
    if key in ("effect", "margin") and value.endswith("%"):
        return value
    part = value.removesuffix("%") if key in ("baseline", "correlation", "icc") else value
    try:
        return float(part) / (1 if part == value else 100)
    except ValueError:
        raise OptionError(f"The metric {short(text)} has {short(value)} where a number is expected.") from None


Metrics = str | ABMetric | Sequence[str | ABMetric]


def read_metrics(given: Metrics, role: str) -> tuple[ABMetric, ...]:
    """One or several metrics, given as such or by name.

    Raises:
        OptionError: there are two of one name, or no metrics.
    """
    several: Iterable[Any] = [given] if isinstance(given, (str, ABMetric)) else given
    found = tuple(ABMetric(one) if isinstance(one, str) else one for one in several)
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise OptionError(f"{role} names a metric twice: {short(names)}; name each once.")
    return found


def check_roles(success: Sequence[ABMetric], guardrails: Sequence[ABMetric], delta: bool) -> None:
    """Refuse metrics that lack what their role needs.

    Raises:
        OptionError: there is no metric of success, a guardrail has no margin, or one is both.
    """
    if not success:
        raise OptionError("success is empty; name the one metric that decides.")
    if both := {one.name for one in success} & {one.name for one in guardrails}:
        raise OptionError(f"{short(min(both))} is both success and guardrail; name it once.")
    for one in guardrails:
        if one.margin is None:
            raise OptionError(f"The guardrail {short(one.name)} has no margin; say how much worse it may get.")
    for one in success:
        if delta and one.effect is None:
            raise OptionError(f"{short(one.name)} has no effect; give the smallest change that is worth finding.")
