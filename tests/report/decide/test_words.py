import string

import pytest

from libasis.errors import OptionError
from libasis.report.decide import en, ja
from libasis.report.decide.facts import Feature
from libasis.report.decide.words import Words


def blanks(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_languages_have_the_same_keys_and_blanks():
    assert list(en.WORDS) == list(ja.WORDS)
    assert {k: blanks(v) for k, v in en.WORDS.items()} == {k: blanks(v) for k, v in ja.WORDS.items()}


def test_every_text_says_something_and_japanese_is_japanese():
    assert all(text for text in en.WORDS.values())
    assert not [k for k, text in ja.WORDS.items() if any(c in text for c in "“”?!;")]
    kana = [k for k, t in ja.WORDS.items() if any("\u3040" <= c <= "\u9fff" for c in t)]
    assert set(ja.WORDS) - set(kana) == {"suggest_other", "reference", "quote", "comma", "space"}


def test_unknown_language_is_refused():
    with pytest.raises(OptionError, match="'de'"):
        Words("de")


def test_the_users_label_comes_before_the_suggestion_and_that_before_the_id():
    words, suggestion = Words("en"), {"kind": "class", "value": "7"}
    assert words.name(Feature("a:0", "a", label="loops", suggestion=suggestion)) == "loops"
    assert words.name(Feature("a:0", "a", suggestion=suggestion)) == "class 7"
    assert words.name(Feature("a:0", "a", suggestion=suggestion, low=True)) == "class 7 (low end)"
    assert words.name(Feature("a:0", "a", suggestion={"kind": "new", "value": "x"})) == "x"
    wave = Feature("a:0", "a", suggestion={"kind": "frequency", "value": "14 of 113"})
    assert [Words(lang).name(wave) for lang in ("en", "ja")] == ["frequency 14 of 113", "周波数 14/113"]
    assert words.name(Feature("a:0", "a")) == words.reference(Feature("a:0", "a")).strip("“”") == "a:0"
    assert words.reference(Feature("a:0", "a", label="loops")) == "“loops” (a:0)"
    assert Words("ja").reference(Feature("a:0", "a", suggestion=suggestion)) == "「クラス 7」（a:0）"


def test_lists_read_as_lists():
    assert [Words("en").listed(list("abc")[:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
    assert Words("ja").listed(["「a」", "「b」", "「c」"]) == "「a」、「b」と「c」"
