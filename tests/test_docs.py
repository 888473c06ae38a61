"""The code in the documentation runs as it stands, page by page, in the order in which it is read."""

import json
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
NOTEBOOKS = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.glob("notebooks/*.ipynb"))
OTHERS = re.compile(r"^(?:from|import) (transformer_lens|nnsight|circuit_tracer)\b", re.MULTILINE)
"""Packages that the tests do without: where one is missing, so are the blocks that begin with it."""


def cells_of(name):
    return json.loads((DOCS / name).read_text(encoding="utf-8"))["cells"]


@pytest.mark.parametrize("name", [*PAGES, *NOTEBOOKS])
def test_the_code_of_a_page_runs(name, tmp_path):
    if name in NOTEBOOKS:
        blocks = ["".join(cell["source"]) for cell in cells_of(name) if cell["cell_type"] == "code"]
    else:
        blocks = FENCE.findall((DOCS / name).read_text(encoding="utf-8"))
    code = "\n".join(block for block in blocks if all(map(find_spec, OTHERS.findall(block))))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg"}
    run = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_hold_no_outputs(name):
    """They would tell of another version; the site shows what running them now gives."""
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells_of(name))


def test_every_page_of_the_site_is_there_and_every_page_is_on_the_site():
    text = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r": ([\w/.-]+\.(?:md|ipynb))$", text, re.MULTILINE))
    made = {"changelog.md", "contributing.md", "security.md", "readme.ja.md", "api/verbs.md", "api/results.md"}
    there = {page.relative_to(DOCS).as_posix() for page in [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]}
    assert named - made <= there
    assert {page for page in there if not page.startswith("decisions/")} <= named
