"""Cells of text become numbers: those that are none, or would be other numbers, are refused."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy as np

from ..errors import SourceError, short
from .gaps import NOTHING, refusal

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
FLAGS = {"true": 1.0, "false": 0.0}
ZEROS = {"0", "0.0", "-0.0"}
BLOCK = 2**16
"""Cells turned into numbers at once."""


THOUSANDS = re.compile(r"[+-]?\d{1,3}([,.' \u00a0\u202f\u2019]\d{3})+([.,]\d+)?", re.ASCII)
TIME = re.compile(r"\d[-/.]\d\d?[-/.]\d|\d:\d\d")
LEAVE = "turn the column into numbers or leave it out (exclude)"


class Cells:
    """Rows of text, as float64 ``[rows, columns]``; a column of nothing but true and false is 1 and 0.

    Args:
        columns: how many cells a row has.
        place: says where the cell at [row, column] is, as the beginning of a sentence.
        decimal: "." or ",".
        gaps: whether a cell without a value is not a number, and not refused.
    """

    def __init__(
        self, columns: int, place: Callable[[Sequence[int]], str], decimal: str = ".", *, gaps: bool = False
    ) -> None:
        self.columns, self.place, self.decimal, self.gaps = columns, place, decimal, gaps
        self._without: list[tuple[int, str]] = []
        self._first: Sequence[str] = ()
        self._waiting: list[str] = []
        self._blocks: list[np.ndarray] = []
        self._done = 0
        self._flags: dict[int, list[int]] = {}

    def add(self, row: Sequence[str]) -> None:
        """One row more.

        Raises:
            SourceError: a cell is empty, no number, or one that float64 does not hold.
        """
        self._first = self._first or row
        self._waiting += row
        if len(self._waiting) >= BLOCK:
            self._flush()

    def numbers(self) -> np.ndarray:
        """All rows.

        Raises:
            SourceError: see `add`; or a column holds both numbers and words.
        """
        self._flush()
        if self._without and not self.gaps:
            at, cell = self._without[0]
            raise refusal(self.place(divmod(at, self.columns)), cell, len(self._without))
        rows = self._done // max(self.columns, 1)
        for column, at in self._flags.items():
            if len(at) + sum(i % self.columns == column for i, _ in self._without) != rows:
                raise self._refusal(at[0], "is true or false, but the column holds numbers too; write numbers alone")
        return np.concatenate(self._blocks).reshape(rows, self.columns)

    @property
    def all_flags(self) -> bool:
        """Whether every column is one of true and false."""
        return len(self._flags) == self.columns

    def _flush(self) -> None:
        cells, done = self._waiting, self._done
        try:
            found = self._fast(cells)
        except ValueError:
            found = np.fromiter((self._slow(done + i, cell) for i, cell in enumerate(cells)), np.float64, len(cells))
        size = np.abs(found)
        for i in np.flatnonzero((size == 0) | (size >= 2.0**53)).tolist():
            if cells[i] not in ZEROS:
                self._check(done + i, cells[i].strip(), float(found[i]))
        self._blocks.append(found)
        self._done = done + len(cells)
        self._waiting = []

    def _fast(self, cells: list[str]) -> np.ndarray:
        """What pyarrow or `float` reads, where none of the cells holds what they read but is no number here."""
        text = "\t".join(cells)
        if not text.isascii() or any(sign in text for sign in "_nN") or (self.decimal == "," and "." in text):
            raise ValueError
        if self.decimal == ",":
            cells = [cell.replace(",", ".") for cell in cells]
        try:
            import pyarrow

            return pyarrow.array(cells, pyarrow.string()).cast("float64").to_numpy()
        except (ImportError, ValueError):  # not installed, or spaces and signs that it does not take
            return np.fromiter(map(float, cells), np.float64, len(cells))

    def _slow(self, at: int, cell: str) -> float:
        text = cell.strip()
        if text.lower() in NOTHING:
            self._without.append((at, text))
            return np.nan
        if text.lower() in FLAGS:
            self._flags.setdefault(at % self.columns, []).append(at)
            return FLAGS[text.lower()]
        if INFINITE.fullmatch(text):
            raise self._refusal(at, "is infinite; repair or remove the row first")
        plain = self._plain(text)
        if not NUMBER.fullmatch(plain):
            raise self._refusal(at, f"holds {short(cell)}, which is no number; {self._way(at, text)}")
        return float(plain)

    def _way(self, at: int, text: str) -> str:
        """What to do with a cell that is no number."""
        if TIME.search(text):
            return "it looks like a time: leave it out (exclude), or name it (time)"
        if NUMBER.fullmatch(text.replace(",", ".")):
            other = {".": ",", ",": "."}[self.decimal]
            return f"give decimal = {other!r} if that is its mark, or write numbers without marks between thousands"
        if THOUSANDS.fullmatch(text):
            return "write numbers without marks between thousands"
        if not text.isascii() and NUMBER.fullmatch(unicodedata.normalize("NFKC", text)):
            return "write it in the characters 0 to 9, not in their full-width forms"
        others = (self._plain(cell.strip()) for cell in self._first)
        if self.columns > 1 and at < self.columns and not any(map(NUMBER.fullmatch, others)):
            return "nothing in this row is: if it holds units, or names again, remove it"
        if NUMBER.match(text):
            return "write the number alone, with its unit in the column's name, or leave the column out (exclude)"
        return LEAVE

    def _plain(self, text: str) -> str:
        """The number with a point; with a decimal comma a point is none."""
        return text.replace(".", "?").replace(",", ".") if self.decimal == "," else text

    def _check(self, at: int, text: str, value: float) -> None:
        """Refuse a number that becomes 0 or infinite, and a whole one that becomes another."""
        if text.lower() in FLAGS:
            return
        if np.isinf(value):
            raise self._refusal(at, f"holds {short(text)}, which is too large; change the unit or leave it out")
        plain = self._plain(text)
        if value:
            exact = Decimal(plain)
            counts = abs(value) < 2.0**63 or text.strip("+-").isdigit()
            lost = counts and exact == exact.to_integral_value() and exact != Decimal(value)
        else:  # a number may be so small that Decimal does not hold it either
            lost = plain.lower().partition("e")[0].strip("+-0.") != ""
        if lost:
            raise self._refusal(
                at,
                f"holds {text if len(text) < 60 else short(text)}, which would be {Decimal(value or 0.0):f} in "
                "float64; subtract a constant or change the unit first, or leave it out",
            )

    def _refusal(self, at: int, what: str) -> SourceError:
        return SourceError(f"{self.place(divmod(at, self.columns))} {what}.")
