"""The README and its Japanese version give the same commands, code, numbers and links."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENGLISH, JAPANESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.ja.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text):
    """Code blocks without their comments: the language, and what it says."""
    return [(kind, meaning(kind, body)) for kind, body in FENCE.findall(text)]


def meaning(kind, body):
    if kind == "python":
        return ast.dump(ast.parse(body))
    return [line.split("#")[0].rstrip() for line in body.splitlines() if line.split("#")[0].strip()]


def inline(text):
    """Code within sentences, in any order."""
    return set(re.findall(r"`([^`\n]+)`", FENCE.sub("", text)))


def test_the_same_commands_and_code():
    assert blocks(ENGLISH)
    assert blocks(ENGLISH) == blocks(JAPANESE)


def test_no_code_within_sentences_that_the_english_does_not_have():
    assert inline(JAPANESE) <= inline(ENGLISH)


def test_the_same_numbers_in_the_tables():
    rows = [re.findall(r"^\|.*?((?:\|\s*[\d,]+\s*)+)\|$", text, re.MULTILINE) for text in (ENGLISH, JAPANESE)]
    assert rows[0] == rows[1]
    assert rows[0]


def test_the_same_sections():
    counts = [len(re.findall(r"^## ", text, re.MULTILINE)) for text in (ENGLISH, JAPANESE)]
    assert counts[0] == counts[1]


def test_each_links_to_the_other():
    assert "(README.ja.md)" in ENGLISH
    assert "(README.md)" in JAPANESE


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]), ids=lambda p: p.name)
def test_links_to_files_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing
