"""The words of a language, and how names are set into its sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ...errors import OptionError
from ..canvas import clean
from ..series import metric_name
from . import en, ja
from .facts import Feature

LANGUAGES = {"en": en.WORDS, "ja": ja.WORDS}
KINDS = ("class", "token", "column", "frequency", "output")


class Words:
    """The first screen's words in one language.

    Raises:
        OptionError: the language is not one of ours.
    """

    def __init__(self, lang: str) -> None:
        if lang not in LANGUAGES:
            raise OptionError(f'lang is {lang!r}; it must be "en" or "ja".')
        self.lang = lang
        self._words = LANGUAGES[lang]

    def __call__(self, key: str, **blanks: object) -> str:
        """The text of a key, its blanks filled."""
        return self._words[key].format(**blanks) if blanks else self._words[key]

    def quote(self, text: object) -> str:
        """Text between the marks of the language."""
        return self._words["quote"].format(text=clean(text))

    def metric(self, name: str) -> str:
        """A metric's name for people."""
        return self._words.get(f"metric_{name}") or metric_name([SimpleNamespace(metric=name)], self.lang)

    def statistic(self, name: object) -> str:
        """A statistic's name for people."""
        return self._words.get(f"statistic_{name}") or clean(name)

    def listed(self, names: Sequence[str]) -> str:
        """A, B and C."""
        head, last = list(names[:-1]), names[-1]
        return self._words["and"].join([self._words["comma"].join(head), last]) if head else last

    def joined(self, sentences: Sequence[str]) -> str:
        """Sentences one after the other."""
        return self._words["space"].join(s for s in sentences if s)

    def name(self, feature: Feature) -> str:
        """The user's label, else the suggestion, else the id."""
        if feature.label:
            return clean(feature.label)
        if feature.suggestion:
            name = self._suggested(feature.suggestion)
            return self("suggest_low", name=name) if feature.low else name
        return feature.id

    def _suggested(self, suggestion: Mapping[str, Any]) -> str:
        kind, value = suggestion.get("kind"), clean(suggestion["value"])
        if kind == "frequency" and (wave := re.fullmatch(r"(\d+) of (\d+)", value)):
            return self("suggest_wave", value=wave[1], modulus=wave[2])
        return self(f"suggest_{kind}" if kind in KINDS else "suggest_other", value=value)

    def reference(self, feature: Feature) -> str:
        """The name with the id beside it, for sentences where several features may have one name."""
        name = self.name(feature)
        return self.quote(name) if name == feature.id else self("reference", name=self.quote(name), id=feature.id)
