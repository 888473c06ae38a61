"""The README does what it says; its Japanese version gives the same commands, code, numbers and links."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import libasis
from libasis.demo import modadd
from libasis.demo.run import HELD_OUT, MAX_DROP, SUBJECTS

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


def test_the_python_runs_and_prints_what_is_said(tmp_path):
    (code,) = [body for kind, body in FENCE.findall(ENGLISH) if kind == "python"]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last in inline(ENGLISH)
    assert last in inline(JAPANESE)
    assert [file.name for file in tmp_path.iterdir()] == re.findall(r'to_html\("(.*?)"', code)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"libasis\.(\w+)\(", ENGLISH + JAPANESE))))
def test_every_call_that_is_named_exists(name):
    assert name in libasis.__all__


def demo_table(text):
    """Cells of the demo's table without its head, and the numbers in the sentence below."""
    table = re.search(r"<!-- demo table -->\n(.*?)<!-- /demo table -->", text, re.DOTALL)[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    return rows[2:], set(re.findall(r"\b\d[\d,.]*\d\b", table.split("|")[-1]))


def test_the_numbers_of_the_demo_are_measured():
    """By the demo's own calls; only one number is not, the stable count of PCA in the first section: half a minute."""
    sites, train, test = SUBJECTS["modadd"].sites, modadd.batches_train(), modadd.batches_test()
    test = test[: HELD_OUT // len(test[0][1])]
    traced = libasis.trace(modadd.load(), train[0][0], sites, dtype="float32")
    cells = {name: [f"{name} → {to}"] for name, to in zip(sites, sites[1:], strict=False)}
    for method in ("lib", "pca"):
        graph = libasis.interactions(traced, libasis.fit(traced, train, method), train)
        for name in sites[:-1]:
            dear = method == "pca" and name == sites[0]
            found = libasis.ablate_edges(traced, graph, test, max_drop=MAX_DROP, sections=[name], stable=not dear)
            counts = [found.edges_required[name], found.edges_required_stable[name], found.edges_total[name]]
            cells[name] += ["?" if count is None else str(count) for count in counts]
    rows, numbers = demo_table(ENGLISH)
    rows[0][5] = "?"
    assert rows == list(cells.values())
    assert numbers == demo_table(JAPANESE)[1] == {f"{found.base_score:.4f}", f"{found.samples:,}"}
