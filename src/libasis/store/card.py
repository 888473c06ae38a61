"""Folders to be shared, as Hugging Face's hub has them: a result and a README that says what it is; no network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Self

from ..arguments import typed
from ..errors import StoreError, printable, short
from ..files import read_bytes, write_bytes
from ..provenance import readout_of
from ..types import Plain
from .result import Stored, load

CARD = "README.md"
BEGIN, END = "<!-- libasis: written by save_pretrained, from here -->", "<!-- libasis: to here -->"
_HUB = re.compile(r"[\w.-]+/[\w.-]+")


class Shared(Stored):
    """A result that is shared as a folder."""

    @typed
    def save_pretrained(self, path: str | Path, *, force: bool = False) -> Path:
        """Write a folder to be shared: what `save` writes, and a README.md that the hub shows as the model card.

        The card says what was fitted (model, sites, method, data, versions). In a README.md that is there only this
        part is written anew; words of your own, and one without such a part, stay. The licence is yours to add.

        Args:
            path: the folder.
            force: replace the result that is there.

        Raises:
            StoreError: see `save`.
        """
        path = self.save(path, force=force)
        card, text = path / CARD, _facts(self)
        if not card.exists():
            write_bytes(card, _new(path.resolve().name, self.stored_as, text).encode())
            return path
        head, begin, rest = read_bytes(card).decode("utf-8", "surrogateescape").partition(BEGIN)
        if begin and END in rest:
            write_bytes(card, f"{head}{text}{rest.partition(END)[2]}".encode("utf-8", "surrogateescape"))
        return path

    @classmethod
    @typed
    def from_pretrained(cls, path: str | Path) -> Self:
        """Read what `save_pretrained` or `save` wrote, from a folder on this machine; nothing is downloaded.

        Raises:
            StoreError: there is no such result, or it is of another kind, damaged or of another version.
        """
        if not Path(path).exists() and _HUB.fullmatch(str(path)):
            raise StoreError(
                f"There is no folder {short(path)}, and libasis downloads nothing; give the folder that "
                f"huggingface_hub.snapshot_download({str(path)!r}) returns."
            )
        return load(path, cls)


def _new(name: str, kind: str, text: str) -> str:
    tags = "\n".join(f"- {tag}" for tag in ("libasis", "interpretability", kind))
    return (
        f"---\nlibrary_name: libasis\ntags:\n{tags}\n---\n\n# {printable(name)}\n\n{text}\n\n"
        "No licence is stated. Whoever shares this folder adds `license:` to the head of this file.\n"
    )


def _facts(result: Stored) -> str:
    info = getattr(result, "info", {})
    rows = "\n".join(f"| {name} | {_cell(value)} |" for name, value in _rows(info) if value)
    kind = type(result).__name__
    return (
        f"{BEGIN}\n```text\n{repr(result).replace('`', chr(39))}\n```\n\n| | |\n|---|---|\n{rows}\n\n"
        f'```python\nimport libasis\n\nresult = libasis.{kind}.from_pretrained("FOLDER")\n```\n{END}'
    )


def _rows(info: Plain) -> list[tuple[str, Any]]:
    model, data = info.get("traced") or {}, info.get("data") or {}
    known = [f"{key} {value}" for key, value in (info.get("versions") or {}).items()]
    return [
        ("Model", model.get("model")),
        ("SHA-256 of its weights", model.get("fingerprint")),
        ("Sites", ", ".join(model.get("sites") or ())),
        ("Basis", info.get("method")),
        ("Readout", readout_of(info.get("fit") or info)),
        ("Edges", info.get("interactions")),
        ("Data", data.get("source")),
        ("Samples", data.get("samples")),
        ("SHA-256 of the data", data.get("digest")),
        ("Seed", str(info.get("seed", ""))),
        ("Versions", ", ".join(known)),
    ]


def _cell(value: Any) -> str:
    """One cell of a table in Markdown; what could end the cell or be markup is shown as it is."""
    return re.sub(r"([\\|<>`*_\[\]])", r"\\\1", printable(str(value)))
