"""Arrays and tables from files: .npz, .safetensors, .csv, .parquet. Values are never scaled or filled in."""

from __future__ import annotations

import csv
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from ..errors import SourceError, first_line, optional, short
from .exact import as_float32, as_int64
from .file_batches import FileBatches

INPUTS = ("x", "X", "inputs")
TARGETS = ("y", "Y", "targets")


def read_arrays(path: Path, target: str | None, columns: Sequence[str] | None) -> FileBatches:
    """Arrays of a .npz or .safetensors file; see `libasis.data.read`.

    One input is given to the model as its first argument, several by their names. Without names the arrays ``x``,
    ``X`` or ``inputs`` and ``y``, ``Y`` or ``targets`` are taken. Floating numbers become float32, whole numbers int64.

    Raises:
        SourceError: the file cannot be read, lacks an array, or holds numbers that are not finite or that would be
            others in float32 or int64.
    """
    arrays = _read_arrays(path)
    target = target or _default(arrays, TARGETS, path, "target")
    keys = list(columns or [_default(arrays, INPUTS, path, "columns") or ""])
    if keys == [""]:
        raise SourceError(
            f"{path} has the arrays {_list(arrays)}, none of which is called {', '.join(INPUTS)}; name the model's "
            "inputs in columns."
        )
    _check_names(keys, target, arrays, f"{path} has the arrays")
    inputs = {key: _tensor(arrays[key], f"{path}: array {key!r}") for key in keys}
    targets = _tensor(arrays[target], f"{path}: array {target!r}") if target else None
    _check_lengths(path, {**inputs, **({target: targets} if target and targets is not None else {})})
    return FileBatches(inputs if len(inputs) > 1 else inputs[keys[0]], targets)


def _read_arrays(path: Path) -> Mapping[str, np.ndarray]:
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:
        if "pickle" in str(error) and zipfile.is_zipfile(path):
            raise SourceError(
                f"{path} holds Python objects (pickle), which libasis does not open; save plain numeric arrays."
            ) from error
        raise SourceError(f"{path} cannot be read as {path.suffix[1:]}: {first_line(error)}.") from error


def _default(arrays: Mapping[str, Any], names: Sequence[str], path: Path, setting: str) -> str | None:
    found = [name for name in names if name in arrays]
    if len(found) > 1:
        raise SourceError(f"{path} has the arrays {found[0]!r} and {found[1]!r}; say which one is meant in {setting}.")
    return found[0] if found else None


def _tensor(array: np.ndarray, what: str) -> Tensor:
    if array.ndim == 0:
        raise SourceError(f"{what} is a single number; its first dimension must be the samples.")
    if array.dtype.kind not in "fiub":
        raise SourceError(f"{what} holds {array.dtype}, not numbers.")
    if array.dtype.kind == "f":
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            where = [int(i) for i in bad[0]]
            raise SourceError(f"{what} holds {array[tuple(where)]} at {where}; remove or repair that sample first.")
    if array.dtype.kind != "b":
        array = (as_float32 if array.dtype.kind == "f" else as_int64)(array, lambda index: f"{what} at {index}")
    return torch.from_numpy(np.ascontiguousarray(array))


def _check_names(columns: Sequence[str], target: str | None, known: Any, has: str) -> None:
    for option, names in (("columns", columns), ("target", [] if target is None else [target])):
        for name in names:
            if name not in known:
                raise SourceError(f"{option} names {name!r}, but {has} {_list(known)}.")


def _check_lengths(path: Path, tensors: Mapping[str, Tensor]) -> None:
    lengths = {name: len(tensor) for name, tensor in tensors.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name!r} has {n}" for name, n in lengths.items())
        raise SourceError(f"{path}: the arrays have different numbers of samples ({shown}).")
    if 0 in lengths.values():
        raise SourceError(f"{path} has no samples.")


def read_table(path: Path, target: str | None, columns: Sequence[str] | None) -> FileBatches:
    """Rows of a .csv or .parquet file, as float32; see `libasis.data.read`.

    A .csv is UTF-8, with commas and a first line of names; empty lines are left out.

    Raises:
        SourceError: the file cannot be read, lacks a column, has a row of another length than the first line or two
            columns of one name, or a cell that is no finite number or would be another in float32.
    """
    pandas = optional("pandas", "data", f"Reading {path}")
    try:
        if path.suffix.lower() == ".csv":
            _check_rows(path)
            table = pandas.read_csv(path, index_col=False, encoding="utf-8-sig")
        else:
            table = pandas.read_parquet(path)
    except SourceError:
        raise
    except ImportError as error:
        raise SourceError(f"Reading {path} needs pyarrow: pip install 'libasis[data]'") from error
    except Exception as error:
        raise SourceError(f"{path} cannot be read as {path.suffix[1:]}: {first_line(error)}.") from error
    table.columns = [str(name) for name in table.columns]
    _check_twice(path, table.columns)
    columns = list(columns or [name for name in table.columns if name != target])
    _check_names(columns, target, table.columns, f"{path} has the columns")
    if not columns or not len(table):
        raise SourceError(f"{path} has no {'rows' if columns else 'columns besides the target'}.")

    def numbers(name: str, *, classes: bool) -> np.ndarray:
        what = f"{path}: column {short(name)}"
        found = _numbers(table[name], what, pandas)
        hold = as_int64 if classes and found.dtype.kind != "f" else as_float32
        return hold(found, lambda index: f"{what}, row {index[0] + 1}")

    inputs = np.stack([numbers(name, classes=False) for name in columns], 1)
    targets = None if target is None else torch.from_numpy(numbers(target, classes=True))
    return FileBatches(torch.from_numpy(inputs), targets, columns=columns)


def _check_twice(path: Path, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise SourceError(f"{path} has two columns called {short(twice[0])}; rename one of them.")


def _check_rows(path: Path) -> None:
    """Refuse a .csv whose rows do not all have a cell for each name; an empty line is none."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        names = next((row for row in rows if row), [])
        _check_twice(path, names)
        for row in rows:
            if row and len(row) != len(names):
                raise SourceError(
                    f"{path}, line {rows.line_num} has {len(row)} values, but the first line has {len(names)} names; "
                    'repair that line (a value with a comma is written in quotes: "1,5").'
                )


def _numbers(column: Any, what: str, pandas: Any) -> np.ndarray:
    """The column as finite numbers; rows in messages are counted from 1, without the header."""
    kinds = pandas.api.types
    missing = column.isna().to_numpy()
    if missing.any():
        raise SourceError(f"{what}, row {int(missing.argmax()) + 1} is empty; fill it or remove the row first.")
    if kinds.is_bool_dtype(column):
        return column.to_numpy(bool)
    if kinds.is_integer_dtype(column):
        return column.to_numpy(column.dtype if isinstance(column.dtype, np.dtype) else column.dtype.numpy_dtype)
    if not (kinds.is_numeric_dtype(column) or kinds.is_string_dtype(column) or kinds.is_object_dtype(column)):
        raise SourceError(f"{what} holds {column.dtype}, not numbers; turn it into numbers or leave it out.")
    numbers = pandas.to_numeric(column.astype(object), errors="coerce").to_numpy(np.float64)
    text = np.isnan(numbers)
    if text.any():
        row = int(text.argmax())
        raise SourceError(
            f"{what}, row {row + 1} holds {short(column.iloc[row])}, which is no number; turn the column into numbers "
            "or leave it out of columns."
        )
    infinite = ~np.isfinite(numbers)
    if infinite.any():
        raise SourceError(f"{what}, row {int(infinite.argmax()) + 1} is infinite; repair or remove the row first.")
    return numbers


def _list(names: Any) -> str:
    shown = [short(name) for name in names]
    return ", ".join(shown[:20]) + (f" and {len(shown) - 20} more" if len(shown) > 20 else "")
