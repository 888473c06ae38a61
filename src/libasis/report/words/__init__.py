"""Every word of the report: a file for each language, in it a table for each topic, with the same keys and blanks."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import OptionError

LANGUAGES: dict[str, dict[str, dict[str, str]]] = {
    lang: tomllib.loads((Path(__file__).parent / f"{lang}.toml").read_text(encoding="utf-8")) for lang in ("en", "ja")
}


class Words:
    """The words of one topic in one language, and what its grammar does with names. Topics share the common words.

    Raises:
        OptionError: the language is not one of ours.
    """

    def __init__(self, lang: str, topic: str) -> None:
        if lang not in LANGUAGES:
            raise OptionError(f'lang is {lang!r}; it must be "en" or "ja".')
        self.lang = lang
        self.all: dict[str, str] = LANGUAGES[lang]["common"] | LANGUAGES[lang][topic]

    def __call__(self, key: str, **blanks: object) -> str:
        """The text of a key, its blanks filled; a whole number is a count and gets its commas."""
        filled = {name: f"{value:,}" if type(value) is int else value for name, value in blanks.items()}
        return self.all[key].format(**filled) if filled else self.all[key]

    def named(self, kind: str, name: object) -> str:
        """The word for a method, metric or other thing of a kind; what has none keeps its own name."""
        return self.all.get(f"{kind}_{name}") or clean(name)

    def of_pattern(self, text: str, known: Mapping[str, str]) -> str:
        """A sentence of a result in these words: the key of the pattern that it fits; one of none stays as it is."""
        for pattern, key in known.items():
            if found := re.fullmatch(pattern, text):
                return self(key, **found.groupdict())
        return text

    def quote(self, text: object) -> str:
        """Text between the marks of the language."""
        return self("quote", text=clean(text))

    def listed(self, names: Sequence[str]) -> str:
        """A, B and C."""
        *head, last = names
        if not head:
            return last
        first = self("comma").join(head)
        return _spaced(first, self("and"), last) if self.lang == "ja" else self("and").join([first, last])

    def joined(self, sentences: Sequence[str]) -> str:
        """Sentences one after the other."""
        return self("space").join(s for s in sentences if s)


def _spaced(first: str, between: str, last: str) -> str:
    """Words side by side, with a space where letters of the Latin alphabet meet others."""
    return f"{first}{' ' * first[-1:].isascii()}{between}{' ' * last[:1].isascii()}{last}"


def clean(text: object) -> str:
    """Text that every format can carry: control characters and lone surrogates become U+FFFD."""
    return "".join(
        " " if c in "\n\r\t" else "\ufffd" if unicodedata.category(c) in ("Cc", "Cs") or c in "\ufffe\uffff" else c
        for c in str(text)
    )
