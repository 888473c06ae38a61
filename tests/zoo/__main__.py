"""Try every row and write docs/models.md: ``python -m tests.zoo``, from the folder of the repository.

What was found is kept in build/zoo.json, and a run that was stopped goes on there; ``--fresh`` begins anew.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import libasis

from .judge import Verdict, as_expected, judge
from .matrix import KNOWN, ROWS
from .row import Row

MOST = 500
"""So many characters of what is said of a model are shown."""

HEAD = """# Which models run

Every row is a way of writing a network. It was tried at tiny size in float64 and held against brute force: the model is
run eagerly, and derivatives are differences of its outcomes, so nothing of libasis or autograd is taken for true.
`python -m tests.zoo` tries all of them again and writes this page; `tests/zoo` is the same as a test.

- **closed form**: exact. Those of affine and pointwise sections and of *attention* cost a few forward passes, whatever
  the size. *By position* (QK-norm, soft caps, sinks, windows, norms behind) products grow with the cube of the width: 9
  heads of 64 at a width of 576 take 2.1 billion multiplications a position; beyond a billion the sketch takes over, as
  below.
- **exact**: right for any model; a backward pass for each output feature and position, so at real sizes the *sketch*
  takes over: random backward passes until the error is 1% (`basis.info["rules"]` says which rule each section had,
  and why no faster one). Take sites between which there are parts with a closed form, or leave it to the sketch.
  Where a site inside the section ends a part with a closed form, the reason names it (a block of BERT is cut in
  front of its norms).
  Two convolutions with a nonlinear step between have none ([why](decisions/0019-convolutions.md)): exactly they take a
  backward pass for each channel and place of the output (25,088 passes a batch for 32 channels of 28 x 28), and the
  sketch took 4.
- **refused**: by the sentence given; beside it is what to do instead.
- **wrong**, **fails**: a mistake of this version, with what is wrong about it.
- "Not yet" is remarked where the same mathematics has a closed form that is not found, or where the sentence of a
  refusal does not help.

With libasis {version} and torch {torch}: {counts}.
"""


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, try, write."""
    parser = argparse.ArgumentParser(description="Try every model of the zoo and write docs/models.md.")
    parser.add_argument("--fresh", action="store_true", help="try also what was tried before")
    parser.add_argument("--common", action="store_true", help="leave out what the test leaves out too")
    parser.add_argument("--only", default="", help="rows with this text in kind or name; no page")
    parser.add_argument("--mark", action="store_true", help="write which rows fail to tests/zoo/known.json")
    parser.add_argument("--kept", type=Path, default=Path("build/zoo.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/models.md"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    known: dict[str, Any] = {} if options.fresh or not options.kept.exists() else json.loads(options.kept.read_text())
    for row in ROWS:
        key = f"{row.kind}: {row.name}"
        if (
            options.only not in key
            or key in known
            or (row.rare and options.common)
            or (row.needs and importlib.util.find_spec(row.needs) is None)
        ):
            continue
        try:
            verdict = judge(row)
        except Exception as error:  # the row itself cannot be run
            print(f"{key}: NOT RUN, {type(error).__name__}: {error}", flush=True)
            continue
        known[key] = asdict(verdict)
        print(f"{key}: {as_expected(row, verdict) or verdict.status}", flush=True)
        options.kept.parent.mkdir(parents=True, exist_ok=True)
        options.kept.write_text(json.dumps(known, indent=1))
    found = [(row, Verdict(**known[key])) for row in ROWS if (key := f"{row.kind}: {row.name}") in known]
    if options.mark:
        mark(found)
    if not options.only:
        options.page.write_text(page(found), encoding="utf-8")


def mark(found: list[tuple[Row, Verdict]]) -> None:
    """Write what is not as it should be; the test expects these rows to fail, and no others."""
    failing = json.loads(KNOWN.read_text(encoding="utf-8")) if KNOWN.exists() else {}
    for row, verdict in found:
        failing.pop(f"{row.kind}: {row.name}", None)
        if flaw := as_expected(row, verdict):
            failing[f"{row.kind}: {row.name}"] = flaw[:300]
    KNOWN.write_text(json.dumps(failing, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def page(found: list[tuple[Row, Verdict]]) -> str:
    """The page: a table for each kind."""
    text = HEAD.format(version=libasis.__version__, torch=torch.__version__.split("+")[0], counts=counts(found))
    for kind in dict.fromkeys(row.kind for row, _ in found):
        text += f"\n## {kind}\n\n| Model | Outcome | Sections | Remarks |\n|---|---|---|---|\n"
        text += "".join(line(row, verdict) for row, verdict in found if row.kind == kind)
    return text


def counts(found: list[tuple[Row, Verdict]]) -> str:
    """So many right, and by which rule."""
    outcomes = [outcome(row, verdict) for row, verdict in found]
    named = ("closed form", "exact", "sketch", "refused", "**wrong**", "fails")
    return f"{len(found)} models, " + ", ".join(f"{n} {name}" for name in named if (n := outcomes.count(name)))


def outcome(row: Row, verdict: Verdict) -> str:
    """In two words."""
    if verdict.status in ("wrong", "crash"):
        return {"wrong": "**wrong**", "crash": "fails"}[verdict.status]
    return {"closed": "closed form"}.get(verdict.cost, verdict.cost) if verdict.status == "right" else "refused"


def line(row: Row, verdict: Verdict) -> str:
    """One row."""
    said = verdict.said if verdict.status != "right" or verdict.cost != "closed" else ""
    flaw = as_expected(row, verdict)
    remark = f"not yet as it should be: {flaw}" if flaw and verdict.status not in ("wrong", "crash") else said
    remark = remark if len(remark) < MOST else remark[:MOST].rpartition(" ")[0] + " ..."
    remark = f"{remark} **Instead**: {row.instead}" if row.instead and remark else row.instead or remark
    rules = _shares(verdict.rules)
    cells = (row.name, outcome(row, verdict), rules, remark)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |\n"


def _shares(rules: list[str]) -> str:
    """Each rule with how many sections it had."""
    names = {rule: rule.replace("closed form, ", "") for rule in rules}
    tally: Mapping[str, int] = {name: [names[r] for r in rules].count(name) for name in names.values()}
    return ", ".join(f"{name} {n}" if len(rules) > 1 else name for name, n in tally.items())


if __name__ == "__main__":
    main()
