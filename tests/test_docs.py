"""The code in the documentation runs as it stands, page by page, in the order in which it is read."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = ["tutorial.md", "guides/researchers.md", "verification.md", "bridges.md"]
OTHERS = re.compile(r"^(?:from|import) (transformer_lens|nnsight|circuit_tracer)\b", re.MULTILINE)
"""Packages that the tests do without: where one is missing, so are the blocks that begin with it."""


@pytest.mark.parametrize("name", PAGES)
def test_the_code_of_a_page_runs(name, tmp_path):
    blocks = FENCE.findall((DOCS / name).read_text(encoding="utf-8"))
    code = "\n".join(block for block in blocks if all(map(find_spec, OTHERS.findall(block))))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    run = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_page_of_the_site_is_there_and_every_page_is_on_the_site():
    text = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r": ([\w/.-]+\.md)$", text, re.MULTILINE))
    made = {"changelog.md", "contributing.md", "security.md", "readme.ja.md", "api/verbs.md", "api/results.md"}
    there = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert named - made <= there
    assert {page for page in there if not page.startswith("decisions/")} <= named
