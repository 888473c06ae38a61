"""The folder of a result: ``manifest.json`` and ``tensors.safetensors``, replaced so that a good copy is always there.

The manifest decides. It begins with the format, its version, the checksum of the manifest itself (over its bytes, with
zeros in this place), the kind, and the checksum of the tensors. New tensors are first written beside the old ones,
under a name made of their checksum; then the manifest is renamed into its place, and with that the new result holds;
then the tensors get their own name. Whoever reads finds the tensors by the manifest's checksum, under either name. What
a killed process left is finished or removed by the next save.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import StoreError
from ..files import LEFTOVER, alone, check_room, open_regular, permissions_of, read_bytes, sync, told, write_bytes

FORMAT, VERSION = "libasis", 2
MANIFEST, TENSORS = "manifest.json", "tensors.safetensors"
LARGEST = 2**28
"""Bytes of a manifest."""
_UNKNOWN = "0" * 64
_HEAD = re.compile(
    rb'\{\s*"format": "libasis",\s*"format_version": (\d{1,9}),(?:\s*"sha256": "([0-9a-f]{64})",'
    rb'\s*"kind": "([^"\\]{1,100})",\s*"tensors_sha256": (?:null|"([0-9a-f]{64})"),)?'
)
_OURS = re.compile(re.escape(LEFTOVER) + r"(?:[0-9a-f]{16}\.tmp|[0-9a-f]{64}\.safetensors)")


@dataclass(frozen=True)
class ManifestHead:
    """The beginning of a manifest.

    Attributes:
        version: of the format.
        kind: of the result.
        tensors: checksum of the tensors; None without any.
        sha256: checksum of the manifest; ``""``, with no kind, where the version is another or the beginning damaged.
        place: where that stands.
    """

    version: int
    kind: str
    tensors: str | None
    sha256: str
    place: slice

    @classmethod
    def of(cls, manifest: bytes) -> ManifestHead | None:
        """That of a manifest; None if libasis did not write it."""
        found = _HEAD.match(manifest)
        if found is None:
            return None
        sha256, kind, tensors = ((part or b"").decode("utf-8", "replace") for part in found.groups()[1:])
        return cls(int(found[1]), kind, tensors or None, sha256, slice(*found.span(2)))

    def holds(self, manifest: bytes) -> bool:
        """Whether the manifest's checksum is right."""
        blank = manifest[: self.place.start] + _UNKNOWN.encode() + manifest[self.place.stop :]
        return hashlib.sha256(blank).hexdigest() == self.sha256


def head_of(kind: str, tensors: bytes | None) -> dict[str, object]:
    """The first entries of a manifest, to be completed by `sealed`."""
    digest = None if tensors is None else hashlib.sha256(tensors).hexdigest()
    return {"format": FORMAT, "format_version": VERSION, "sha256": _UNKNOWN, "kind": kind, "tensors_sha256": digest}


def sealed(manifest: str) -> bytes:
    """The text of a manifest with its checksum."""
    data = manifest.encode("utf-8")
    return data.replace(_UNKNOWN.encode(), hashlib.sha256(data).hexdigest().encode(), 1)


def check_target(path: str | Path, *, force: bool = False) -> None:
    """Raise where a result would not be written: to be asked before long work.

    Only a folder that is empty, or with ``force`` one that holds a result, is written to.

    Raises:
        StoreError: the path is a link or a file, holds other files and no result, or a result and ``force`` is false;
            or it cannot be written to, or its disk is full.
    """
    with told(Path(path)):
        _target(Path(path), force)
    check_room(Path(path))


def _target(path: Path, force: bool) -> ManifestHead | None:
    """The head of the result that will be replaced."""
    if path.is_symlink():
        raise StoreError(f"{path} is a symbolic link; give the folder that it leads to.")
    if not path.exists():
        return None
    if not path.is_dir():
        raise StoreError(f"{path} is a file, so it is not replaced; a result is a folder, so choose another path.")
    names = [name for name in os.listdir(path) if not _OURS.fullmatch(name)]
    if MANIFEST not in names:
        if names:
            raise StoreError(f"{path} exists and is not a saved libasis result, so it is not replaced; choose another.")
        return None
    permissions_of(path / MANIFEST)
    head = _head(path)
    if head is None:
        raise StoreError(f"{path} exists and is not a saved libasis result, so it is not replaced; choose another.")
    if not force:
        raise StoreError(f"{path} exists already; choose another directory or say force=True to replace it.")
    if permissions_of(path / TENSORS) is not None and head.sha256 and head.tensors is None:
        raise StoreError(
            f"{path / TENSORS} was not written by libasis, so it is not replaced; choose another directory."
        )
    return head


def _head(path: Path) -> ManifestHead | None:
    """That of the manifest in a folder."""
    with open_regular(path / MANIFEST) as file:
        return ManifestHead.of(file.read(1000))


def write(path: Path, manifest: bytes, tensors: bytes | None, *, force: bool) -> None:
    """Write a result to its folder, or replace the one that is there; other files stay.

    Raises:
        StoreError: see `check_target`; or the disk is full, the folder may not be written to, or another process does.
    """
    with told(path):
        _target(path, force)
        with alone(path):
            _replace(path, _target(path, force), manifest, tensors)


def tidy(path: Path) -> None:
    """Finish or remove what a killed process left in a result's folder.

    Raises:
        StoreError: another process saves into it, or it cannot be written to.
    """
    if path.is_dir() and not path.is_symlink() and any(_OURS.fullmatch(name) for name in os.listdir(path)):
        with told(path), alone(path):
            _tidy(path, _head(path) if (path / MANIFEST).exists() else None)


def write_file(path: Path, manifest: bytes, *, force: bool) -> None:
    """Write a result without tensors as one file, or replace the one that is there.

    Raises:
        StoreError: there is something else, or a result and ``force`` is false; or it cannot be written.
    """
    with told(path):
        if permissions_of(path) is not None:
            with open_regular(path) as file:
                if ManifestHead.of(file.read(1000)) is None:
                    raise StoreError(
                        f"{path} exists and was not written by libasis, so it is not replaced; choose another."
                    )
            if not force:
                raise StoreError(f"{path} exists already; choose another name or say force=True to replace it.")
    write_bytes(path, manifest)


def _replace(path: Path, old: ManifestHead | None, manifest: bytes, tensors: bytes | None) -> None:
    file, new = path / TENSORS, ManifestHead.of(manifest)
    _tidy(path, old)
    try:
        if new is not None and new.tensors is not None and tensors is not None:
            write_bytes(_beside(path, new.tensors), tensors)
            if (permissions := permissions_of(file)) is not None:
                os.chmod(_beside(path, new.tensors), permissions)
        elif old is not None and file.exists():
            os.replace(file, _beside(path, old.tensors or _UNKNOWN))
        write_bytes(path / MANIFEST, manifest)
        _tidy(path, new)
        sync(path)
    except BaseException:
        with suppress(OSError, StoreError):
            _tidy(path, _head(path) if (path / MANIFEST).exists() else None)
        raise


def _beside(path: Path, sha256: str) -> Path:
    """Where tensors stand for as long as those of another manifest have their name."""
    return path / f"{LEFTOVER}{sha256}.safetensors"


def _tidy(path: Path, head: ManifestHead | None) -> None:
    """Give the tensors of the manifest that holds their name, and remove what else stands beside it."""
    if head is not None and head.tensors is not None and (beside := _beside(path, head.tensors)).exists():
        os.replace(beside, path / TENSORS)
    for name in os.listdir(path):
        if _OURS.fullmatch(name):
            (path / name).unlink(missing_ok=True)


def read(path: Path) -> tuple[ManifestHead, bytes, Path | None]:
    """The manifest of the result in a folder, and its file of tensors; the checksums of both are right.

    Raises:
        StoreError: there is no result, or it is damaged, foreign or of another version.
    """
    head, manifest = _manifest(path)
    if head.tensors is None:
        return head, manifest, None
    files = [file for file in (path / TENSORS, _beside(path, head.tensors)) if file.exists()]
    if not files:
        raise damaged(path, f"{TENSORS} is missing")
    for file in files:
        if _digest(file) == head.tensors:
            return head, manifest, file
    raise damaged(path / TENSORS, "its checksum differs from the manifest's")


def _manifest(path: Path) -> tuple[ManifestHead, bytes]:
    file = path if path.is_file() else path / MANIFEST
    if not path.exists():
        raise StoreError(f"{path} does not exist; give the directory saved to.")
    if not file.exists():
        raise StoreError(f"{path} holds no saved libasis result (no {MANIFEST} in it); give the directory saved to.")
    manifest = read_bytes(file, LARGEST)
    head = ManifestHead.of(manifest)
    if head is None:
        what = "is a file, but a result is a folder" if file == path else "was not written by libasis"
        raise StoreError(f"{file} {what}; give a directory that save wrote.")
    if head.version > VERSION:
        raise StoreError(
            f"{path} has format version {head.version}, but this libasis reads version {VERSION}; upgrade libasis."
        )
    if head.version < VERSION:
        raise StoreError(
            f"{path} has format version {head.version}, which this libasis no longer reads; make the result again."
        )
    if not head.holds(manifest):
        raise damaged(file, "its checksum is wrong")
    return head, manifest


def digest_of(path: str | Path) -> str:
    """A checksum of the numbers of a saved result: of its tensors, or where it has none of all of it.

    Raises:
        StoreError: there is no result, or its manifest is damaged.
    """
    head = _manifest(Path(path))[0]
    return head.tensors or head.sha256


def _digest(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damaged(path: Path, what: str) -> StoreError:
    """The error that says so."""
    return StoreError(f"{path} is damaged: {what}; save the result again.")
