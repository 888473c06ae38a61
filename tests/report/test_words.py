import string

import pytest

from libasis.errors import OptionError
from libasis.report.words import EN, JA, texts


def blanks(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_languages_have_the_same_keys_and_blanks():
    assert list(EN) == list(JA)
    assert {k: blanks(v) for k, v in EN.items()} == {k: blanks(v) for k, v in JA.items()}


def test_every_text_says_something():
    assert all(text.strip() for words in (EN, JA) for text in words.values())


def test_unknown_language_is_refused():
    with pytest.raises(OptionError, match="'de'"):
        texts("de")
