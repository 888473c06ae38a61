"""Reading and writing files: none is ever seen half-written, none but a regular one is opened or replaced."""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

from .errors import StoreError

LEFTOVER = ".libasis-"
"""How the names begin under which files are written before they are renamed."""
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_AT_ONCE = 2**26
_DIGITS = 40


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write ``data`` under another name in the same folder, to the disk, then rename; folders are made as needed.

    A file that is replaced keeps its permissions.

    Raises:
        StoreError: the path is a link, a folder or a device, or cannot be written.
    """
    path = Path(path)
    try:
        permissions = permissions_of(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{LEFTOVER}{secrets.token_hex(8)}.tmp")
        try:
            _fill(temporary, data, permissions)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}.") from error
    return path


def write_text(path: str | Path, text: str) -> Path:
    """`write_bytes` of UTF-8 text."""
    return write_bytes(path, text.encode("utf-8"))


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


def _fill(path: Path, data: bytes, permissions: int | None) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666)
    try:
        if permissions is not None:
            os.chmod(path, permissions)
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left[:_AT_ONCE]) :]
        os.fsync(handle)
    finally:
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


def open_regular(path: str | Path) -> BufferedReader:
    """A regular file, opened for reading; a pipe or a device is never waited for.

    Raises:
        StoreError: the file is missing, no regular file, or cannot be read.
    """
    try:
        file = open(os.open(path, os.O_RDONLY | _NO_WAIT), "rb")  # noqa: SIM115 - the caller closes it
        if not stat.S_ISREG(mode := os.fstat(file.fileno()).st_mode):
            file.close()
            raise StoreError(f"{path} is {_kind(mode)}; give a file.")
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}.") from error
    return file


def read_bytes(path: str | Path, most: int) -> bytes:
    """The bytes of a regular file of at most ``most`` bytes.

    Raises:
        StoreError: see `open_regular`; or the file is larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise StoreError(f"{path} has {size:,} bytes, but at most {most:,} are read.")
        return file.read(size)


def parse_json(data: bytes, where: str | Path) -> Any:
    """What the JSON says.

    Raises:
        StoreError: it is not JSON, too deep, or has numbers that no computer takes (NaN, thousands of digits).
    """
    try:
        return json.loads(data.decode("utf-8"), parse_int=_whole, parse_constant=_refuse)
    except RecursionError:
        raise StoreError(f"{where} is not JSON that libasis reads: it is nested too deeply.") from None
    except ValueError as error:
        raise StoreError(f"{where} is not JSON ({_first(str(error))}).") from None


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a whole number of {len(digits):,} digits")
    return int(digits)


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _first(text: str) -> str:
    return text if len(text) < 200 else text[:197] + "..."
