"""`libasis diagnose` and `libasis check`: two groups of rows from files, and results into a folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..cut import Traced
from ..data import FileBatches, column_names, from_seed, read
from ..data.files import TABLES, check_options, kind_of
from ..data.gaps import NOTHING, check_impute
from ..data.separated import Written, check_names
from ..data.tables import AsTable, read_table
from ..diagnose import Diagnosis, check, diagnose
from ..errors import OptionError, SourceError, did_you_mean, short
from ..files import alone, check_file, missing, write_csv
from ..report import MARK
from ..store import check_target
from .errors import RunError
from .models import open_model

PAGE, RESULT = "diagnosis.html", "diagnosis"
BESIDE = {
    "inputs": ("input", "verdict", "normal", "anomalous"),
    "sets": ("set", "verdict", "before", "after"),
    "features": ("feature", "site"),
    "baselines": ("input", "rank"),
}
"""The tables beside the result, and their first columns, by which they are known again."""


@dataclass(frozen=True)
class Source:
    """Where the rows come from.

    Attributes:
        normal: a file of normal rows, or with ``label`` one file of both groups.
        anomalous: a file of anomalous rows, or None with ``label``.
        columns: the inputs in the model's order, or None for all that are left.
        exclude: columns that are no inputs (a time, a name).
        units: the column that says to which run or device a row belongs.
        label: of one file, the column that says which rows are normal.
        normal_label: what it says of them.
        impute: what cells without a value are filled with.
        written: how tables of text are written; what is None is recognised.
    """

    normal: Path
    anomalous: Path | None
    columns: Sequence[str] | None = None
    exclude: Sequence[str] = ()
    units: str | None = None
    label: str | None = None
    normal_label: str | None = None
    impute: str | None = None
    written: Written = Written()  # noqa: RUF009 - frozen

    def groups(self) -> tuple[FileBatches, FileBatches, Any]:
        """Both groups and their units, or None.

        Raises:
            SourceError: a file cannot be read, or lacks a column.
            OptionError: the options do not go together.
        """
        if (self.label is None) == (self.anomalous is None):
            raise OptionError(
                "diagnose needs two groups of rows: give --normal and --anomalous, or --data with --label and "
                "--normal-label."
            )
        normal, anomalous = self._split() if self.anomalous is None else map(self._read, (self.normal, self.anomalous))
        own, other = normal.units, anomalous.units
        return normal, anomalous, None if own is None or other is None else (own, other)

    def _split(self) -> Sequence[FileBatches]:
        rows = self._read(self.normal)
        labels = rows.labels
        if labels is None:
            raise OptionError(f"--label is given, but {self.normal} is no table; give a {', '.join(TABLES)} file.")
        none = [i for i, label in enumerate(labels) if label.lower() in NOTHING and label != self.normal_label]
        if none:
            raise SourceError(
                f"{self.normal}: column {short(self.label)} holds no label in {len(none):,} of {len(labels):,} rows "
                f"(the first is row {none[0] + 1}); label these rows, or leave them out."
            )
        if self.normal_label not in labels:
            known = sorted(set(labels))
            raise OptionError(
                f"--normal-label is {short(self.normal_label)}{did_you_mean(self.normal_label, known)}, but the column "
                f"{short(self.label)} holds {', '.join(map(short, known[:8]))}; give the label of the normal rows."
            )
        calm = torch.tensor([label == self.normal_label for label in labels])
        if bool(calm.all()):
            raise OptionError(
                f"Every row of {self.normal} is labelled {short(self.normal_label)}; give rows of the fault too."
            )
        return [rows.take(mask.nonzero().flatten()) for mask in (calm, ~calm)]

    def _read(self, path: Path) -> FileBatches:
        kind = kind_of(path)
        if not path.exists():
            raise SourceError(missing(path))
        if kind not in TABLES:
            return read(path)
        names = column_names(path, self.written)
        check_names(names, self.columns, path)
        other = [*self.exclude, *filter(None, (self.units, self.label))]
        for name in [*other, *(self.columns or ())]:
            if name not in names:
                raise SourceError(
                    f"{path} has no column {short(name)}{did_you_mean(name, names)}; it has "
                    f"{', '.join(map(short, names[:20]))}."
                )
        check_impute(self.impute)
        check_options(self.columns, {})
        beside = AsTable(tuple(self.exclude), None, self.units, self.impute, None, self.label)
        found = read_table(path, None, self.columns, self.written, beside)
        for remark in replace(found, filled=None).remarks:  # what was filled in is a finding
            print(f"{path} {remark}.", file=sys.stderr)
        return found


def _model(source: str) -> nn.Module:
    with from_seed(0):
        model = open_model(source)
    if isinstance(model, Traced):
        raise SourceError(f"--model is {source!r}, which returned a libasis.Chain; return the torch.nn.Module.")
    return model


def run_check(model: str, source: Source, **options: Any) -> list[str]:
    """What is wrong with the model and the rows, in sentences."""
    normal, anomalous, _ = source.groups()
    return check(_model(model), normal, anomalous, **options)


def run_diagnosis(model: str, source: Source, out: Path, lang: str, *, force: bool, **options: Any) -> Diagnosis:
    """The diagnosis, its page and tables in a folder.

    Raises:
        LibasisError: whatever is wrong with model, rows or options; or the folder holds other files of these names.
    """
    with alone(out):
        check_file(out / PAGE, MARK)
        for name, heads in BESIDE.items():
            check_file(out / f"{name}.csv", ",".join(heads))
        if (out / RESULT).exists() and not force:
            raise RunError(f"{out} holds a diagnosis; give --force to replace it, or another folder with --out.")
        check_target(out / RESULT, force=force)
        normal, anomalous, units = source.groups()
        found = diagnose(_model(model), normal, anomalous, units=units, **options)
        found.to_html(out / PAGE, lang)
        tables = (found.tested_inputs, found.tested_sets, found.tested_features, found.plain_methods)
        for (name, heads), table in zip(BESIDE.items(), tables, strict=True):
            rows = [{key: one[key] for key in one if key not in ("members", "reads")} for one in table]
            known = list(rows[0]) if rows else heads
            cells = ([row.get(key) for key in known] for row in rows)
            write_csv(out / f"{name}.csv", known, cells, ",".join(heads))
        found.save(out / RESULT, force=force)  # last: where it is, the others are
        return found
