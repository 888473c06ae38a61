"""`libasis practice`: settings and saved results become a plan; and what `effect` and `value` are given as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data import read_columns
from ..data.cells import FLAGS, NUMBER
from ..data.files import TABLES, kind_of
from ..errors import OptionError, SourceError, did_you_mean, short
from ..files import alone, check_file, missing
from ..practice import ABMetric, PracticePlan, ab_design, practice_plan, value
from ..practice.plan import MARK as TEXT_MARK
from ..practice.value import STANDARD
from ..report import MARK
from ..store import check_target, load
from .config import read_practice
from .errors import RunError
from .settings import PracticeSection

PAGE, RESULT = "plan.html", "plan"
THOUSANDS, THREE = re.compile(r"(?<![\d.])\d{1,3},\d{3}(?!\d)"), re.compile(r"\d{3},\d{3},\d{3}")
"""A comma as in 1,200; and as in the usual range of three numbers, 100,180,250."""
TEXTS = {"en": "plan.md", "ja": "plan.ja.md"}


def run_practice(
    file: Path | None, results: Sequence[Path], changes: Sequence[str], out: Path, lang: str, *, force: bool
) -> tuple[PracticePlan, list[Path]]:
    """The plan, and the files that show it.

    Raises:
        LibasisError: settings or results are wrong, or the folder holds other files of these names.
    """
    settings = read_practice(file, changes)
    with alone(out):
        check_file(out / PAGE, MARK)
        check_new(out / RESULT, force)
        for name in TEXTS.values():
            check_file(out / name, TEXT_MARK)
        found = plan_of(settings, results)
        pages = [found.to_html(out / PAGE, lang)]
        pages += [found.to_markdown(out / name, one) for one, name in TEXTS.items()]
        found.save(out / RESULT, force=force)
        return found, pages


def check_new(folder: Path, force: bool) -> None:
    """Raise where a result would be replaced without ``--force``, or something that is none of libasis's."""
    if (folder / "manifest.json").is_file() and not force:
        raise RunError(f"{folder} already holds a result; give --force to replace it, or another --out.")
    check_target(folder, force=force)


def plan_of(settings: PracticeSection, results: Sequence[Path]) -> PracticePlan:
    """The plan of settings and saved results.

    Raises:
        LibasisError: a result is none or of another kind, or a setting is not allowed.
    """
    given: list[Any] = [load(path) for path in [*map(Path, settings.results or []), *results]]
    if settings.success:
        metrics = [[_metric(one) for one in several] for several in (settings.success, settings.guardrails or [])]
        given.append(ab_design(*metrics, traffic=settings.traffic, analysis=settings.analysis))
    if settings.value:
        given.append(value(settings.value, settings.formula or STANDARD, unit=settings.unit or ""))
    return practice_plan(
        given,
        change=settings.change or "",
        rows_per_day=settings.rows_per_day,
        events_per_day=settings.events_per_day,
        false_alarms=settings.false_alarms,
        detection=settings.detection,
        owners=settings.owners,
    )


def listed(text: str | None) -> list[str]:
    """Names between commas."""
    return [name.strip() for name in text.split(",")] if text else []


def observed(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of a table, as numbers, or as texts where the first cell is none.

    Raises:
        SourceError: the table cannot be read, or lacks a column.
    """
    if kind_of(path) not in TABLES:
        raise SourceError(f"{path} is no table; give a file that ends in {', '.join(TABLES)}.")
    if not path.exists():
        raise SourceError(missing(path))
    names = list(dict.fromkeys(names))
    first = {name: str(cells[0]) for name, cells in read_columns(path, (), names).items()}
    words = [
        n for n, cell in first.items() if not NUMBER.fullmatch(cell.replace(",", ".")) and cell.lower() not in FLAGS
    ]
    return read_columns(path, [name for name in names if name not in words], words)


def ranges(texts: Sequence[str]) -> dict[str, float | tuple[float, ...]]:
    """NAME=NUMBER, NAME=LOW,HIGH and NAME=LOW,LIKELY,HIGH, where a number may be a percentage and ".." be the comma.

    Raises:
        OptionError: a text is none of these, or a comma in it may be one between thousands.
    """
    out: dict[str, float | tuple[float, ...]] = {}
    for text in texts:
        name, _, rest = text.partition("=")
        if THOUSANDS.search(rest) and not THREE.fullmatch(rest):
            raise OptionError(
                f"{short(text)} may be a range or have a comma between thousands; write a number without it, as 1200, "
                "and a range with two dots, as 1..200."
            )
        try:
            numbers = tuple(
                float(n.rstrip("%")) / (100 if n.endswith("%") else 1) for n in rest.replace("..", ",").split(",")
            )
        except ValueError:
            numbers = ()
        if not name or not 1 <= len(numbers) <= 3 or name in out:
            raise OptionError(
                f"{short(text)} is no number of its own; write each once, as events=180, events=100..250 or "
                "events=100..180..250 (least, most likely, most)."
            )
        out[name] = numbers[0] if len(numbers) == 1 else numbers
    return out


def _metric(table: dict[str, Any]) -> ABMetric:
    known = list(ABMetric.__dataclass_fields__)
    for key in table:
        if key not in known:
            raise OptionError(
                f"A metric of [practice] has {short(key)}{did_you_mean(key, known)}; keys are {', '.join(known)}."
            )
    if "name" not in table:
        raise OptionError("A metric of [practice] has no name; write name, baseline and effect (or margin).")
    given: dict[str, Any] = dict(table)
    return ABMetric(**given)
