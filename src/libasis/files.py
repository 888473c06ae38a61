"""Reading and writing files: none is ever seen half-written, none but a regular one is opened or replaced."""

from __future__ import annotations

import errno
import functools
import json
import os
import secrets
import stat
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

from .errors import LibasisError, StoreError, did_you_mean, short

LEFTOVER = ".libasis-"
"""How the names begin under which files are written before they are renamed."""
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_AT_ONCE = 2**26
_DIGITS = 40
_PARTS = 2**21
DESCRIPTION = 2**26
"""The most bytes of a file that only describes something, such as the settings of a model."""


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
        return f"{short(path, 200)}: this symbolic link leads to no file; give a file that exists."
    try:
        hint = did_you_mean(path.name, os.listdir(path.parent))
    except OSError:
        hint = ""
    where = "" if path.is_absolute() else f" in {Path.cwd()}"
    return f"{short(path, 200)}: there is no such file{where}{hint}; give a file that exists."


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
    with suppress(OSError, ValueError):
        has = min(has, int(Path("/sys/fs/cgroup/memory.max").read_text("ascii")))
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
