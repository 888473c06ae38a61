"""The rows of an A/B test: which group, unit and day each is of, and what a metric is for each unit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..causal.columns import as_column, as_numbers, as_table
from ..data import column_names, read_columns
from ..errors import OptionError, did_you_mean, short
from .metrics import ABMetric

CONTROL = ("control", "a", "0", "false", "off", "before", "baseline", "old", "対照")
BOTH = 0.01
"""Share of the units that may be in both groups; they are left out."""
SECONDS = 1e8
"""Numbers from which times are seconds since 1970; a thousand times as large they are milliseconds."""


@dataclass(frozen=True, eq=False)
class Arms:
    """An A/B test as columns.

    Attributes:
        arm: 0 for control and 1 for the change, ``[n]``.
        unit: a number for the unit of each row, ``[n]``, or None where each row is one.
        day: the number of the day of each row, ``[n]``, or None.
        days: names of the days, in order.
        columns: numbers by name.
        names: of the two groups.
        notes: what to know of the data, in words.
    """

    arm: np.ndarray
    unit: np.ndarray | None
    day: np.ndarray | None
    days: tuple[str, ...]
    columns: dict[str, np.ndarray]
    names: tuple[str, str]
    notes: tuple[str, ...]

    def until(self, day: int) -> Arms:
        """What was known at the end of a day."""
        return self.rows(self.day <= day) if self.day is not None else self

    def rows(self, kept: np.ndarray) -> Arms:
        """Some rows."""
        return Arms(
            self.arm[kept],
            None if self.unit is None else self.unit[kept],
            None if self.day is None else self.day[kept],
            self.days,
            {name: column[kept] for name, column in self.columns.items()},
            self.names,
            self.notes,
        )

    def counts(self) -> tuple[int, int]:
        """Units in either group."""
        own = self.arm if self.unit is None else self.arm[np.unique(self.unit, return_index=True)[1]]
        return int((own == 0).sum()), int((own == 1).sum())

    def is_rate(self, metric: ABMetric) -> bool:
        """Whether each row of it is 0 or 1."""
        top, bottom = parts_of(metric, self.columns)
        return bottom is None and set(np.unique(self.columns[top])) <= {0, 1}

    def of(self, metric: ABMetric) -> tuple[list[np.ndarray], bool]:
        r"""The metric as one number for each unit, control then change, and whether it is a plain rate.

        The mean of these numbers is that over rows, :math:`\sum S / \sum N`; their spread is that of the ratio (delta
        method): :math:`m + (S_u - m N_u) / \bar N`. With a covariate x they are less :math:`\theta (x - \bar x)`, with
        the slope :math:`\theta` within groups.
        """
        top, bottom = parts_of(metric, self.columns)
        above = self.columns[top]
        below = np.ones(len(above)) if bottom is None else self.columns[bottom]
        rate = self.unit is None and metric.covariate is None and self.is_rate(metric)
        x = self.columns[metric.covariate] if metric.covariate else None
        groups = []
        for arm in (0, 1):
            own = self.arm == arm
            codes = np.arange(own.sum()) if self.unit is None else np.unique(self.unit[own], return_inverse=True)[1]
            sums, sizes = np.bincount(codes, above[own]), np.bincount(codes, below[own])
            if not sizes.sum() > 0:
                raise OptionError(f"The metric {short(metric.name)} divides by {short(bottom)}, which sums to 0.")
            mean = sums.sum() / sizes.sum()
            values = mean + (sums - mean * sizes) / sizes.mean()
            groups.append((values, None if x is None else np.bincount(codes, x[own]) / np.bincount(codes)))
        return ([values for values, _ in groups] if x is None else _less(groups)), rate


def _less(groups: list[Any]) -> list[np.ndarray]:
    """Values without what the covariate tells of them."""
    away = [(y - y.mean(), x - x.mean()) for y, x in groups]
    spread = sum(float(x @ x) for _, x in away)
    slope = sum(float(y @ x) for y, x in away) / spread if spread > 0 else 0.0
    middle = np.concatenate([x for _, x in groups]).mean()
    return [y - slope * (x - middle) for y, x in groups]


def parts_of(metric: ABMetric, known: Iterable[str]) -> tuple[str, str | None]:
    """The columns of a metric: itself, or numerator and denominator."""
    if metric.name in known or "/" not in metric.name:
        return metric.name, None
    top, _, bottom = metric.name.partition("/")
    return top.strip(), bottom.strip()


@dataclass(frozen=True)
class Wanted:
    """Names of the columns, and of the groups in the column ``arm``."""

    arm: str | None = None
    control: str | None = None
    treatment: str | None = None
    unit: str | None = None
    time: str | None = None


def read_arms(before: Any, after: Any, metrics: Sequence[ABMetric], wanted: Wanted) -> Arms:
    """Two sources, one for each group, or one with a column that says the group.

    Raises:
        SourceError: a file cannot be read, or a cell is missing or no number.
        OptionError: a column is missing, or the groups cannot be told.
    """
    if (after is None) == (wanted.arm is None):
        raise OptionError(
            "Give two sources, one for each group, or one source and arm, the name of the column that says the group."
        )
    sources = [before] if after is None else [before, after]
    read = [_read(source, metrics, wanted) for source in sources]
    columns = {name: np.concatenate([part[name] for part in read]) for name in read[0]}
    names, notes = ("control", "treatment"), []
    arm = np.repeat(np.arange(len(read)), [len(next(iter(part.values()))) for part in read])
    if wanted.arm is not None:
        names, arm, kept = _groups(columns.pop(wanted.arm), wanted)
        columns = {name: column[kept] for name, column in columns.items()}
    unit = columns.pop(wanted.unit, None) if wanted.unit else None
    codes = None if unit is None else np.unique(unit.astype(str), return_inverse=True)[1]
    day, days = _days(columns.pop(wanted.time), wanted.time) if wanted.time else (None, ())
    if day is not None and max(day[arm == 0].min(), day[arm == 1].min()) > min(
        day[arm == 0].max(), day[arm == 1].max()
    ):
        notes.append("the two groups are of different days, so that what differs may be the time and not the change")
    found = Arms(arm, codes, day, days, columns, names, tuple(notes))
    return found if codes is None else _in_one(found)


def columns_of(source: Any) -> list[str]:
    """Names of the columns of a file, a DataFrame or a dict.

    Raises:
        SourceError: the file cannot be read.
    """
    return column_names(Path(source)) if isinstance(source, (str, Path)) else list(as_table(source))


def _read(source: Any, metrics: Sequence[ABMetric], wanted: Wanted) -> dict[str, np.ndarray]:
    file = isinstance(source, (str, Path))
    table = {} if file else as_table(source)
    known = columns_of(source)
    numbers = [part for one in metrics for part in (*parts_of(one, known), one.covariate) if part is not None]
    texts = [name for name in (wanted.arm, wanted.unit, wanted.time) if name is not None]
    numbers = [name for name in dict.fromkeys(numbers) if name not in texts]
    for name in (*numbers, *texts):
        if name not in known:
            where = str(source) if file else "the data"
            raise OptionError(
                f"There is no column {short(name)}{did_you_mean(name, known)} in {where}, which has "
                f"{', '.join(map(short, known[:12]))}."
            )
    if file:
        return read_columns(Path(source), numbers, texts)
    rows = len(table[known[0]])
    found = {name: as_numbers(as_column(table[name], name, rows), name, "column") for name in numbers}
    for name in texts:
        values = as_column(table[name], name, rows)
        if any(value is None or value != value for value in values.tolist()):
            raise OptionError(f"The column {short(name)} has missing values; fill them in or leave these rows out.")
        found[name] = np.array([_text(value) for value in values.tolist()], dtype=object)
    return found


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _groups(labels: np.ndarray, wanted: Wanted) -> tuple[tuple[str, str], np.ndarray, np.ndarray]:
    """Names of the groups, the group of each row that is of one of them, and which rows are."""
    known = sorted(set(labels.tolist()))
    shown = f"the column {short(wanted.arm)} holds {', '.join(map(short, known[:8]))}"
    for name, given in (("control", wanted.control), ("treatment", wanted.treatment)):
        if given is not None and given not in known:
            raise OptionError(f"{name} is {short(given)}{did_you_mean(given, known)}, but {shown}.")
    usual = [name for name in known if name.lower() in CONTROL and name != wanted.treatment]
    rest = [name for name in known if name != wanted.treatment]
    control = wanted.control or (
        usual[0] if len(usual) == 1 else rest[0] if len(rest) == 1 and wanted.treatment else None
    )
    others = [name for name in known if name != control]
    treatment = wanted.treatment or (others[0] if control and len(others) == 1 else None)
    if control is None or treatment is None or control == treatment:
        raise OptionError(f"Which groups are compared is not clear: {shown}; give control and treatment, two of them.")
    kept = (labels == control) | (labels == treatment)
    return (control, treatment), (labels[kept] == treatment).astype(int), kept


def _days(times: np.ndarray, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """The number of each row's day, and the days: dates, seconds since 1970, or days counted."""
    try:
        numbers = times.astype(np.float64)
        if not np.isfinite(numbers).all():
            raise OptionError(f"The column {short(name)} has times that are not finite; repair these rows.")
        size = np.abs(numbers).max()
        dates = np.floor(numbers)
        if size > SECONDS:
            dates = np.floor(numbers / 86400 / (1000 if size > 1000 * SECONDS else 1)).astype("datetime64[D]")
    except ValueError:
        try:
            dates = np.array(
                [text.replace("/", "-").replace("T", " ").split(" ")[0] for text in times], "datetime64[D]"
            )
        except ValueError:
            raise OptionError(
                f"The column {short(name)} holds {short(times[0])}, which is no day; write 2026-11-27, or the number "
                "of the day."
            ) from None
    found, codes = np.unique(dates, return_inverse=True)
    return codes, tuple(f"{day:g}" if isinstance(day, float) else str(day) for day in found.tolist())


def _in_one(arms: Arms) -> Arms:
    """Without the units that are in both groups, which are few or refused."""
    unit = arms.unit if arms.unit is not None else np.arange(len(arms.arm))
    count = int(unit.max()) + 1
    in_control, in_change = (np.bincount(unit[arms.arm == arm], minlength=count) > 0 for arm in (0, 1))
    both = in_control & in_change
    if not both.any():
        return arms
    share = both.sum() / count
    if share > BOTH:
        raise OptionError(
            f"{int(both.sum())} of {count} units are in both groups, so that they were not dealt one of them; give the "
            "column of what was dealt as unit."
        )
    found = arms.rows(~both[unit])
    note = f"{int(both.sum())} of {count} units were in both groups and are left out"
    return Arms(found.arm, found.unit, found.day, found.days, found.columns, found.names, (*found.notes, note))
