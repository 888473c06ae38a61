"""What a diagnosis says beside its numbers, in both languages: findings, reasons of verdicts, and what the alarm is."""

from __future__ import annotations

import functools
import tomllib
from importlib.resources import files
from typing import Any

from ..types import Plain


@functools.cache
def _all() -> dict[str, dict[str, str]]:
    return tomllib.loads(files(__package__ or "").joinpath("sentences.toml").read_text(encoding="utf-8"))


def finding(kind: str, **values: Any) -> Plain:
    """A finding as plain data: its kind, what fills its sentence, and the sentence in English."""
    return {"kind": kind, "values": values, "text": say(kind, **values)}


def say(kind: str, lang: str = "en", **values: Any) -> str:
    """The sentence of a kind, its blanks filled."""
    words = _all()[lang]
    if "what" in values:
        values["what"] = words.get(f"what_{values['what']}", values["what"])
    return words[kind].format(**values)
