"""How strong a cause that was not measured would have to be to explain an effect away (VanderWeele and Ding 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..arguments import typed
from ..errors import OptionError


@dataclass(frozen=True)
class EValue:
    """Of an effect as a risk ratio.

    Attributes:
        ratio: the risk ratio, or what an effect on a number comes to as one.
        low: lower end of its interval.
        high: its upper end.
        point: the E-value: a cause that is linked with treatment and outcome by risk ratios below it cannot explain
            the effect away.
        limit: the E-value of the end of the interval that is nearer to no effect; 1 where the interval has no effect.
        how: how the ratio was made, in words.
    """

    ratio: float
    low: float
    high: float
    point: float
    limit: float
    how: str = "risk ratio"


@typed
def evalue(ratio: float, low: float | None = None, high: float | None = None, *, how: str = "risk ratio") -> EValue:
    r"""The E-value :math:`R + \sqrt{R (R - 1)}` of a risk ratio (of its inverse below 1), and of its interval.

    Args:
        ratio: the risk ratio.
        low: lower end of its interval; None takes the ratio itself.
        high: its upper end; None takes the ratio itself.
        how: how the ratio was made, in words.

    Raises:
        OptionError: one of them is not above 0, or they are not in their order.
    """
    low, high = ratio if low is None else low, ratio if high is None else high
    if not 0 < low <= ratio <= high < math.inf:
        raise OptionError(
            f"The risk ratio {ratio:g} with the interval [{low:g}, {high:g}] needs 0 < low <= ratio <= high."
        )
    near = low if ratio >= 1 else high
    crosses = low <= 1 <= high
    return EValue(ratio, low, high, _of(ratio), 1.0 if crosses else _of(near), how)


def _of(ratio: float) -> float:
    away = max(ratio, 1 / ratio)
    return away + math.sqrt(away * (away - 1))


def of_difference(d: float, error: float, how: str) -> EValue:
    """Of a difference of means in standard deviations of the outcome: the risk ratio is taken as exp(0.91 d)."""
    limit = 500.0
    d, error = max(-limit, min(limit, d)), min(limit, error)
    return evalue(math.exp(0.91 * d), math.exp(0.91 * d - 1.78 * error), math.exp(0.91 * d + 1.78 * error), how=how)
