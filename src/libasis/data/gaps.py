"""Cells of a table without a value: refused with their number, or filled in where that is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import OptionError, SourceError, short

IMPUTE = ("median", "mean", "previous")
"""What a cell without a value can be filled with: of its column, or the value in the row before."""
NAMED = 5
"""Columns that are named."""
NOTHING = {"", "-", "nan", "na", "n/a", "#n/a", "null", "none"}
"""What is written where there is no value, in small letters."""


def check_impute(impute: str | None) -> None:
    """Raise `OptionError` for a way to fill in that there is not."""
    if impute not in (None, *IMPUTE):
        raise OptionError(f"impute is {short(impute)}; give one of {', '.join(map(repr, IMPUTE))}.")


def refusal(place: str, cell: str, count: int) -> SourceError:
    """Of the first cell without a value, where it is said how many there are."""
    what = f"holds {short(cell)}, which is no value" if cell else "is empty"
    more = f", one of {count:,} such cells" if count > 1 else ""
    return SourceError(
        f"{place} {what}{more}; fill it in, remove the row, or have it filled: impute = 'median', 'mean' or 'previous'."
    )


@dataclass(frozen=True)
class Filled:
    """What was filled in.

    Attributes:
        impute: how.
        counts: by column how many cells.
        source: the file.
        label: the column within whose values they were filled in, or None.
    """

    impute: str
    counts: dict[str, int]
    source: str = ""
    label: str | None = None

    @property
    def way(self) -> str:
        """How, and within which column's values."""
        return self.impute if self.label is None else f"{self.impute} by {short(self.label)}"

    def named(self) -> str:
        """The first columns, and how many cells of each."""
        shown = ", ".join(f"{short(name)} {count:,}" for name, count in list(self.counts.items())[:NAMED])
        return shown + (f" (+{len(self.counts) - NAMED})" if len(self.counts) > NAMED else "")

    def __str__(self) -> str:
        way = "the value of the row before" if self.impute == "previous" else f"the {self.impute} of the column"
        return f"had empty cells, filled with {way}: {self.named()}"


def fill(
    values: np.ndarray, impute: str, names: Sequence[str], path: object, within: tuple[str, Sequence[str]] | None = None
) -> Filled | None:
    """Fill the cells of rows ``[n, columns]`` that are not a number, in place; None where there are none.

    Args:
        values: the rows.
        impute: how.
        names: of the columns.
        path: of the file.
        within: a column and what it says of each row: only rows of which it says the same fill each other.

    Raises:
        SourceError: a column has no value at all.
    """
    if within is not None:
        counts, labels = Counter(), np.array(within[1], dtype=object)
        for label in dict.fromkeys(within[1]):
            own = values[labels == label]
            filled = fill(own, impute, names, f"{path}, rows whose {short(within[0])} is {short(label)}")
            values[labels == label] = own
            counts.update(filled.counts if filled else {})
        return Filled(impute, dict(counts), str(path), within[0]) if counts else None
    counts = Counter()
    for j in np.flatnonzero(np.isnan(values).any(0)).tolist():
        column = values[:, j]
        gaps = np.isnan(column)
        if gaps.all():
            raise SourceError(f"{path}: column {short(names[j])} has no value at all; leave it out (exclude).")
        if impute == "previous":  # before the first value that one
            last = np.maximum.accumulate(np.where(gaps, int(np.flatnonzero(~gaps)[0]), np.arange(len(column))))
            column[gaps] = column[last][gaps]
        else:
            column[gaps] = (np.median if impute == "median" else np.mean)(column[~gaps])
        counts[names[j]] = int(gaps.sum())
    return Filled(impute, dict(counts), str(path)) if counts else None
