"""One system of words: both languages say the same things, and what has no word keeps its name."""

import re
import string
from importlib.resources import files

import pytest

from libasis.errors import OptionError
from libasis.report.words import LANGUAGES, Words

EN, JA = LANGUAGES.values()
TOPICS = pytest.mark.parametrize("topic", list(EN))


def blanks(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@TOPICS
def test_languages_have_the_same_keys_and_blanks(topic):
    one, other = EN[topic], JA[topic]
    assert list(one) == list(other)
    assert {k: blanks(v) for k, v in one.items()} == {k: blanks(v) for k, v in other.items()}


@TOPICS
def test_a_word_has_one_home(topic):
    assert topic == "common" or not set(EN[topic]) & set(EN["common"])


@TOPICS
def test_every_text_says_something_and_japanese_is_japanese(topic):
    assert all(text.strip() for words in (EN, JA) for key, text in words[topic].items() if key != "space")
    assert not [k for k, text in JA[topic].items() if any(c in text for c in "“”?!;")]
    assert not [k for k, text in EN[topic].items() if any("\u3040" <= c <= "\u9fff" for c in text)]
    plain = {k for k, t in JA[topic].items() if not any("\u3040" <= c <= "\u9fff" for c in t)}
    names = {"method_lib", "method_pca", "reference", "quote", "comma", "space"}  # common
    keys = {"key_arrows", "key_enter", "key_p", "key_zoom", "key_back", "key_escape", "statistic"}  # graph
    assert plain <= names | keys | {"kicker", "a", "b"}


def test_the_script_asks_for_no_other_words():
    """Every key that the script writes out has a text, each key put together has some, none is left over."""
    folder = files("libasis.report").joinpath("web")
    script = "".join(f.read_text(encoding="utf-8") for f in folder.iterdir() if f.name.endswith(".js"))
    known = Words("en", "graph").all
    assert set(re.findall(r'(?<![\w.])t\("(\w+)"', script)) <= set(known)
    patterns = [re.sub(r"\$\{[^}]*\}", r"\\w+", text) for text in re.findall(r"(?<![\w.])t\(`([^`]+)`", script)]
    for pattern in patterns:
        assert any(re.fullmatch(pattern, key) for key in known), pattern
    for kind in re.findall(r'(?<![\w.])named\("(\w+)"', script):
        assert any(key.startswith(f"{kind}_") for key in known), kind
    written = set(re.findall(r'"(\w+)"', script))
    left = [k for k in EN["graph"] if k not in written and not any(re.fullmatch(p, k) for p in patterns)]
    assert left == []


def test_unknown_language_is_refused():
    with pytest.raises(OptionError, match="'de'"):
        Words("de", "page")


def test_what_has_no_word_keeps_its_own_name():
    words = Words("ja", "page")
    assert words.named("metric", "accuracy") == "正解率"
    assert words.named("metric", "my own") == "my own"
    assert words.named("method", "a\x00b") == "a\ufffdb"


def test_lists_read_as_lists_and_counts_have_commas():
    assert [Words("en", "first").listed(list("abc")[:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
    assert Words("ja", "first").listed(["「a」", "「b」", "「c」"]) == "「a」、「b」と「c」"
    assert Words("en", "page")("features_count", shown=10, total=12345) == "10 of 12,345"
