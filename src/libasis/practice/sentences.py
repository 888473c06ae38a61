"""What a plan says, in both languages."""

from __future__ import annotations

import math
from typing import Any

from ..diagnose import spoken
from ..errors import OptionError
from ..files import sentences
from ..types import Plain


def line(kind: str, **values: Any) -> Plain:
    """A sentence as plain data: its kind and what fills it."""
    return {"kind": kind, "values": values}


def said(one: Plain, lang: str) -> str:
    """The sentence of a `line`, in a language.

    Raises:
        OptionError: the language is unknown.
    """
    words = words_of(lang)
    values = {key: said(value, lang) if isinstance(value, dict) else value for key, value in one["values"].items()}
    for key in ("verdict", "stage", "input"):
        if key in values:
            values[key] = words.get(f"{key}_{values[key]}", values[key])
    return spoken(words[one["kind"]].format(**values), lang)


def words_of(lang: str) -> dict[str, str]:
    """All words of a language.

    Raises:
        OptionError: it is unknown.
    """
    if lang not in sentences(__package__ or ""):
        raise OptionError(f'lang is {lang!r}; it must be "en" or "ja".')
    return sentences(__package__ or "")[lang]


def percent(value: float) -> str:
    """A share, with the digits that tell it from 0 and 1."""
    value += 0.0  # no minus before nothing
    digits = 0 if value == 0 or 0.1 <= abs(value) <= 0.9 or abs(value) >= 1 else 1
    small = 0 < abs(value) < 0.001
    return f"{value:.2g}" if small else f"{value:.{digits}%}".replace(".0%", "%")


def chance(value: float) -> str:
    """A probability of draws, which is never nothing or all."""
    return "<0.1%" if value < 0.001 else ">99.9%" if value > 0.999 else percent(value)


def quantity(value: float | None) -> str:
    """A number to four digits."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.4g}"
