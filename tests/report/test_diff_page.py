"""The page of a comparison: self-contained, in two languages, with every text escaped."""

import html
import re

import pytest

import libasis
from libasis.errors import OptionError
from libasis.report.numbers import percent
from libasis.report.words import Words
from report.synthetic import make_graph

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def diff():
    names = ("a", "b", "output")
    one = make_graph((6, 5, 4), names).with_labels({"a:0": HOSTILE, "a:1": HOSTILE})
    return libasis.diff(one, make_graph((6, 5, 4), names, edges=[e.T.flip(0).T for e in one.edges]))


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_the_page_is_safe_and_whole(diff, tmp_path, lang):
    text = diff.to_html(tmp_path / "diff.html", lang, title=HOSTILE).read_text(encoding="utf-8")
    assert text.startswith(f'<!DOCTYPE html>\n<html lang="{lang}">')
    assert "<img" not in text
    assert text.count("<script") == text.count("</script>") == 2
    assert "default-src 'none'" in text
    assert not re.search(r'(src|href)="', text)
    assert re.search(r"\{\w+\}", re.sub(r"<(style|script)[^>]*>.*?</\1>", "", text, flags=re.S)) is None
    assert diff.to_html(tmp_path / "again.html", lang, title=HOSTILE).read_text(encoding="utf-8") == text


def test_numbers_of_the_page_are_those_of_the_comparison(diff, tmp_path):
    text = diff.to_html(tmp_path / "diff.html").read_text(encoding="utf-8")
    assert diff.edges
    row = diff.edges[0]
    assert html.escape(percent(row["a"])) in text
    assert html.escape(percent(row["b"])) in text
    assert Words("en", "diff")(row["kind"]) in text
    assert "No data were given" in text


def test_another_language_is_refused(diff, tmp_path):
    with pytest.raises(OptionError, match="'fr'"):
        diff.to_html(tmp_path / "diff.html", "fr")
