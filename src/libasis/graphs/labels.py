"""Names that people give to features, and groups of features: read from a file, checked, written back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..basis import Basis
from ..errors import LabelError, StoreError
from ..files import parse_json, read_bytes, write_text
from ..types import Plain

FORMAT, VERSION = "libasis-labels", 1
MAX_NAME, MAX_NOTE, MAX_FILE = 1000, 100_000, 2**26
"""Characters of a label or of a module's name, characters of a note, bytes of a file."""
KEYS = ("format", "version", "labels", "modules")


@dataclass(frozen=True)
class Label:
    """What people say a feature is.

    Attributes:
        label: a short name.
        note: whatever else there is to say, such as the reason.
    """

    label: str
    note: str = ""


Labels = dict[str, Label]
Modules = dict[str, str]


def read_labels(source: str | Path | Mapping[str, Any], basis: Basis) -> tuple[Labels | None, Modules | None]:
    """Labels and modules of a file or mapping, by the id ``"site:index"``; None for what it does not speak of.

    Args:
        source: a file in the format of `labels_to_plain`; the same as a mapping; or a mapping from ids to a `Label`, a
            text, or ``{"label": ..., "note": ...}``.
        basis: whose features may be named.

    Raises:
        LabelError: the file cannot be read or is of another format, an id is unknown, a text has the wrong type or is
            absurdly long.
    """
    if isinstance(source, Mapping):
        where, plain = "The labels", dict(source)
        plain = plain if any(key in plain for key in KEYS) else {"labels": plain}
    elif isinstance(source, (str, Path)):
        where, plain = str(source), _from_file(Path(source))
    else:
        raise LabelError(
            f"Labels are of type {type(source).__name__}; give a file or a mapping from features to texts."
        )
    _check_form(plain, where)
    labels = _table(plain, "labels", basis, where)
    modules = _table(plain, "modules", basis, where)
    return (
        None if labels is None else {key: _label(value, key, where) for key, value in labels.items()},
        None if modules is None else {key: _text(value, key, "module", where) for key, value in modules.items()},
    )


def labels_to_plain(labels: Mapping[str, Label], modules: Mapping[str, str]) -> Plain:
    """Labels and modules as JSON-serialisable data."""
    named = {key: asdict(label) for key, label in labels.items()}
    return {"format": FORMAT, "version": VERSION, "labels": named, "modules": dict(modules)}


def write_labels(path: str | Path, labels: Mapping[str, Label], modules: Mapping[str, str]) -> Path:
    """Write labels and modules to a file that `read_labels` reads; only an older file of labels is replaced."""
    text = json.dumps(labels_to_plain(labels, modules), ensure_ascii=False, indent=1)
    return write_text(path, text, f'"format": "{FORMAT}"')


def _from_file(path: Path) -> Plain:
    try:
        plain = parse_json(read_bytes(path, MAX_FILE), path)
    except StoreError as error:
        raise LabelError(f"{str(error).rstrip('.')}; give the file of labels that was saved.") from None
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise LabelError(f'{path} holds no labels: its "format" is not "{FORMAT}"; give the file that was saved.')
    if "version" not in plain:
        raise LabelError(f'{path} lacks "version"; it must be {VERSION}.')
    return plain


def _check_form(plain: Plain, where: str) -> None:
    if plain.get("format", FORMAT) != FORMAT:
        raise LabelError(f'{where}: "format" is {_short(plain["format"])}, but it must be "{FORMAT}".')
    version = plain.get("version", VERSION)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise LabelError(f'{where}: "version" is {_short(version)}, but it must be {VERSION}.')
    if version > VERSION:
        raise LabelError(f"{where} has version {version}, but this libasis reads up to {VERSION}; upgrade libasis.")
    unknown = [key for key in plain if key not in KEYS]
    if unknown:
        raise LabelError(f"{where} has the unknown key {_short(unknown[0])}; the keys allowed are {list(KEYS)}.")


def _table(plain: Plain, key: str, basis: Basis, where: str) -> Plain | None:
    """One of the two tables, with ids of the basis only."""
    if key not in plain:
        return None
    table = plain[key]
    if not isinstance(table, Mapping):
        raise LabelError(f'{where}: "{key}" is {_short(table)}, but it must map features "site:index" to texts.')
    sizes = {site.name: site.k for site in basis}
    unknown = [name for name in table if not _known(name, sizes)]
    if unknown:
        more = f" and {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
        sites = ", ".join(f"{name}:0 to {name}:{k - 1}" for name, k in sizes.items())
        raise LabelError(
            f'{where}: "{key}" names the feature {_short(unknown[0])}{more}, but the graph has the features '
            f"{sites[:MAX_NAME]}; give the labels of this graph."
        )
    return dict(table)


def _known(name: Any, sizes: Mapping[str, int]) -> bool:
    if not isinstance(name, str):
        return False
    site, _, index = name.rpartition(":")
    number = index.isascii() and index.isdecimal() and len(index) < 10
    return number and index == str(int(index)) and int(index) < sizes.get(site, 0)


def _label(value: Any, key: str, where: str) -> Label:
    if isinstance(value, Label):
        value = asdict(value)
    if isinstance(value, str):
        value = {"label": value}
    if not isinstance(value, Mapping) or not set(value) <= {"label", "note"}:
        raise LabelError(
            f'{where}: the label of {key!r} is {_short(value)}, but it must be a text or {{"label": "...", "note": '
            '"..."}.'
        )
    return Label(_text(value.get("label", ""), key, "label", where), _text(value.get("note", ""), key, "note", where))


def _text(value: Any, key: str, kind: str, where: str) -> str:
    limit = MAX_NOTE if kind == "note" else MAX_NAME
    if not isinstance(value, str):
        raise LabelError(f"{where}: the {kind} of {key!r} is {_short(value)}, but it must be a text.")
    if len(value) > limit:
        raise LabelError(f"{where}: the {kind} of {key!r} has {len(value):,} characters, but {limit:,} are the most.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise LabelError(f"{where}: the {kind} of {key!r} holds half a character, which no file can store.") from None
    return value


def _short(value: Any) -> str:
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
