"""Samples in files: tables, arrays, folders of images and text, read into memory as batches."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..arguments import typed
from ..errors import OptionError, SourceError, short
from ..files import missing
from .arrays import read_arrays
from .file_batches import FileBatches
from .gaps import check_impute
from .images import read_images
from .separated import Written
from .tables import AsTable, read_table
from .text import read_text

ARRAYS = (".npz", ".safetensors")
SEPARATED = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
TABLES = (*SEPARATED, ".xlsx", ".parquet")
TEXTS = (".txt", ".jsonl")
SUFFIXES = (*ARRAYS, *TABLES, *TEXTS)
SAID = ("exclude", "time", "unit", "impute", "classes")
OPTIONS = {
    **dict.fromkeys(ARRAYS, ("target", "columns")),
    **dict.fromkeys((".parquet", ".xlsx"), ("target", "columns", *SAID)),
    **dict.fromkeys(SEPARATED, ("target", "columns", *SAID, "separator", "encoding", "decimal")),
    **dict.fromkeys(TEXTS, ("tokenizer", "sequence_length", "max_sequences")),
    "folder": (),
}
"""By what is read the options of `read` that say how, `batch_size` aside."""

SEQUENCE_LENGTH = 128


def kind_of(path: str | Path) -> str | None:
    """How a path is read: ``"folder"`` or its suffix; None where it is not."""
    path = Path(path)
    suffix = "".join(path.suffixes[-2:] if path.suffix.lower() == ".gz" else path.suffixes[-1:]).lower()
    return "folder" if os.path.isdir(path) else suffix if suffix in SUFFIXES else None


@typed
def read(
    path: str | Path,
    target: str | None = None,
    columns: Sequence[str] | None = None,
    *,
    exclude: Sequence[str] | None = None,
    time: str | None = None,
    unit: str | None = None,
    impute: str | None = None,
    classes: Sequence[str] | None = None,
    separator: str | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
    batch_size: int = 256,
    tokenizer: Any = None,
    sequence_length: int = SEQUENCE_LENGTH,
    max_sequences: int | None = None,
) -> FileBatches:
    """The samples of a file or a folder, for every call that takes batches. Values are never scaled.

    Args:
        path: a table (.csv, .tsv, either also .gz, .xlsx of one sheet, or .parquet: a sample each row), arrays (.npz,
            .safetensors: first dimension the samples), text (.txt, .jsonl) or a folder of images of one size, with a
            sub-folder for each class or none.
        target: the column or array of the targets; of arrays ``y``, ``Y`` or ``targets`` where it is not given.
        columns: of a table the columns that are the inputs, side by side (by default all but those named by target,
            exclude, time and unit). Of arrays the inputs, several by the names of the model's inputs (``x``, ``X`` or
            ``inputs`` by default).
        exclude: of a table, columns that are no inputs.
        time: of a table, the column that says when a row was; examples on cards show it.
        unit: of a table, the column of the run or device that a row belongs to; cards take its rows together.
        impute: of a table, what cells without a value are filled with: ``"median"`` or ``"mean"`` of their column, or
            ``"previous"``, the value in the row before. By default they are refused. ``filled`` says how many there
            were.
        classes: of a table whose target is a text, its texts in the order of the model's outputs.
        separator: of .csv and .tsv: between the values. Where it is not given it is recognised (a comma, a semicolon,
            a tab or a vertical bar), as are the next two; what is not clear is refused. The first line is of names.
        encoding: of their text (UTF-8, UTF-16, Shift-JIS and Windows-1252 are recognised).
        decimal: the mark in their numbers, ``"."`` or ``","``. How a file was read is said in ``written``.
        batch_size: samples in a batch.
        tokenizer: for text: called as those of transformers are, with their ``eos_token_id``.
        sequence_length: for text: tokens in a sample.
        max_sequences: for text: so many samples at most.

    Raises:
        SourceError: there is nothing that can be read, or a value is missing, not finite or no number.
        OptionError: an option is given that such a file cannot use.
    """
    path, kind = Path(path), kind_of(path)
    if kind is None:
        raise SourceError(f"{path} is no folder of images and does not end in {', '.join(SUFFIXES)}; give such a file.")
    if not os.path.exists(path):
        raise SourceError(missing(path))
    given = {"target": target, "columns": columns, "tokenizer": tokenizer, "max_sequences": max_sequences}
    given["sequence_length"] = None if sequence_length == SEQUENCE_LENGTH else sequence_length
    given |= {"exclude": exclude, "time": time, "unit": unit, "impute": impute, "classes": classes}
    given |= {"separator": separator, "encoding": encoding, "decimal": decimal}
    for name, value in given.items():
        if value is not None and name not in OPTIONS[kind]:
            raise OptionError(f"{name} is given, but {path} cannot use it; leave it out.")
    check_impute(impute)
    if classes is not None and target is None:
        raise OptionError("classes is given without target; name the column of the target too.")
    check_options(columns, {"batch_size": batch_size, "max_sequences": max_sequences})
    if kind == "folder":
        found = read_images(path)
    elif kind in TEXTS:
        found = read_text(path, tokenizer, sequence_length, max_sequences)
    elif kind in ARRAYS:
        found = read_arrays(path, target, columns)
    else:
        beside = AsTable(tuple(exclude or ()), time, unit, impute, None if classes is None else tuple(classes))
        found = read_table(path, target, columns, Written(separator, encoding, decimal), beside)
    return replace(found, batch_size=batch_size)


def check_options(columns: Sequence[str] | None, counts: Mapping[str, int | None]) -> None:
    """Raise `OptionError` for counts below 1, and for columns that are none or named twice."""
    for name, value in counts.items():
        if value is not None and value < 1:
            raise OptionError(f"{name} is {value}; give a whole number from 1.")
    if columns is not None and len(set(columns)) < max(len(columns), 1):
        raise OptionError(f"columns is {short(list(columns))}; name at least one, and each only once.")
