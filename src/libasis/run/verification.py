"""`libasis explore|plan|verify`: hypotheses of the settings, tested on test data that nobody has looked at.

The test data are cut in two by a hash of the unit: `explore` sees one part, `verify` the other. In the output folder
they are ``exploration/``, ``plan.json`` and ``verification/``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..basis import Basis
from ..data import FileBatches
from ..data.files import TABLES, kind_of
from ..data.separated import Written
from ..data.tables import read_columns
from ..errors import SourceError
from ..files import check_file
from ..measure import is_first
from ..store import check_target, tidy
from ..verify import Exploration, Hypothesis, Plan, Verification, explore, units_in, verify
from ..verify import plan as plan_hypotheses
from ..verify.parts import DataPart, in_parts
from .errors import ConfigError, RunError
from .objects import load_object
from .opened import Opened
from .pipeline import Output, check, made, settings_of
from .settings import Config

ADVICE = "put that back, run libasis fit --force, or name another output"


@dataclass(frozen=True)
class Paths:
    """Where the results are."""

    exploration: Path
    plan: Path
    verification: Path

    @classmethod
    def of(cls, output: Output) -> Paths:
        """In an output folder."""
        return cls(output.root / "exploration", output.root / "plan.json", output.root / "verification")


def run_explore(config: Config, *, force: bool = False) -> Exploration:
    """Screen the features of the saved basis on the exploring part of the test data.

    Raises:
        RunError: there is no basis, or one of other settings, or an exploration already and ``force`` is false.
    """
    with _begun(config) as (output, opened, basis):
        path = Paths.of(output).exploration
        output.refuse(path, force)
        section = config.verify
        part = _parts(opened)[0]
        options = section.model_dump(include={"sites", "most", "pairs", "kinds", "group", "dependent", "seed"})
        found = explore(
            opened.traced, basis, part, _metric(section.metric, "verify.metric"), groups=_groups(config),
            units=part.units, **options, **section.model_dump(include={"progress", "memory"}),
        )  # fmt: skip
        found = made(found, opened.made_of("exploration"), config=settings_of(config))
        output.save(found, path, config, force=force)
        return found


def run_plan(config: Config, *, force: bool = False) -> Plan:
    """Write down the hypotheses of the settings; of the confirming part only the spread is looked at.

    Raises:
        ConfigError: there are no hypotheses.
        RunError: as `run_explore`.
    """
    if not config.hypotheses:
        raise ConfigError("The settings have no [[hypotheses]]; write at least one, with site and features.")
    with _begun(config) as (output, opened, basis):
        paths = Paths.of(output)
        if paths.plan.exists() and not force:
            raise RunError(f"{paths.plan} already exists; give --force to replace it, or another output.")
        check_file(paths.plan, '"format": "libasis"')
        section, part = config.verify, _parts(opened)[1]
        explored = Exploration.load(paths.exploration) if paths.exploration.exists() else None
        claims = [_hypothesis(one.model_dump(exclude_none=True)) for one in config.hypotheses]
        found = plan_hypotheses(
            opened.traced, basis, part, claims, section.alpha, section.seed, part.units,
            groups=_groups(config), explored=explored, **section.model_dump(include={"controls", "progress", "memory"}),
        )  # fmt: skip
        if is_first():
            found.save(paths.plan, force=force)
        return found


def run_verify(config: Config, *, force: bool = False) -> Verification:
    """Test the saved plan on the confirming part of the test data.

    Raises:
        RunError: there is no plan or basis, or a verification already and ``force`` is false.
    """
    with _begun(config) as (output, opened, basis):
        paths = Paths.of(output)
        if not paths.plan.exists():
            raise RunError(f"{paths.plan} does not exist; run libasis plan first.")
        output.refuse(paths.verification, force)
        plan, part = Plan.load(paths.plan), _parts(opened)[1]
        metrics = {_name(one.metric): _metric(one.metric, "hypotheses.metric")
                   for one in config.hypotheses if ":" in one.metric and "[" not in one.metric}  # fmt: skip
        found = verify(
            opened.traced, basis, part, plan, part.units, groups=_groups(config), metrics=metrics,
            **config.verify.model_dump(include={"progress", "memory"}),
        )  # fmt: skip
        found = replace(found, notes=(*found.notes, *_notes(opened)))
        found = made(found, opened.made_of("verification"), config=settings_of(config))
        output.save(found, paths.verification, config, force=force)
        return found


@contextlib.contextmanager
def _begun(config: Config) -> Iterator[tuple[Output, Opened, Basis]]:
    output = Output(config)
    with output.alone():
        opened = Opened(config)
        if not output.basis.exists():
            raise RunError(f"{output.basis} does not exist; run libasis fit or libasis graph first.")
        if is_first():
            for path in (Paths.of(output).exploration, Paths.of(output).verification):
                tidy(path)
                check_target(path, force=True)
        basis = Basis.load(output.basis)
        check(opened, "basis", basis, output.basis, ADVICE)
        yield output, opened, basis


def _parts(opened: Opened) -> tuple[DataPart, DataPart]:
    """The test data to explore and to confirm on."""
    section, test = opened.config.verify, opened.data.test
    share = section.explore_share
    return tuple(in_parts(test, _units(opened, test), (share, 1 - share), section.seed))  # type: ignore[return-value]


def _units(opened: Opened, batches: Any) -> Sequence[Any] | None:
    """The unit of each sample: by a column of the file, a condition's column, or a function."""
    units = opened.config.verify.units
    if units is None:
        return None
    if ":" in units:
        return units_in(opened.traced, batches, load_object(units, "verify.units"))
    if units == "target" or units.startswith("input["):
        return units_in(opened.traced, batches, units)
    return _column(opened.config, units, batches)


def _column(config: Config, name: str, batches: Any) -> Sequence[Any]:
    """A column of a table, of each sample of a part of it."""
    data = config.data
    source = data.source if data.test_source is None else data.test_source
    if not isinstance(batches, FileBatches) or kind_of(source) not in TABLES:
        raise SourceError(
            f'verify.units is {name!r}, and {source!r} is no table with such a column; write "target", "input[3]" or '
            '"package.module:function" of (inputs, targets).'
        )
    how = Written(data.separator, data.encoding, data.decimal)
    column = read_columns(Path(source), [], [name], how)[name]
    return column[batches.places.numpy()].tolist()


def _notes(opened: Opened) -> list[str]:
    """What the settings say of the data."""
    data, units = opened.data, opened.config.verify.units
    if not data.held_out:
        return ["the basis was fitted on all data, those of this verification among them"]
    if units is None or opened.config.data.test_source is not None or not isinstance(data.train, FileBatches):
        return []
    one, other = (set(_units(opened, part) or ()) for part in (data.train, data.test))
    return [f"{len(one & other)} of {len(other)} units are also among the data of the fit"] if one & other else []


def _groups(config: Config) -> dict[str, Any]:
    return {name: load_object(source, f"verify.groups.{name}") for name, source in config.verify.groups.items()}


def _metric(name: str, key: str) -> Any:
    return load_object(name, key) if ":" in name and "[" not in name else name


def _name(source: str) -> str:
    return getattr(load_object(source, "hypotheses.metric"), "__name__", source)


def _hypothesis(given: dict[str, Any]) -> Hypothesis:
    return Hypothesis(**{**given, "metric": _metric(given["metric"], "hypotheses.metric")})
