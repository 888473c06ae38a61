import re
import string
from importlib.resources import files

import pytest

from libasis.errors import OptionError
from libasis.report.words import EN, JA, VIEW, texts


def blanks(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_languages_have_the_same_keys_and_blanks():
    assert list(EN) == list(JA)
    assert {k: blanks(v) for k, v in EN.items()} == {k: blanks(v) for k, v in JA.items()}


def test_the_words_of_the_script_have_the_same_keys_and_blanks():
    one, other = VIEW["en"], VIEW["ja"]
    assert list(one) == list(other)
    assert {k: blanks(v) for k, v in one.items()} == {k: blanks(v) for k, v in other.items()}
    assert all(text.strip() for words in VIEW.values() for text in words.values())


def test_the_script_asks_for_no_other_words():
    """Every key that the script writes out has a text, each key put together has some, none is left over."""
    folder = files("libasis.report").joinpath("web")
    script = "".join(f.read_text(encoding="utf-8") for f in folder.iterdir() if f.name.endswith(".js"))
    assert set(re.findall(r'(?<![\w.])t\("(\w+)"', script)) <= set(VIEW["en"])
    patterns = [re.sub(r"\$\{[^}]*\}", r"\\w+", text) for text in re.findall(r"(?<![\w.])t\(`([^`]+)`", script)]
    for pattern in patterns:
        assert any(re.fullmatch(pattern, key) for key in VIEW["en"]), pattern
    written = set(re.findall(r'"(\w+)"', script))
    left = [k for k in VIEW["en"] if k not in written and not any(re.fullmatch(p, k) for p in patterns)]
    assert [k for k in left if not k.startswith("metric_")] == []


def test_every_text_says_something():
    assert all(text.strip() for words in (EN, JA) for text in words.values())


def test_unknown_language_is_refused():
    with pytest.raises(OptionError, match="'de'"):
        texts("de")
