"""What a diagnosis says beside its numbers, in both languages: findings, reasons of verdicts, and what the alarm is."""

from __future__ import annotations

import re
from typing import Any

from ..files import sentences
from ..types import Plain

PATCH = re.compile(r"rows (?P<top>\d+)-(?P<bottom>\d+), columns (?P<left>\d+)-(?P<right>\d+)")


def finding(kind: str, **values: Any) -> Plain:
    """A finding as plain data: its kind, what fills its sentence, and the sentence in English."""
    return {"kind": kind, "values": values, "text": say(kind, **values)}


def say(kind: str, lang: str = "en", **values: Any) -> str:
    """The sentence of a kind, its blanks filled."""
    words = sentences(__package__ or "")[lang]
    if "what" in values:
        values["what"] = words.get(f"what_{values['what']}", values["what"])
    return words[kind].format(**values)


def spoken(text: str, lang: str) -> str:
    """A text in which patches of images, which are inputs with English names, have the names of a language."""
    return PATCH.sub(lambda found: say("patch", lang, **found.groupdict()), text)
