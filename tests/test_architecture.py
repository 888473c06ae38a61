"""The package is a row of stages; a stage knows itself and the stages before it."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import libasis

ROOT = Path(libasis.__file__).parent
BELOW_ALL = ("errors", "arguments", "ambient", "types", "files", "provenance", "store", "pages")
STAGES = (
    "numerics", "data", "cut", "measure", "anatomy", "importance", "basis", "scan", "intervene", "graphs",
    "interactions", "ablation", "sparse", "build", "causal", "verify", "cards", "evaluate", "local", "diagnose",
    "practice", "bridges", "report", "demo", "run", "__main__",
)  # fmt: skip
FACE = STAGES.index("report") + 0.5  # `import libasis` itself brings the stages up to the report

FILES = sorted(ROOT.rglob("*.py"))


def part_of(file):
    """The stage of a file, or its own name at the top of the package."""
    first, *rest = file.relative_to(ROOT).parts
    return first if rest else Path(first).stem


def height(part):
    if part in BELOW_ALL:
        return BELOW_ALL.index(part) - len(BELOW_ALL)
    return FACE if part == "__init__" else STAGES.index(part)


def inside(file):
    """Each part of the package that a file imports, wherever the import stands: in functions and for types too."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
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
                yield name_of(target)


def name_of(target):
    """The part that an imported dotted name belongs to: of `libasis.trace` the face of the package."""
    known = len(target) > 1 and target[1] in {part_of(file) for file in FILES} | {"reference"}
    return target[1] if known else "__init__"


def test_every_part_is_a_known_one():
    """A new stage gets its place in the row before anything imports it."""
    assert {part_of(file) for file in FILES} == {"__init__", "reference", *BELOW_ALL, *STAGES}
    assert (ROOT / "py.typed").is_file()


def test_a_stage_imports_only_itself_and_earlier_ones():
    later = {
        (file.relative_to(ROOT).as_posix(), target)
        for file in FILES
        for target in inside(file)
        if target not in (part_of(file), "reference") and height(target) >= height(part_of(file))
    }
    assert later == set()


def test_the_reference_shares_nothing_with_the_package():
    """It is held for the truth, so no mistake may be common to both."""
    assert list(inside(ROOT / "reference.py")) == []
    users = [file for file in FILES for target in inside(file) if target == "reference"]
    assert users == []


def test_contributing_lists_the_rooms_in_their_order():
    table = (ROOT.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    places = [table.index(f"| `{stage}/` |" if (ROOT / stage).is_dir() else f"| `{stage}.py` |") for stage in STAGES]
    assert places == sorted(places)


def test_no_class_name_stands_for_two_things():
    """The demo's models and training scripts are users of the package, with names of their own."""
    names = {}
    for file in (file for file in FILES if part_of(file) != "demo"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                names.setdefault(node.name.lstrip("_"), []).append(file.relative_to(ROOT).as_posix())
    assert {name: files for name, files in names.items() if len(files) > 1} == {}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from ..report import write_page", ["report"]),
        ("def f():\n    from ..report.page import write_page", ["report"]),
        ("from .. import report, trace", ["report", "__init__"]),
        ("import libasis.run.cli", ["run"]),
        ("import libasis", ["__init__"]),
        ("from libasis import reference", ["reference"]),
        ("if TYPE_CHECKING:\n    from . import fit", ["basis"]),
        ("import torch\nfrom torch import nn", []),
    ],
)
def test_imports_are_read_in_every_form(source, expected, tmp_path):
    class Written:
        """A file at a place in the package with a text of its own."""

        parts = ("basis", "new.py")

        def relative_to(self, root):
            return self

        def read_text(self, encoding):
            return source

    assert list(inside(Written())) == expected


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
        "PIL",
        "statsmodels",
    ]
    code = f"import sys, libasis; print([m for m in {optional} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", libasis.__all__)
def test_every_public_name_exists_and_is_documented(name):
    thing = getattr(libasis, name)
    if inspect.ismodule(thing):
        assert thing.__doc__
        return
    own = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__  # not the base class's
    assert own
    assert not own.startswith(f"{name}(")  # what a dataclass without a docstring gets
    assert thing.__module__.startswith("libasis")
