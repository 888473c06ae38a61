"""Files of separated values as people have them: how one is written is given, or recognised where it is clear."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

from ..errors import OptionError, SourceError, first_line, short
from ..files import memory, open_regular, unpacked
from .cells import NUMBER
from .workbook import sheet_of

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
ENCODINGS = {"utf-8-sig": "UTF-8", "cp932": "Shift-JIS (cp932)", "cp1252": "Windows-1252 (Latin)", "utf-16": "UTF-16"}
MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
         codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip
SAMPLE = 200
"""Rows by which separator and decimal mark are recognised, and of how many characters together."""
LONGEST = 2**20


@dataclass(frozen=True)
class Written:
    """How a file of separated values is written; what is None is recognised.

    Attributes:
        separator: between values, one character.
        encoding: of the text, by a name that Python knows.
        decimal: "." or ",".
        sheet: of a workbook; where there is one, nothing is to be recognised.
    """

    separator: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    sheet: str | None = None

    def check(self) -> None:
        """Raise `OptionError` for what cannot be."""
        mark, decimal = self.separator, self.decimal
        if decimal not in (None, ".", ","):
            raise OptionError(f'decimal is {short(decimal)}; write "." or ",".')
        if mark is not None and (len(mark) != 1 or mark.isalnum() or mark in '"\r\n+-._\0\ufeff'):
            raise OptionError(
                f"separator is {short(mark)}; give the one character between the values, such as ';' or '\\t' (a tab)."
            )
        try:
            "a".encode(self.encoding or "utf-8")
        except (LookupError, ValueError):
            raise OptionError(
                f"encoding is {short(self.encoding)}, which Python does not know; give one such as "
                f"{', '.join(repr(name.removesuffix('-sig')) for name in ENCODINGS)}."
            ) from None

    def __str__(self) -> str:
        if self.sheet is not None:
            return f"an Excel workbook, sheet {self.sheet!r}"
        encoding = ENCODINGS.get(self.encoding or "", (self.encoding or "").upper())
        mark = SEPARATORS.get(self.separator or ",", f"{self.separator!r}")
        return f"{encoding}, separated by {mark}, decimal {'comma' if self.decimal == ',' else 'point'}"


def open_text(path: Path, how: Written) -> tuple[bytes, Written]:
    """The bytes of the text, unpacked where they are packed with gzip, and in which encoding it is.

    A workbook is read as the text that its sheet would be.

    Raises:
        SourceError: the file cannot be read, or the encoding is not to be recognised.
        OptionError: see `Written.check`.
    """
    how.check()
    if path.suffix.lower() == ".xlsx":
        data, sheet = sheet_of(path)
        return data, Written(",", "utf-8-sig", ".", sheet)
    with open_regular(path, memory() // 4, refusal=SourceError) as file:
        if how.encoding is None and not file.peek().startswith((b"\x1f\x8b", *MARKS)):
            _wide(file.peek(), path)  # what is no text is not read as a whole
        data = file.read(os.fstat(file.fileno()).st_size)
    if data.startswith(b"\x1f\x8b"):
        data = _unpacked(data, path, unpacked(len(data)))
    encoding = how.encoding or _encoding(data, path)
    return data, replace(how, encoding="utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding)


def _unpacked(data: bytes, path: Path, most: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            text = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path} cannot be unpacked with gzip: {first_line(error)}.") from None
    if len(text) > most:
        raise SourceError(f"{path} is larger than {most:,} bytes when it is unpacked; give fewer rows or columns.")
    return text


def _encoding(data: bytes, path: Path) -> str:
    """UTF-8, UTF-16 and Shift-JIS or Windows-1252, where only one of them gives words."""
    for mark, name in MARKS.items():
        if data.startswith(mark):
            return name
    if data.startswith(codecs.BOM_UTF8):
        return "utf-8"
    if wide := _wide(data, path):
        return wide
    if _decodes(data, "utf-8") is not None:
        return "utf-8"
    japanese = _decodes(data, "cp932")
    if japanese is not None and re.search(rb"[\x81-\x9f]", data):
        words = re.findall(r"[^\x00-\x7f]+", japanese)
        if sum(len(word) > 1 for word in words) * 2 >= len(words):
            return "cp932"
    if _decodes(data, "cp1252") is not None and not re.search(rb"[\x80-\xff]{3}", data):
        return "cp1252"
    raise SourceError(
        f"{path} is not UTF-8, and in which encoding it is cannot be told; give encoding, for instance 'cp932' "
        "(Shift-JIS), 'euc-jp', 'cp1251' or 'latin-1'."
    )


def _wide(data: bytes, path: Path) -> str | None:
    """UTF-16 without a mark, where characters have null bytes at one of two places; None without such bytes."""
    if b"\0" not in data:
        return None
    even, odd = data[:4096:2].count(0), data[1:4096:2].count(0)
    if min(even, odd) * 10 < max(even, odd) > len(data[:4096]) // 8:
        return "utf-16-le" if odd > even else "utf-16-be"
    raise SourceError(f"{path} holds null characters, so it is no text; give a file of text, or its encoding.")


def _decodes(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeError:
        return None


def rows_of(data: bytes, how: Written, path: Path) -> tuple[list[str], Iterator[list[str]], Written]:
    """The names of the first line, the rows after it, and how the file is written.

    Empty lines are left out. Every row has a value for each name.

    Raises:
        SourceError: the separator or decimal mark is not to be recognised, or a row or a name is not as it should be.
    """
    try:
        with io.TextIOWrapper(io.BytesIO(data), how.encoding, newline="") as file:
            sizes = accumulate(map(len, lines := list(islice(file, SAMPLE))))
            sample = [line for line, size in zip(lines, sizes, strict=True) if size < LONGEST] or lines[:2]
    except UnicodeError as error:
        raise _not_in(how, path, error) from None
    if not any(line.strip() for line in sample):
        raise SourceError(f"{path} is empty; give a file with a first line of names and a row for each sample.")
    hint = re.fullmatch(r"sep=([^\w\s\".+-]|\t)\r?\n?", sample[0])  # what Excel writes
    sample = sample[1:] if hint else sample
    separator = how.separator or (hint[1] if hint else _separator(sample, path))
    head = _split(sample, separator)
    if not head:
        raise SourceError(f"{path} cannot be split at {separator!r} from its first line on; repair it.")
    names = [name.strip() for name in head[0]]
    _check_title(sample, [separator] if how.separator else [separator, *SEPARATORS], path)
    how = replace(how, separator=separator, decimal=how.decimal or _decimal(head[1:], separator, path))
    rows = _rows(data, how, 1 if hint else 0, len(names), path)
    next(rows)  # the names
    return names, rows, how


def _rows(data: bytes, how: Written, skipped: int, width: int, path: Path) -> Iterator[list[str]]:
    with io.TextIOWrapper(io.BytesIO(data), how.encoding, newline="") as file:
        for _ in range(skipped):
            file.readline()
        reader = _reader(file, how.separator or ",")
        try:
            for row in reader:
                if not row:
                    continue
                if len(row) != width:
                    raise SourceError(
                        f"{path}, line {reader.line_num + skipped} has {len(row)} values, but the first line has "
                        f"{width} names; repair that line, or give the separator where {how.separator!r} is not the "
                        'one (a value with a separator in it is written in quotes: "1,5").'
                    )
                yield row
        except csv.Error as error:
            raise SourceError(f"{path}, line {reader.line_num + skipped}: {first_line(error)}.") from None
        except UnicodeError as error:
            raise _not_in(how, path, error) from None


def _not_in(how: Written, path: Path, error: UnicodeError) -> SourceError:
    encoding = str(how.encoding).removesuffix("-sig")
    return SourceError(f"{path} is no text in the encoding {encoding!r} ({first_line(error)}); give another.")


def _reader(lines: Iterable[str], separator: str) -> Any:
    return csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=separator != " ")


def _split(lines: list[str], separator: str) -> list[list[str]]:
    """The rows of a sample, up to what cannot be split."""
    rows = []
    with contextlib.suppress(csv.Error):
        for row in _reader(lines, separator):
            rows += [row] if row else []
    return rows


def _check_title(sample: list[str], marks: Sequence[str], path: Path) -> None:
    """Refuse lines above the names: the first has fewer values than most, and the first of these holds names."""
    for mark in marks:
        rows = [[cell.strip() for cell in row] for row in _split(sample, mark)] or [[]]
        width, count = Counter(map(len, rows)).most_common(1)[0]
        if len(rows[0]) == width > 1 and any(rows[0][1:]):
            return
        names = next((row for row in rows[1:] if len(row) == width and any(row[1:])), [])
        if width > 1 and 2 * count > len(rows) and names and not any(map(_is_number, names)):
            raise SourceError(
                f"{path}: its first line is {short(sample[0].strip())}, but most lines have {width} values; remove "
                "what stands above the line of names."
            )


def _separator(sample: list[str], path: Path) -> str:
    """Which of the usual ones splits the names, and most rows into as many values; a comma where none does."""
    fits: dict[str, float] = {}
    for mark in SEPARATORS:
        widths = [len(row) for row in _split(sample, mark)]
        if widths and widths[0] > 1:
            fits[mark] = widths.count(widths[0]) / len(widths)
    best = [mark for mark, share in fits.items() if share == max(fits.values())]
    if len(best) > 1:
        raise SourceError(
            f"{path} may be separated by {' or by '.join(SEPARATORS[mark] for mark in best)}; give separator, for "
            f"instance {best[-1]!r}."
        )
    return best[0] if best else ","


def _decimal(rows: list[list[str]], separator: str, path: Path) -> str:
    """A comma where numbers have commas and none a point; in a file separated by commas it must be given."""
    if separator == ",":
        return "."
    cells = [cell.strip() for row in rows for cell in row]
    commas = [cell for cell in cells if re.fullmatch(r"[+-]?\d*,\d+([eE][+-]?\d+)?", cell, re.ASCII)]
    if not commas:
        return "."
    points = [cell for cell in cells if re.fullmatch(r"[+-]?\d*\.\d+([eE][+-]?\d+)?", cell, re.ASCII)]
    thousands = all(re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", cell) for cell in commas)
    if points or thousands:
        other = f" and {short(points[0])}" if points else ", which may be a decimal comma or one that parts thousands"
        raise SourceError(f"{path} holds {short(commas[0])}{other}; write all numbers alike, or give decimal.")
    return ","


def check_names(names: list[str], chosen: Sequence[str] | None, path: Path) -> None:
    """Raise `SourceError` for names that are none: two alike, empty ones that would be used, a row of numbers."""
    if chosen is None and _are_numbers(names):
        raise SourceError(
            f"{path} has no names: its first line holds the numbers {', '.join(map(short, names[:3]))}"
            f"{', ...' if len(names) > 3 else ''}; write a first line of names, or list these in columns if they are."
        )
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise SourceError(f"{path} has two columns called {short(twice[0])}; rename one of them.")
    if chosen is None and "" in names:
        raise SourceError(
            f"{path}: column {names.index('') + 1} has no name in the first line (a number of each row, or a "
            "separator at the end of each line?); name it, remove it, or list the columns to read in columns."
        )


def _is_number(text: str) -> bool:
    """With either decimal mark."""
    return NUMBER.fullmatch(text.replace(",", ".")) is not None


def _are_numbers(names: list[str]) -> bool:
    """Whether names look like a row of values; the numbers 0, 1, 2, ... or 1, 2, 3, ... are names."""
    if not all(map(_is_number, names)):
        return False
    count = len(names)
    return names not in ([str(i) for i in range(count)], [str(i) for i in range(1, count + 1)]) or count == 1
