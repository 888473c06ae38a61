"""Tables from files: .csv, .tsv, .xlsx, .parquet. Values are never scaled."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import SourceError, did_you_mean, first_line, optional, short
from ..files import memory, open_regular
from .cells import NUMBER, Cells
from .exact import as_float32, as_int64
from .file_batches import FileBatches
from .gaps import Filled, fill, refusal
from .names import check_known, check_named, listed
from .separated import Written, check_names, open_text, rows_of

NAMED = 20
"""Texts of a target, at most, that are taken for names of classes."""
WHOLE = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)


@dataclass(frozen=True)
class AsTable:
    """What is known of a table besides its inputs and its target.

    Attributes:
        exclude: those that are left out.
        time: the one that says when a row was, or None.
        unit: the one that says what a row belongs to, or None.
        impute: what cells without a value are filled with, or None.
        classes: the texts of the target in the order of the model's outputs, or None.
        label: the one that says to which group a row belongs, or None; cells are filled within it.
    """

    exclude: tuple[str, ...] = ()
    time: str | None = None
    unit: str | None = None
    impute: str | None = None
    classes: tuple[str, ...] | None = None
    label: str | None = None

    @property
    def named(self) -> list[str] | None:
        """The classes."""
        return None if self.classes is None else list(self.classes)

    def fill(
        self, values: np.ndarray, columns: Sequence[str], path: Path, labels: Sequence[str] | None
    ) -> Filled | None:
        """Fill cells without a value where that is asked for, see `fill`; what was filled, None for nothing."""
        within = None if self.label is None or labels is None else (self.label, labels)
        return fill(values, self.impute, columns, path, within) if self.impute is not None else None

    @property
    def said(self) -> dict[str, str]:
        """Columns whose texts are kept, by what keeps them."""
        kept = (("times", self.time), ("units", self.unit), ("labels", self.label))
        return {key: name for key, name in kept if name is not None}


def read_table(
    path: Path,
    target: str | None,
    columns: Sequence[str] | None,
    written: Written | None = None,
    beside: AsTable = AsTable(),  # noqa: B008 - frozen
) -> FileBatches:
    """Rows of a .csv, .tsv (either also .gz), .xlsx or .parquet file, as float32; see `libasis.data.read`.

    Raises:
        SourceError: the file cannot be read, lacks a column, has a row of another length than the first line or two
            columns of one name, or a cell that is no finite number or would be another in float32.
        OptionError: ``written`` says what cannot be.
    """
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path, target, columns, beside)
    data, how = open_text(path, written or Written())
    names, rows, how = rows_of(data, how, path)
    check_names(names, columns and list(columns), path)
    columns = _chosen(path, names, target, columns, beside)
    places = {name: i for i, name in enumerate(names)}
    at = [places[name] for name in columns]
    pick = (lambda row: row) if at == list(range(len(names))) else (lambda row: [row[i] for i in at])
    cells, goals = Cells(len(columns), _place(path, columns), how.decimal or ".", gaps=beside.impute is not None), []
    said: dict[str, Any] = {key: [] for key in beside.said}
    for row in rows:
        cells.add(pick(row))
        if target is not None:
            goals.append(row[places[target]])
        for key, texts in said.items():
            texts.append(row[places[beside.said[key]]].strip())
    inputs = cells.numbers()
    if not len(inputs):
        raise SourceError(f"{path} has no rows under its first line; give a row for each sample.")
    targets = None if target is None else _targets(goals, _place(path, [target]), how.decimal or ".", beside.classes)
    filled = beside.fill(inputs, columns, path, said.get("labels"))
    held = torch.from_numpy(as_float32(inputs, _place(path, columns)))
    return FileBatches(
        held,
        targets,
        columns=columns,
        classes=beside.named,
        written=str(how),
        filled=filled,
        **said,
    )


def read_columns(
    path: Path, numbers: Sequence[str], texts: Sequence[str] = (), written: Written | None = None
) -> dict[str, np.ndarray]:
    """Some columns of a table, by name: numbers as float64 and texts as they are written, ``[n]`` each.

    Raises:
        SourceError: see `read_table`; a text may be anything but empty.
        OptionError: ``written`` says what cannot be.
    """
    chosen = list(dict.fromkeys([*numbers, *texts]))
    if path.suffix.lower() == ".parquet":
        frame = frame_of(path)
        check_known(chosen, None, dict.fromkeys(frame.columns), f"{path} has the columns")
        pandas = optional("pandas", "data", f"Reading {path}")
        found = {name: _numbers(frame[name], _place(path, [name]), pandas).astype(np.float64) for name in numbers}
        return found | {name: frame[name].astype(str).to_numpy(dtype=object) for name in texts}
    data, how = open_text(path, written or Written())
    names, rows, how = rows_of(data, how, path)
    check_names(names, chosen, path)
    check_known(chosen, None, dict.fromkeys(names), f"{path} has the columns")
    at, words = [names.index(name) for name in numbers], [names.index(name) for name in texts]
    cells, said = Cells(len(at), _place(path, list(numbers)), how.decimal or "."), []
    for i, row in enumerate(rows):
        cells.add([row[j] for j in at])
        said.append([row[j].strip() for j in words])
        if "" in said[-1]:
            raise SourceError(
                f"{_place(path, list(texts))([i, said[-1].index('')])} is empty; fill it or remove the row."
            )
    if not said:
        raise SourceError(f"{path} has no rows under its first line; give at least one.")
    found = dict(zip(numbers, cells.numbers().T, strict=True)) if at else {}
    return found | {name: np.array([row[i] for row in said], dtype=object) for i, name in enumerate(texts)}


def column_names(path: Path, written: Written | None = None) -> list[str]:
    """The names in the first line of a table.

    Raises:
        SourceError: the file cannot be read.
    """
    if path.suffix.lower() == ".parquet":
        return list(frame_of(path).columns)
    data, how = open_text(path, written or Written())
    return rows_of(data, how, path)[0]


def _place(path: Path, columns: Sequence[str]) -> Callable[[Sequence[int]], str]:
    """What says where [row] or [row, column] is; rows are counted from 1, without the names."""
    return lambda index: f"{path}: column {short(columns[index[-1] if len(index) > 1 else 0])}, row {index[0] + 1}"


def _chosen(
    path: Path, names: Sequence[str], target: str | None, columns: Sequence[str] | None, beside: AsTable
) -> list[str]:
    known, has = dict.fromkeys(names), f"{path} has the columns"
    for option, own in (("exclude", beside.exclude), ("time", [beside.time]), ("unit", [beside.unit])):
        check_named(option, [name for name in own if name is not None], known, has)
    other = {target, *beside.exclude, *beside.said.values()}
    columns = list(columns or [name for name in names if name not in other])
    check_known(columns, target, known, has)
    if not columns:
        raise SourceError(f"{path} has no columns besides the target; give at least one more.")
    return columns


def _targets(
    cells: list[str],
    place: Callable[[Sequence[int]], str],
    decimal: str = ".",
    classes: tuple[str, ...] | None = None,
) -> Tensor:
    """Whole numbers and flags as int64, others as float32; texts as the places that they have in ``classes``."""
    if classes is not None:
        numbers = {name: i for i, name in enumerate(classes)}
        for row, cell in enumerate(cells):
            if cell.strip() not in numbers:
                raise SourceError(
                    f"{place([row])} holds {short(cell)}{did_you_mean(cell.strip(), classes)}, which classes does not "
                    f"name; it names {listed(classes)}."
                )
        return torch.tensor([numbers[cell.strip()] for cell in cells])
    if all(WHOLE.fullmatch(cell) for cell in cells):
        for row, cell in enumerate(cells):
            if len(cell) > 40 or not -(2**63) <= int(cell) < 2**63:
                raise SourceError(
                    f"{place([row])} holds {cell[:40]}, which would be another in int64; number the classes."
                )
        return torch.tensor([int(cell) for cell in cells])
    read = Cells(1, place, decimal)
    try:
        read.add(cells)
        held = read.numbers()[:, 0]
    except SourceError:
        named = sorted({cell.strip() for cell in cells})
        if len(named) <= NAMED and not any(NUMBER.fullmatch(name) or not name for name in named):
            raise SourceError(
                f"{place([0]).rpartition(', row')[0]} holds {', '.join(map(short, named))}; name them in the order of "
                f"the model's outputs, such as classes = {named}, or number them from 0."
            ) from None
        raise
    return torch.from_numpy(held.astype(np.int64) if read.all_flags else as_float32(held, place))


def frame_of(path: Path) -> Any:
    """A .parquet file as a table of pandas."""
    parquet = optional("pyarrow.parquet", "data", f"Reading {path}")
    optional("pandas", "data", f"Reading {path}")
    try:
        with open_regular(path, refusal=SourceError) as file, parquet.ParquetFile(file) as source:
            size = source.metadata.num_rows * source.metadata.num_columns * 8
            table = source.read().to_pandas() if size <= memory() // 2 else None
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(f"{path} cannot be read as parquet: {first_line(error)}.") from error
    if table is None:
        raise SourceError(f"{path} holds {size:,} bytes, more than half of this machine's memory; give fewer rows.")
    table.columns = [str(name) for name in table.columns]
    check_names(list(table.columns), [], path)
    return table


def _read_parquet(path: Path, target: str | None, columns: Sequence[str] | None, beside: AsTable) -> FileBatches:
    table, pandas = frame_of(path), optional("pandas", "data", f"Reading {path}")
    columns = _chosen(path, list(table.columns), target, columns, beside)
    if not len(table):
        raise SourceError(f"{path} has no rows; give a row for each sample.")

    def numbers(name: str) -> np.ndarray:
        return _numbers(table[name], _place(path, [name]), pandas, gaps=beside.impute is not None)

    found = [numbers(name) for name in columns]
    whole = [i for i, own in enumerate(found) if own.dtype.kind == "f"]
    floats = np.stack([found[i] for i in whole], 1) if whole else np.zeros((len(table), 0))
    said: dict[str, Any] = {key: _texts(table[name]) for key, name in beside.said.items()}
    filled = beside.fill(floats, [columns[i] for i in whole], path, said.get("labels"))
    for place, i in enumerate(whole):
        found[i] = floats[:, place]
    held = [as_float32(own, _place(path, [name])) for own, name in zip(found, columns, strict=True)]
    inputs, targets = torch.from_numpy(np.stack(held, 1)), None
    if target is not None and beside.classes is not None:
        targets = _targets(table[target].astype(str).tolist(), _place(path, [target]), classes=beside.classes)
    elif target is not None:
        goals = numbers(target)
        hold = as_int64 if goals.dtype.kind != "f" else as_float32
        targets = torch.from_numpy(hold(goals, _place(path, [target])))
    return FileBatches(
        inputs,
        targets,
        columns=columns,
        classes=beside.named,
        filled=filled,
        **said,
    )


def _texts(column: Any) -> list[str]:
    """A column as text, empty where it has no value."""
    return column.astype(str).astype(object).where(column.notna(), "").tolist()


def _numbers(column: Any, place: Callable[[Sequence[int]], str], pandas: Any, *, gaps: bool = False) -> np.ndarray:
    """The column as numbers, finite but for cells without a value where those are asked for."""
    kinds = pandas.api.types
    missing = column.isna().to_numpy()
    if missing.any() and not gaps:
        raise refusal(place([int(missing.argmax())]), "", int(missing.sum()))
    if missing.any():
        found = np.full(len(column), np.nan)
        found[~missing] = _numbers(column[~missing], lambda at: place([int(np.flatnonzero(~missing)[at[0]])]), pandas)
        return found
    if kinds.is_bool_dtype(column):
        return column.to_numpy(bool)
    if kinds.is_integer_dtype(column):
        return column.to_numpy(column.dtype if isinstance(column.dtype, np.dtype) else column.dtype.numpy_dtype)
    if kinds.is_float_dtype(column):
        numbers = column.to_numpy(np.float64)
        if not np.isfinite(numbers).all():
            row = int((~np.isfinite(numbers)).argmax())
            raise SourceError(f"{place([row])} is infinite; repair or remove the row first.")
        return numbers
    if not (kinds.is_string_dtype(column) or kinds.is_object_dtype(column) or column.dtype == "category"):
        raise SourceError(
            f"{place([0]).rpartition(', row')[0]} holds {column.dtype}, not numbers; turn the column into numbers "
            "or leave it out of columns."
        )
    cells = Cells(1, place)
    cells.add([str(cell) for cell in column])
    return cells.numbers()[:, 0]
