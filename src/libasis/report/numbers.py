"""Numbers as text: as many digits as they justify, a true minus sign, no false zero."""

from __future__ import annotations

import math
from dataclasses import dataclass

MOST = 6
"""Decimal places at most."""


@dataclass(frozen=True)
class Bounded:
    """A number with its 95% interval, where one was measured."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def half(self) -> float | None:
        """Half the width of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def places(estimate: Bounded) -> int:
    """Decimal places that show two digits of the half-width of the interval, but no more than three of the value."""
    sizes = [(abs(estimate.value), 2), *([(estimate.half, 1)] if estimate.half else [])]
    known = [digits - math.floor(math.log10(size)) for size, digits in sizes if size and math.isfinite(size)]
    return min(MOST, max(0, min(known))) if known else 2


def fixed(value: float, digits: int) -> str:
    """A number with so many decimal places; in powers of ten where it would read 0 or fill the line."""
    if value and (abs(value) < 0.5 * 10.0**-digits or abs(value) >= 1e9):
        mantissa, _, power = f"{value:.1e}".partition("e")
        return _minus(f"{mantissa}e{int(power)}")
    return _minus(f"{value:,.{digits}f}")


def signed(value: float, digits: int) -> str:
    """The same with a sign, also where it is positive."""
    return ("+" if value > 0 else "") + fixed(value, digits)


def rounded(value: float, spread: float) -> str:
    """A number with as many decimal places as show two digits of the spread around it."""
    if not (spread > 0 and math.isfinite(spread)) or abs(value) >= 1e9:
        return quantity(value)
    return _minus(f"{value:,.{min(MOST, max(0, 1 - math.floor(math.log10(spread))))}f}")


def bounds(estimate: Bounded, *, sign: bool = False) -> tuple[str, str] | None:
    """Both ends of the interval with the digits of its value; None where there is no interval."""
    if estimate.low is None or estimate.high is None:
        return None
    digits, show = places(estimate), signed if sign else fixed
    return show(estimate.low, digits), show(estimate.high, digits)


def percent(share: float) -> str:
    """A share as a percentage that never rounds to a false 0 or 100."""
    if 0 < share < 0.0005:
        return "< 0.1%"
    if 0.9995 <= share < 1:
        return "> 99.9%"
    return f"{share:.0%}" if share in (0.0, 1.0) else f"{share:.1%}"


def quantity(value: float, counting: int = 4) -> str:
    """A number with four digits that count (or another number of them), in plain notation where that is readable."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    size = math.floor(math.log10(abs(value)))
    if not -4 <= size < 7:
        digits, _, power = f"{value:.{counting - 1}e}".partition("e")
        return f"{digits}e{int(power)}".replace("e-", "e−")
    return f"{value:,.{max(0, counting - 1 - size)}f}"


def score(value: float, drop: float) -> str:
    """A score with one digit more than the allowed drop has."""
    digits = max(2, 1 - math.floor(math.log10(drop))) if drop > 0 else 4
    return f"{value:.{min(digits, 10)}f}"


def power_of_ten(value: float, _: object = None) -> str:
    """A tick label for a logarithmic axis, without mathematics markup: 1, 10, 100, 10⁻³."""
    exponent = round(math.log10(value)) if value > 0 else 0
    if value <= 0 or not math.isclose(value, 10.0**exponent, rel_tol=1e-6):
        return f"{value:g}"
    if -2 <= exponent <= 3:
        return f"{value:,.0f}" if exponent >= 0 else f"{value:g}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _minus(text: str) -> str:
    return text.replace("-", "−")
