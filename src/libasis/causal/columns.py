"""Columns as people have them become numbers: what is treated, what comes out, what is adjusted for."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import OptionError, did_you_mean, short

SAME = 1e-9
"""What is left of a column of unit length, after others are taken out, by which it says nothing of its own."""
MOST = 50
"""Values that a column of classes may have."""
LARGEST = 1e100
"""Of values, and of one over how far they lie apart."""
LEAST = 5
"""Rows (or units) that each group has beyond the columns that are adjusted for."""


@dataclass(frozen=True, eq=False)
class ObservedStudy:
    """What an effect is measured on.

    Attributes:
        names: of the treatment and the outcome.
        levels: the two values of a treatment that has only two, else None.
        t: the treatment, 0 and 1 where it has two values, ``[n]``.
        y: the outcome, ``[n]``.
        x: what is adjusted for, centred, of standard deviation 1 and linearly independent, ``[n, p]``.
        adjusted: names of its columns.
        units: a number for the unit of each row, ``[n]``, or None: rows are independent.
        notes: what was done to the columns, in words.
    """

    names: tuple[str, str]
    levels: tuple[float, float] | None
    t: np.ndarray
    y: np.ndarray
    x: np.ndarray
    adjusted: tuple[str, ...]
    units: np.ndarray | None
    notes: tuple[str, ...]

    @property
    def binary(self) -> bool:
        """Whether the outcome has two values, 0 and 1."""
        return set(np.unique(self.y)) <= {0.0, 1.0}

    @property
    def groups(self) -> np.ndarray:
        """The unit of each row."""
        return np.arange(len(self.y)) if self.units is None else self.units


def read_observed(  # noqa: PLR0913 - all that names a study
    data: Any,
    treatment: Any,
    outcome: Any,
    adjust: Any,
    *,
    categories: Sequence[str],
    squares: bool,
    units: Any,
) -> ObservedStudy:
    """The study that the columns make.

    Raises:
        OptionError: a column is missing, empty, constant or no numbers, or one says the same as another that it may
            not say the same as.
    """
    table = as_table(data)
    t_name, t = _one(table, treatment, "treatment")
    y_name, y = _one(table, outcome, "outcome", len(t))
    columns = _adjusting(table, adjust, len(t))
    if unknown := set(categories) - set(columns):
        raise OptionError(f"categories names {short(min(unknown))}, which is not in adjust; it has {_list(columns)}.")
    for name, role in ((t_name, "treatment"), (y_name, "outcome")):
        if name in columns:
            raise OptionError(f"adjust has {short(name)}, which is the {role}; take it out.")
    t, y = as_numbers(t, t_name, "treatment"), as_numbers(y, y_name, "outcome")
    levels, t = _levels(t)
    _check_pair(t, t_name, y, y_name)
    x, names, notes = _expanded(columns, set(categories))
    if squares:
        x, names, notes = _squared(x, names, notes, min(np.unique(t, return_counts=True)[1]) if levels else len(t))
    x, names, more = _independent(x, names, len(t))
    _check_told_by(x, names, {t_name: t, y_name: y})
    codes = None if units is None else _codes(_one(table, units, "units", len(t))[1], len(t))
    study = ObservedStudy((t_name, y_name), levels, t, y, x, names, codes, (*notes, *more))
    _check_rows(study)
    return study


def as_table(data: Any) -> dict[str, Any]:
    """Columns by name, of a DataFrame or a mapping; none of None."""
    if data is None:
        return {}
    if not (isinstance(data, Mapping) or (hasattr(data, "columns") and hasattr(data, "__getitem__"))):
        raise OptionError(
            f"data is of type {type(data).__name__}; give a DataFrame or a dict of columns, or None and the columns."
        )
    names = list(data if isinstance(data, Mapping) else data.columns)
    if len({str(name) for name in names}) < len(names):
        raise OptionError("data has two columns of one name; rename one of them.")
    return {str(name): data[name] for name in names}


def _one(table: Mapping[str, Any], given: Any, role: str, rows: int | None = None) -> tuple[str, Any]:
    """The name and the values of a column, given by its name or as it is."""
    name, values = (given, table.get(given)) if isinstance(given, str) else (role, given)
    if isinstance(given, str) and values is None:
        raise OptionError(f"{role} is {short(given)}{did_you_mean(given, table)}; data has {_list(table)}.")
    return name, as_column(values, name, rows)


def as_column(values: Any, name: str, rows: int | None) -> Any:
    """Values of one column; classes of pandas keep what they are."""
    if values is None or isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__len__"):
        raise OptionError(f"{short(name)} is {short(values)}; give a column: one value for each row.")
    values = _numpy(values, name)
    classes = str(getattr(values, "dtype", "")) == "category"
    try:
        values = np.asarray(values)
    except ValueError:
        raise OptionError(f"{short(name)} holds lists of several lengths; give one value for each row.") from None
    if values.ndim != 1 or not len(values):
        raise OptionError(f"{short(name)} has the shape {list(values.shape)}; give one value for each row.")
    if rows is not None and len(values) != rows:
        raise OptionError(f"{short(name)} has {len(values)} values for {rows} rows; give one for each.")
    return values.astype(object) if classes else values


def _numpy(values: Any, name: str) -> Any:
    """A tensor as an array; anything else as it is."""
    if not isinstance(values, Tensor):
        return values
    if values.layout != torch.strided or values.is_meta:
        raise OptionError(f"{short(name)} is a tensor without plain values; give a dense one.")
    return values.detach().cpu().numpy()


def _adjusting(table: Mapping[str, Any], adjust: Any, rows: int) -> dict[str, Any]:
    if isinstance(adjust, str):
        adjust = [adjust]
    adjust = _numpy(adjust, "adjust")
    if isinstance(adjust, np.ndarray) and adjust.ndim == 2:
        adjust = {f"column {i + 1}": column for i, column in enumerate(adjust.T)}
    if isinstance(adjust, Mapping) or hasattr(adjust, "columns"):
        return {name: as_column(values, name, rows) for name, values in as_table(adjust).items()}
    adjust = list(adjust) if isinstance(adjust, Iterable) and getattr(adjust, "ndim", 1) else [adjust]
    if not all(isinstance(name, str) for name in adjust):
        raise OptionError("adjust is no list of names of columns; give one, or a dict or an array [n, columns].")
    if len(set(adjust)) < len(adjust):
        raise OptionError(f"adjust names a column twice: {_list(adjust)}; name each once.")
    return dict(_one(table, name, "adjust", rows) for name in adjust)


def as_numbers(values: np.ndarray, name: str, role: str) -> np.ndarray:
    """The column as finite float64."""
    try:
        if values.dtype.kind in "mMc":
            raise TypeError
        numbers = values.astype(np.float64)
        if values.dtype.kind in "OUS" and any(isinstance(value, (str, bytes)) for value in values.tolist()):
            raise TypeError
    except (TypeError, ValueError):
        raise OptionError(
            f"{role} {short(name)} holds {short(values[0])}, which is no number; turn it into numbers (0 and 1 for a "
            "choice of two)."
        ) from None
    if bad := int((~np.isfinite(numbers)).sum()):
        row = int((~np.isfinite(numbers)).argmax())
        raise OptionError(
            f"{role} {short(name)} has {bad} of {len(numbers)} values that are missing or infinite, the first in row "
            f"{row + 1}; leave these rows out, or fill them in."
        )
    low, high = float(numbers.min()), float(numbers.max())
    if max(-low, high) > LARGEST or 0 < high / 2 - low / 2 < 1 / LARGEST:
        raise OptionError(
            f"{role} {short(name)} goes from {low:.3g} to {high:.3g}, which is beyond what squares can be taken of; "
            "change its unit."
        )
    return numbers


def _levels(t: np.ndarray) -> tuple[tuple[float, float] | None, np.ndarray]:
    values = np.unique(t)
    if len(values) != 2:
        return None, t
    return (float(values[0]), float(values[1])), (t == values[1]).astype(np.float64)


def _check_pair(t: np.ndarray, t_name: str, y: np.ndarray, y_name: str) -> None:
    for values, name, role in ((t, t_name, "treatment"), (y, y_name, "outcome")):
        if np.ptp(values) == 0:
            raise OptionError(f"{role} {short(name)} is {values[0]:g} in all rows; give one that varies.")
    if 1 - abs(np.corrcoef(t, y)[0, 1]) < SAME:
        raise OptionError(
            f"The treatment {short(t_name)} and the outcome {short(y_name)} are one column up to a factor; give two "
            "that are not made of each other."
        )


def _expanded(columns: Mapping[str, np.ndarray], categories: set[str]) -> tuple[list[np.ndarray], list[str], list[str]]:
    """Numbers, and one column of 0 and 1 for each class but the first."""
    x, names, notes = [], [], []
    for name, values in columns.items():
        if values.dtype.kind in "OUS" or name in categories:
            classes = _classes(values, name)
            notes.append(f"{name} was taken as {len(classes)} classes")
            x += [(values.astype(str) == one).astype(np.float64) for one in classes[1:]]
            names += [f"{name}={one}" for one in classes[1:]]
            continue
        x.append(as_numbers(values, name, "adjust"))
        names.append(name)
    return x, names, notes


def _squared(
    x: list[np.ndarray], names: list[str], notes: list[str], rows: int
) -> tuple[list[np.ndarray], list[str], list[str]]:
    """With the squares of numbers of many values, where the smaller group has ten rows for each column."""
    curved = [(f"{name}^2", _square(column)) for name, column in zip(names, x, strict=True) if _many(column)]
    if curved and rows < 10 * (len(x) + len(curved)):
        return x, names, [*notes, "squares of the columns were left out: there are too few rows for them"]
    return [*x, *(column for _, column in curved)], [*names, *(name for name, _ in curved)], notes


def _many(column: np.ndarray) -> bool:
    return len(np.unique(column)) > 2


def _square(column: np.ndarray) -> np.ndarray:
    away = column - column.mean()
    return (away / max(np.abs(away).max(), np.finfo(np.float64).tiny)) ** 2


def _classes(values: np.ndarray, name: str) -> list[str]:
    missing = np.array([value is None or value != value for value in values.tolist()])
    if missing.any():
        raise OptionError(
            f"adjust {short(name)} has {int(missing.sum())} of {len(values)} values missing, the first in row "
            f"{int(missing.argmax()) + 1}; leave these rows out, or give them a class of their own."
        )
    classes = sorted(set(values.astype(str).tolist()))
    if len(classes) > MOST:
        raise OptionError(
            f"adjust {short(name)} has {len(classes)} different texts; at most {MOST} are taken as classes: group them."
        )
    return classes


def _independent(x: list[np.ndarray], names: list[str], rows: int) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """Standardised columns; one that the others before it tell is left out, and said."""
    kept, found, notes = [], [], []
    basis = np.zeros((rows, 0))
    for column, name in zip(x, names, strict=True):
        column = column - column.mean()
        size = np.abs(column).max()
        unit = column / size / np.linalg.norm(column / size) if size > 0 else column
        rest = unit - basis @ (basis.T @ unit)
        if np.linalg.norm(rest) <= 1e-6:
            notes.append(f"{name} was left out: it is constant, or told by the columns before it")
            continue
        basis = np.column_stack([basis, rest / np.linalg.norm(rest)])
        kept.append(unit * np.sqrt(rows))
        found.append(name)
    return np.column_stack(kept) if kept else np.zeros((rows, 0)), tuple(found), notes


def _check_told_by(x: np.ndarray, names: Sequence[str], others: Mapping[str, np.ndarray]) -> None:
    """Refuse what is adjusted for where it is the treatment or the outcome itself, alone or together."""
    for role, (other, values) in zip(("treatment", "outcome"), others.items(), strict=True):
        unit = values - values.mean()
        unit = unit / np.linalg.norm(unit)
        for name, column in zip(names, x.T, strict=True):
            if 1 - abs(column @ unit) / np.sqrt(len(unit)) < SAME:
                raise OptionError(
                    f"adjust has {short(name)}, which is the {role} {short(other)} up to a factor; take it out."
                )
        rest = unit - x @ np.linalg.lstsq(x, unit, rcond=None)[0] if len(names) else unit
        if np.linalg.norm(rest) < 1e-6:
            raise OptionError(
                f"The columns of adjust together are the {role} {short(other)} without an error, so that nothing is "
                "left to compare; take those out that it is made of."
            )


def _codes(labels: np.ndarray, rows: int) -> np.ndarray:
    values = labels.tolist()
    if any(value is None or value != value for value in values):
        raise OptionError("units has missing values; give the unit of each row.")
    if not all(isinstance(value, Hashable) for value in values):
        raise OptionError("units holds lists; give one text or number for each row.")
    numbers = {value: i for i, value in enumerate(dict.fromkeys(values))}
    return np.array([numbers[value] for value in values])


def _check_rows(study: ObservedStudy) -> None:
    """Refuse where there are too few rows, or units, to adjust."""
    p = study.x.shape[1]
    parts = {"all": np.ones(len(study.t), dtype=bool)}
    if study.levels:
        name = study.names[0]
        parts = {f"{name} = {value:g}": study.t == i for i, value in enumerate(study.levels)}
    for name, part in parts.items():
        count = len(np.unique(study.groups[part]))
        if count < LEAST + p or int(part.sum()) < LEAST + p:
            kind = "rows" if study.units is None else "units"
            raise OptionError(
                f"{short(name) if name == 'all' else name} has {count} {kind}, but adjusting for {p} columns needs at "
                f"least {LEAST + p}; give more rows or fewer columns."
            )


def _list(names: Iterable[Any]) -> str:
    shown = [short(name) for name in names]
    return (", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "")) or "no columns"


def outcomes(data: Any, names: Any, study: ObservedStudy) -> dict[str, np.ndarray]:
    """Negative controls as columns of numbers.

    Raises:
        OptionError: one is missing, constant, no numbers, or part of the study.
    """
    found = {
        name: as_numbers(values, name, "negative control")
        for name, values in _adjusting(as_table(data), names, len(study.t)).items()
    }
    for name, values in found.items():
        if name in (*study.names, *study.adjusted):
            raise OptionError(f"negative_controls has {short(name)}, which is part of the comparison; name another.")
        if np.ptp(values) == 0:
            raise OptionError(f"The negative control {short(name)} is {values[0]:g} in all rows; name one that varies.")
    return found
