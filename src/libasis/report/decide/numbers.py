"""Numbers as text: as many digits as the interval justifies, a true minus sign, no false zero."""

from __future__ import annotations

import math

from .facts import Estimate

MOST = 6
"""Decimal places at most."""


def places(estimate: Estimate) -> int:
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


def bounds(estimate: Estimate, *, sign: bool = False) -> tuple[str, str] | None:
    """Both ends of the interval with the digits of its value; None where there is no interval."""
    if estimate.low is None or estimate.high is None:
        return None
    digits, show = places(estimate), signed if sign else fixed
    return show(estimate.low, digits), show(estimate.high, digits)


def _minus(text: str) -> str:
    return text.replace("-", "−")
