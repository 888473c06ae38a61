"""The package is a row of stages; a stage knows itself and the stages before it."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import libasis

ROOT = Path(libasis.__file__).parent
BELOW_ALL = ("errors", "types", "files", "provenance")
STAGES = (
    "numerics", "cut", "anatomy", "importance", "basis", "interactions", "ablation", "sparse",
    "cards", "evaluate", "report", "run", "demo",
)  # fmt: skip
FACE = STAGES.index("cards") + 0.5  # `import libasis` itself brings the stages up to cards

LAZY = {
    ("basis/fit.py", "sparse"): "fit(sparse=True) judges rotations by ablation",
    ("basis/basis.py", "interactions"): "Basis.save writes the same format as InteractionGraph.save",
    ("interactions/graph.py", "report"): "InteractionGraph.to_html is the page",
    ("interactions/diff.py", "report"): "GraphDiff.to_html is the page of a comparison",
    ("run/cli.py", "demo"): "`libasis demo` runs the demo",
}
"""Imports of a later stage, each inside a function, each with its reason."""

FILES = sorted(ROOT.rglob("*.py"))


def part_of(file):
    """The stage of a file, or its own name at the top of the package."""
    first, *rest = file.relative_to(ROOT).parts
    return first if rest else Path(first).stem


def height(part):
    if part in BELOW_ALL:
        return -1
    return FACE if part == "__init__" else STAGES.index(part)


def inside(file):
    """Each import of the package's own parts: (part, whether it is inside a function)."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    lazy = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    package = ["libasis", *file.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = [*base, *(node.module or "").split(".")] if node.module else base
            targets = [[*module, alias.name] for alias in node.names]
        else:
            continue
        for target in targets:
            if target[0] == "libasis":
                yield name_of(target), id(node) in lazy


def name_of(target):
    """The part that an imported dotted name belongs to: of `libasis.trace` the face of the package."""
    known = len(target) > 1 and target[1] in {part_of(file) for file in FILES} | {"reference"}
    return target[1] if known else "__init__"


def test_every_part_is_a_known_one():
    """A new stage gets its place in the row before anything imports it."""
    assert {part_of(file) for file in FILES} == {"__init__", "reference", *BELOW_ALL, *STAGES}
    assert (ROOT / "py.typed").is_file()


def test_a_stage_imports_only_itself_and_earlier_ones():
    later = {}
    for file in FILES:
        part = part_of(file)
        if part == "reference":
            continue
        for target, lazy in inside(file):
            if target == part or (target != "reference" and height(target) < height(part)):
                continue
            later.setdefault((file.relative_to(ROOT).as_posix(), target), []).append(lazy)
    assert set(later) == set(LAZY)
    assert all(all(lazy) for lazy in later.values()), later


def test_the_reference_shares_nothing_with_the_package():
    """It is held for the truth, so no mistake may be common to both."""
    assert list(inside(ROOT / "reference.py")) == []
    users = [file for file in FILES for target, _ in inside(file) if target == "reference"]
    assert users == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from ..report import write_page", [("report", False)]),
        ("def f():\n    from ..report.page import write_page", [("report", True)]),
        ("from .. import report, trace", [("report", False), ("__init__", False)]),
        ("import libasis.run.cli", [("run", False)]),
        ("import libasis", [("__init__", False)]),
        ("from libasis import reference", [("reference", False)]),
        ("if TYPE_CHECKING:\n    from . import fit", [("basis", False)]),
        ("import torch\nfrom torch import nn", []),
    ],
)
def test_imports_are_read_in_every_form(source, expected, monkeypatch):
    file = ROOT / "basis" / "new.py"
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: source)
    assert list(inside(file)) == expected


def test_importing_the_package_brings_no_optional_dependency():
    optional = [
        "matplotlib",
        "typer",
        "pydantic",
        "pandas",
        "networkx",
        "transformers",
        "sklearn",
        "graspologic_native",
        "scipy",
        "PIL",
    ]
    code = f"import sys, libasis; print([m for m in {optional} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", libasis.__all__)
def test_every_public_name_exists_and_is_documented(name):
    thing = getattr(libasis, name)
    own = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__  # not the base class's
    assert own
    assert not own.startswith(f"{name}(")  # what a dataclass without a docstring gets
    assert thing.__module__.startswith("libasis")
