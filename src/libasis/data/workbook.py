"""The sheet of an Excel workbook, as text of separated values: what reads those reads it."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from pathlib import Path
from typing import Any

from ..errors import SourceError, first_line, optional, short
from ..files import memory, open_regular, unpacked

FORMULAS = {
    re.compile(rb'<(?:\w+:)?c\b[^>]*\bt="e"'): "holds an error of a formula, such as #DIV/0!; repair or remove it",
    re.compile(
        rb"<(?:\w+:)?f\b[^>]*(?:/>|>[^<]*</(?:\w+:)?f>)\s*(?:<(?:\w+:)?v\s*(?:/>|></(?:\w+:)?v>))?\s*</(?:\w+:)?c>"
    ): "holds a formula without its value; open the workbook in Excel or LibreOffice and save it",
}
LONGEST = 10_000
"""Bytes of a formula, and its cell's name before it."""


def sheet_of(path: Path) -> tuple[bytes, str]:
    """The one sheet with cells as UTF-8 text, separated by commas, and its name. No formula is computed, no macro run.

    Raises:
        SourceError: the file is no workbook, is too large, or has no sheet or several with cells.
        OptionError: python-calamine is missing.
    """
    calamine = optional("python_calamine", "data", f"Reading {path}")
    with open_regular(path, memory() // 4, refusal=SourceError) as file:
        content = file.read()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size, most = sum(member.file_size for member in archive.infolist()), unpacked(len(content))
            if size > most:
                raise SourceError(f"{path} unpacks to {size:,} bytes, but at most {most:,} are read of it; split it.")
            _check_formulas(archive, path)
        workbook = calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
        sheets = {name: workbook.get_sheet_by_name(name).to_python() for name in workbook.sheet_names}
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(
            f"{path} cannot be read as an Excel workbook: {first_line(error).rstrip('.')}; save it anew."
        ) from error
    found = {name: rows for name, rows in sheets.items() if any(cell != "" for row in rows for cell in row)}
    if len(found) != 1:
        which = (
            f"has cells in several sheets ({', '.join(short(name) for name in found)})"
            if found
            else "has no sheet with cells"
        )
        raise SourceError(f"{path} {which}; give a workbook with one sheet: a row of names, and the values under it.")
    ((name, rows),) = found.items()
    text = io.StringIO()
    csv.writer(text).writerows([_written(cell) for cell in row] for row in _filled(rows))
    return text.getvalue().encode(), name


def _check_formulas(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse cells that only look empty: errors of formulas, and formulas whose value was never written."""
    for name in archive.namelist():
        if name.startswith("xl/worksheets/") and name.endswith(".xml"):
            text = archive.read(name)
            for pattern, told in FORMULAS.items():
                if found := pattern.search(text):
                    cell = re.findall(rb'\br="([A-Z]+[0-9]+)"', text[: found.end()][-LONGEST:])
                    where = f"cell {cell[-1].decode()}" if cell else "a cell"
                    raise SourceError(f"{path}: {where} {told}.")


def _filled(rows: list[list[Any]]) -> list[list[Any]]:
    """Without rows and columns at the end, or columns at the start, that have no cell at all."""
    while rows and all(cell == "" for cell in rows[-1]):
        rows = rows[:-1]
    used = [i for row in rows for i, cell in enumerate(row) if cell != ""]
    return [row[min(used) : max(used) + 1] for row in rows]


def _written(cell: Any) -> str:
    """Numbers with all their digits, whole ones without a point; times as ISO writes them."""
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else repr(cell)
    return cell.isoformat(sep=" ") if hasattr(cell, "hour") and hasattr(cell, "year") else str(cell)
