"""Reading and writing files: none is ever seen half-written, and none is replaced that libasis did not write."""

from __future__ import annotations

import csv
import errno
import functools
import json
import os
import re
import secrets
import shutil
import stat
import tomllib
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from io import BufferedReader, StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .errors import LibasisError, StoreError, did_you_mean, short

LEFTOVER = ".libasis-"
"""How the names begin under which files are written before they are renamed."""
_TEMPORARY = re.compile(re.escape(LEFTOVER) + r"[0-9a-z_]{8,16}\.tmp")
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_AT_ONCE = 2**26
_DIGITS = 40
_PARTS = 2**21
DESCRIPTION = 2**26
"""The most bytes of a file that only describes something, such as the settings of a model."""
FORMULA = re.compile(r"[\s\u200b-\u200f\u2060\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
"""How texts begin that a spreadsheet takes for a formula; it takes the wide characters for one too."""
_HEAD, _ROOM = 2**12, 2**16
"""Bytes in which a mark must stand, and bytes that are written to try a disk."""


@functools.cache
def sentences(package: str) -> dict[str, dict[str, str]]:
    """What a room of the package says, by language: its ``sentences.toml``, read once."""
    return tomllib.loads(resources.files(package).joinpath("sentences.toml").read_text(encoding="utf-8"))


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write ``data`` under another name in the same folder, to the disk, then rename; folders are made as needed.

    A file that is replaced keeps its permissions; whose it is, is for the caller to know.

    Raises:
        StoreError: the path is a link, a folder or a device, or cannot be written.
    """
    path = Path(path)
    with told(path):
        permissions = permissions_of(path)
        make_folder(path.parent)
        sweep(path.parent)
        with _filled(path.parent, data, permissions) as temporary:
            os.replace(temporary, path)
        sync(path.parent)
    return path


def write_text(path: str | Path, text: str, mark: str) -> Path:
    """`write_bytes` of UTF-8 text with the mark by which libasis knows its own; only such a file is replaced.

    Raises:
        StoreError: see `check_file`.
    """
    _check_mine(Path(path), mark)
    return write_bytes(path, text.encode("utf-8"))


def csv_mark(heads: Sequence[str]) -> str:
    """How the files of `write_csv` begin."""
    return ",".join(heads) + "\r\n"


def write_csv(path: str | Path, heads: Sequence[str], rows: Iterable[Iterable[Any]], mark: str | None = None) -> Path:
    """Rows of plain values; lists and tables in a cell are JSON, and no text is a formula of a spreadsheet.

    Raises:
        StoreError: see `check_file`, with the mark, by default `csv_mark`.
    """
    out = StringIO()
    writer = csv.writer(out)  # lines end as RFC 4180 says: with another ending a lone "\r" in a text is not quoted
    writer.writerow(heads)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return write_text(path, out.getvalue(), mark or csv_mark(heads))


def _cell(value: Any) -> Any:
    """The value; a text that a spreadsheet would compute gets an apostrophe in front of it."""
    value = json.dumps(value) if isinstance(value, list | tuple | dict) else value
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def check_file(path: str | Path, mark: str) -> None:
    """Raise where `write_text` would: to be asked before long work.

    Raises:
        StoreError: there is a link, a folder, a device, or a file without the mark among its first 4 KiB; or the folder
            cannot be written to, or its disk is full.
    """
    _check_mine(Path(path), mark)
    check_room(Path(path).parent)


def _check_mine(path: Path, mark: str) -> None:
    with told(path):
        if permissions_of(path) is None:
            return
        with open_regular(path) as file:
            mine = mark.encode() in file.read(_HEAD)
    if not mine:
        raise StoreError(f"{path} exists and was not written by libasis, so it is not replaced; choose another name.")


def check_room(folder: Path) -> None:
    """Write a little where a folder is or will be, and remove it.

    Raises:
        StoreError: it cannot be written.
    """
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    with told(folder), _filled(there, bytes(_ROOM), None):
        pass


def make_folder(folder: Path) -> list[Path]:
    """Make a folder and those above it, and bring their names to the disk; those that were missing, innermost first."""
    if folder.is_dir():
        return []
    above = make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)
    return [folder, *above]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """The folder, made if need be, for this process alone; the lock ends with the process.

    What a killed process left in it is removed, and so is, in the end, a folder made for it that holds nothing.

    Raises:
        StoreError: another process has it, or it cannot be made.
    """
    made: list[Path] = []
    handle = None
    try:
        with told(folder):
            made = make_folder(folder)
            handle = None if os.name == "nt" else os.open(folder, os.O_RDONLY)
        if handle is not None and _locked(handle) is False:
            raise StoreError(
                f"Another process is writing to {folder}; wait until it is done, or choose another folder."
            )
        with told(folder):
            sweep(folder)
        yield
    finally:
        with suppress(OSError):  # something is in it
            for one in made:
                one.rmdir()
        if handle is not None:
            os.close(handle)


def sweep(folder: Path) -> None:
    """Remove what killed processes left of files that they were writing, and of `scratch` folders."""
    for path in (folder / name for name in os.listdir(folder) if _TEMPORARY.fullmatch(name)):
        with suppress(OSError):
            handle = os.open(path, os.O_RDONLY | _NO_LINK | _NO_WAIT)
            try:
                if _locked(handle):
                    shutil.rmtree(path) if path.is_dir() else os.unlink(path)
            finally:
                os.close(handle)


def scratch(folder: str | Path) -> TemporaryDirectory[str]:
    """A new folder in another one, until it is given up; where the process is killed, until the next `sweep`."""
    sweep(Path(folder))
    found = TemporaryDirectory(prefix=LEFTOVER, suffix=".tmp", dir=folder, ignore_cleanup_errors=True)
    if os.name != "nt":
        handle = os.open(found.name, os.O_RDONLY)
        weakref.finalize(found, os.close, handle)
        _locked(handle)
    return found


def _locked(handle: int) -> bool | None:
    """Whether the lock of a file or folder is this process's now; None where there are no locks."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


@contextmanager
def told(path: Path) -> Iterator[None]:
    """What the operating system refuses is told in a sentence."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}.") from error


def permissions_of(path: Path) -> int | None:
    """Those of the file that will be replaced; None where there is none.

    Raises:
        StoreError: the path is a link, a folder or a device.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise StoreError(f"{path} is {_kind(mode)}, which is not replaced; name a file.")
    return stat.S_IMODE(mode)


def _kind(mode: int) -> str:
    return "a symbolic link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "no regular file"


@contextmanager
def _filled(folder: Path, data: bytes, permissions: int | None) -> Iterator[Path]:
    """A new file with the data, on the disk; what is not renamed meanwhile is removed."""
    path = folder / f"{LEFTOVER}{secrets.token_hex(8)}.tmp"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666)
    try:
        _locked(handle)  # so that others see that it is no leftover
        if permissions is not None:
            os.chmod(path, permissions)
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left[:_AT_ONCE]) :]
        os.fsync(handle)
        if os.name == "nt":  # where open files cannot be renamed
            handle = os.close(handle)
        yield path
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)


def sync(folder: Path) -> None:
    """Bring renames in a folder to the disk, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # what file systems say that have no such call for folders
            raise
    finally:
        os.close(handle)


def open_regular(
    path: str | Path, most: int | None = None, *, refusal: type[LibasisError] = StoreError
) -> BufferedReader:
    """A regular file, opened for reading; a pipe or a device is never waited for. Every file of a user comes this way.

    Args:
        path: where it is.
        most: bytes that it may have; by default those of the machine's memory.
        refusal: what is raised.

    Raises:
        LibasisError: the file is missing, no regular file, cannot be read or is too large.
    """
    most = memory() if most is None else most
    try:
        file = open(os.open(path, os.O_RDONLY | _NO_WAIT), "rb")  # noqa: SIM115 - the caller closes it
    except FileNotFoundError:
        raise refusal(missing(path)) from None
    except (OSError, ValueError) as error:  # a null character in a path is a ValueError
        reason = (
            _kind(stat.S_IFSOCK) if getattr(error, "errno", 0) == errno.ENXIO else getattr(error, "strerror", error)
        )
        raise refusal(f"{path} cannot be read: {reason}.") from error
    state = os.fstat(file.fileno())
    if stat.S_ISREG(state.st_mode) and state.st_size <= most:
        return file
    file.close()
    if stat.S_ISREG(state.st_mode):
        raise refusal(f"{path} has {state.st_size:,} bytes, but at most {most:,} are read here.")
    raise refusal(f"{path} is {_kind(state.st_mode)}; give a file.")


def missing(path: str | Path) -> str:
    """That there is no such file, where it was looked for, and which one was perhaps meant."""
    path = Path(path)
    if os.path.islink(path):
        return f"{short(path, 200)}: this symbolic link leads to no file."
    try:
        hint = did_you_mean(path.name, os.listdir(path.parent))
    except OSError:
        hint = ""
    where = "" if path.is_absolute() else f" in {Path.cwd()}"
    return f"{short(path, 200)}: there is no such file{where}{hint}."


def read_bytes(path: str | Path, most: int | None = None, *, refusal: type[LibasisError] = StoreError) -> bytes:
    """The bytes of a regular file, as many as it had when it was opened.

    Raises:
        LibasisError: see `open_regular`.
    """
    with open_regular(path, most, refusal=refusal) as file:
        return file.read(os.fstat(file.fileno()).st_size)


@functools.cache
def memory() -> int:
    """Bytes of memory of this machine, or what this process may use of it; 2^34 where the system does not say."""
    try:
        has = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        has = 2**34
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):  # of control groups, version 2 and 1
        with suppress(OSError, ValueError):
            has = min(has, int(Path("/sys/fs/cgroup", limit).read_text("ascii")))
    with suppress(ImportError, OSError):
        import resource  # not everywhere

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        has = has if most == resource.RLIM_INFINITY else min(has, most)
    return has


def unpacked(packed: int) -> int:
    """The most bytes that so many packed ones may become: of what is large, a hundred times as many."""
    return min(memory() // 4, max(2**28, 100 * packed))


def parse_json(
    data: bytes | str, where: str | Path, *, finite: bool = True, refusal: type[LibasisError] = StoreError
) -> Any:
    """What the JSON says.

    Raises:
        LibasisError: it is not JSON, is too deep or of too many parts, or has numbers of many digits or, if ``finite``,
            NaN or Infinity.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        if text.count("[") + text.count("{") > _PARTS:
            raise ValueError("of so many parts that it describes nothing")
        return json.loads(text, parse_int=_whole, parse_constant=_refuse if finite else None)
    except RecursionError:
        raise refusal(f"{where} is not JSON that libasis reads: it is nested too deeply.") from None
    except ValueError as error:
        raise refusal(f"{where} is not JSON ({_first(str(error))}).") from None


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a whole number of {len(digits):,} digits")
    return int(digits)


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _first(text: str) -> str:
    return text if len(text) < 200 else text[:197] + "..."
