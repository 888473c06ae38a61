"""Every word of the report: one dictionary per language, with the same keys and the same blanks."""

from __future__ import annotations

from ...errors import OptionError
from .en import EN
from .ja import JA
from .view_en import VIEW_EN
from .view_ja import VIEW_JA

LANGUAGES = {"en": EN, "ja": JA}
VIEW = {"en": VIEW_EN, "ja": VIEW_JA}
"""The words of the script."""


def texts(lang: str) -> dict[str, str]:
    """The words of a language.

    Raises:
        OptionError: the language is not one of ours.
    """
    if lang not in LANGUAGES:
        raise OptionError(f'lang is {lang!r}; it must be "en" or "ja".')
    return LANGUAGES[lang]
