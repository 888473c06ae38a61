"""What every result can do, and the one way in which results are saved and loaded."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from ..arguments import typed
from ..errors import StoreError, optional, printable
from ..files import parse_json, write_text
from ..types import Plain
from . import folder
from .values import MisfitError, Tensors, all_finite, fit, from_plain, to_plain, without_tensors

if TYPE_CHECKING:
    import pandas

R = TypeVar("R", bound="Stored")
_CLASSES: dict[str, type[Stored]] = {}
_SHOWN = 12
_HALF = re.compile("[\ud800-\udfff]")


class Stored(ABC):
    """A result: a dataclass that is saved, loaded and shown as a table in the same way as every other.

    ``class Kind(Stored, kind="kind")`` makes it known to `load`. Its fields may hold texts, numbers, lists, tuples,
    mappings, tensors (dense or COO), NumPy arrays, other dataclasses, and plain data (`Plain`); the annotations of the
    fields decide what is read back.
    """

    stored_as: ClassVar[str]
    one_file: ClassVar[bool] = False
    """Whether it is saved as one file to be read by people, in place of a folder; such a result has no tensors."""

    def __init_subclass__(cls, kind: str | None = None, one_file: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.one_file = one_file
        if kind is not None:
            cls.stored_as = kind
            _CLASSES[kind] = cls

    @abstractmethod
    def rows(self) -> Iterable[Plain]:
        """What `to_dataframe` shows: one mapping from columns to plain values for each row."""

    def flaw(self) -> str | None:
        """What makes it no result of its kind, completing "The graph is damaged: "; None if it is one.

        Asked before it is saved and after it is loaded; types of fields are checked without it.
        """
        return None

    def loaded_from(self, path: Path) -> None:  # noqa: B027 - most results need not know
        """Told to a result that was read from a file or folder."""

    @typed
    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write to a folder (JSON and safetensors) that `load` and `libasis.load` read; whole or not at all.

        Args:
            path: the folder. Files in it that libasis did not write stay as they are.
            force: replace the result that is there.

        Raises:
            StoreError: there is a result and ``force`` is false, or something else; or it cannot be written.
        """
        return save(self, path, force=force)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            StoreError: there is no such result, or it is of another kind, damaged or of another version.
        """
        return load(path, cls)

    def to_dataframe(self) -> pandas.DataFrame:
        """The main numbers as a table, for pandas; needs the extra ``libasis[graph]``."""
        return frame_of(list(self.rows()))

    def to_plain(self) -> Plain:
        """As JSON-serialisable data; fields that hold tensors are left out, numbers that are not finite are texts."""
        out: Plain = {"format": f"libasis-{self.stored_as}"}
        for field in fields(self):  # type: ignore[arg-type]
            tensors: Tensors = {}
            plain = to_plain(getattr(self, field.name), field.name, tensors)
            if not tensors:
                out[field.name] = without_tensors(plain)
        return out

    def to_json(self, path: str | Path) -> Path:
        """Write `to_plain` to a file, for other programs; only an older one of this kind is replaced.

        Raises:
            StoreError: there is another file, or it cannot be written.
        """
        return write_text(path, _json(self.to_plain()), self.json_mark())

    @classmethod
    def json_mark(cls) -> str:
        """How the files of `to_json` begin."""
        return f'{{"format":"libasis-{cls.stored_as}"'


def frame_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> pandas.DataFrame:
    """Rows as a table of pandas.

    Raises:
        OptionError: pandas is missing.
    """
    return optional("pandas", "graph", "A table").DataFrame(rows, columns=columns)


def listed(head: str, rows: Sequence[str]) -> str:
    """A short text of a result: its head, and its rows below, as far as a few lines take them."""
    more = [f"  and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    return "\n".join([*map(printable, head.split("\n")), *map(printable, rows[:_SHOWN]), *more])


@dataclass(frozen=True)
class _Facts:
    """What the manifest says about a tensor."""

    dtype: str
    shape: list[int]
    finite: bool

    @classmethod
    def of(cls, tensor: torch.Tensor) -> _Facts:
        finite = not tensor.is_floating_point() or all_finite(tensor)
        return cls(str(tensor.dtype).removeprefix("torch."), list(tensor.shape), finite)


def save(result: Stored, path: str | Path, *, force: bool = False) -> Path:
    """See `Stored.save`."""
    path, kind = Path(path), result.stored_as
    try:
        tensors: Tensors = {}
        content = to_plain(result, "", tensors)
        _made(type(result), content, dict(tensors))  # nothing is saved that could not be loaded
        facts = {name: vars(_Facts.of(tensor)) for name, tensor in tensors.items()}
        data = to_bytes(tensors) if tensors else None
        lines = {**folder.head_of(kind, data), "tensors": facts, "content": content}
        text = ",\n".join(f"{_json(key)}: {_json(value, result.one_file)}" for key, value in lines.items())
    except RecursionError:
        raise StoreError(f"This {kind} is not saved: it is nested too deeply.") from None
    except (MisfitError, KeyError, ValueError) as error:
        raise StoreError(f"This {kind} is not saved: {error}.") from error
    manifest = folder.sealed(f"{{\n{text}\n}}\n")
    if len(manifest) > folder.LARGEST:
        raise StoreError(
            f"This {kind} is not saved: without its tensors it has {len(manifest):,} bytes, but at most "
            f"{folder.LARGEST:,} are read again; make one with less."
        )
    if result.one_file:
        folder.write_file(path, manifest, force=force)
    else:
        folder.write(path, manifest, data, force=force)
    return path


@typed
def load(path: str | Path, kind: type[R] | None = None) -> Any:
    """Read any result that was saved.

    Args:
        path: the folder.
        kind: the class that it must be of; None for any.

    Raises:
        StoreError: there is no result, or it is of another kind, damaged or of another version.
    """
    path = Path(path)
    try:
        head, manifest, file = folder.read(path)
        found = _CLASSES.get(head.kind)
        if found is None:
            raise StoreError(f"{path} holds a result of the kind {head.kind!r}, which this libasis does not know.")
        if kind is not None and not issubclass(found, kind):
            wanted = getattr(kind, "stored_as", kind.__name__)
            raise StoreError(
                f"{path} holds a result of the kind {head.kind!r}, not {wanted!r}; libasis.load reads any."
            )
        plain = parse_json(manifest, path / folder.MANIFEST)
        tensors = {} if file is None else load_file(file)
        facts = fit(dict[str, _Facts], plain.get("tensors"), "tensors")
        if facts != {name: _Facts.of(tensor) for name, tensor in tensors.items()}:
            raise MisfitError("its tensors are not those that its manifest names")
        result = _made(found, plain.get("content"), tensors)
        result.loaded_from(path)
        _ = repr(result)  # rows of plain data that lack something are found here, not when they are printed
        return result
    except RecursionError:
        raise folder.damaged(path, "it is nested too deeply") from None
    except (MisfitError, SafetensorError) as error:
        raise folder.damaged(path, str(error)) from error
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise folder.damaged(path, f"what it says makes no result ({type(error).__name__}: {error})") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}.") from error


def _made(kind: type[R], content: Any, tensors: Tensors) -> R:
    """The result of what `to_plain` gave; the tensors are used up.

    Raises:
        MisfitError: it is no such result.
    """
    result = fit(kind, from_plain(content, tensors))
    flaw = result.flaw() or (f"nothing needs its tensor {min(tensors)!r}" if tensors else None)
    if flaw:
        raise MisfitError(flaw)
    return result


def _json(value: Any, indented: bool = False) -> str:
    """JSON, compact or in lines; half a character of UTF-16, which no file can hold, is written as its number."""
    layout: Plain = {"indent": 1} if indented else {"separators": (",", ":")}
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, **layout)
    return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
