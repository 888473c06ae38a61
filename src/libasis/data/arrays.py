"""Arrays from files: .npz, .safetensors. Values are never scaled."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from ..errors import SourceError, first_line, short
from ..files import memory, open_regular, unpacked
from .exact import as_float32, as_int64
from .file_batches import FileBatches
from .names import check_known, listed

INPUTS = ("x", "X", "inputs")


TARGETS = ("y", "Y", "targets")


def read_arrays(path: Path, target: str | None, columns: Sequence[str] | None) -> FileBatches:
    """Arrays of a .npz or .safetensors file; see `libasis.data.read`.

    One input is given to the model as its first argument, several by their names. Without names the arrays ``x``,
    ``X`` or ``inputs`` and ``y``, ``Y`` or ``targets`` are taken. Floating numbers become float32, whole numbers int64.

    Raises:
        SourceError: the file cannot be read, lacks an array, or holds numbers that are not finite or that would be
            others in float32 or int64.
    """
    arrays = _read_arrays(path)
    target = target or _default(arrays, TARGETS, path, "target")
    keys = list(columns or [_default(arrays, INPUTS, path, "columns") or ""])
    if keys == [""]:
        raise SourceError(
            f"{path} has the arrays {listed(arrays)}, none of which is called {', '.join(INPUTS)}; name the model's "
            "inputs in columns."
        )
    check_known(keys, target, arrays, f"{path} has the arrays")
    inputs = {key: _tensor(arrays[key], f"{path}: array {key!r}") for key in keys}
    targets = _tensor(arrays[target], f"{path}: array {target!r}") if target else None
    _check_lengths(path, {**inputs, **({target: targets} if target and targets is not None else {})})
    return FileBatches(inputs if len(inputs) > 1 else inputs[keys[0]], targets)


def _read_arrays(path: Path) -> Mapping[str, np.ndarray]:
    try:
        with open_regular(path, memory() // 2, refusal=SourceError) as file:
            if path.suffix.lower() == ".safetensors":
                return load_file(path)
            _check_archive(path, file)
            with np.load(file, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
                _check_ends(path, arrays.zip, found)
    except SourceError:
        raise
    except Exception as error:
        if "pickle" in str(error) and zipfile.is_zipfile(path):
            raise SourceError(
                f"{path} holds Python objects (pickle), which libasis does not open; save plain numeric arrays."
            ) from error
        raise SourceError(f"{path} cannot be read as {path.suffix[1:]}: {first_line(error)}.") from error
    if odd := [name for name, array in found.items() if not isinstance(array, np.ndarray)]:
        raise SourceError(f"{path}: {short(odd[0])} is no array; save it again with numpy.savez.")
    return found


def _check_archive(path: Path, file: BinaryIO) -> None:
    """Refuse a .npz that unpacks to too much, or whose members are not one array for each name."""
    packed = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    size, most = sum(member.file_size for member in members), max(packed, unpacked(packed))
    if size > most:
        raise SourceError(f"{path} unpacks to {size:,} bytes, but at most {most:,} are read of it; use numpy.savez.")
    names = [member.filename for member in members]
    odd = [name for name, count in Counter(names).items() if count > 1 or not name.endswith(".npy")]
    if odd or not names:
        raise SourceError(
            f"{path} is no file of numpy.savez ({short(odd[0]) if odd else 'nothing'} in it); save it again."
        )
    file.seek(0)


def _check_ends(path: Path, archive: zipfile.ZipFile, arrays: Mapping[str, Any]) -> None:
    """Refuse members that hold more than their array: a shape that was changed leaves values out."""
    for name, array in arrays.items():
        if isinstance(array, np.ndarray):
            with archive.open(f"{name}.npy") as member:
                start = member.read(12)
            wide = 2 if start[6] == 1 else 4
            head = 8 + wide + int.from_bytes(start[8 : 8 + wide], "little")
            if more := archive.getinfo(f"{name}.npy").file_size - head - array.nbytes:
                raise SourceError(f"{path}: {short(name)} has {more:,} bytes behind its array; save it again.")


def _default(arrays: Mapping[str, Any], names: Sequence[str], path: Path, setting: str) -> str | None:
    found = [name for name in names if name in arrays]
    if len(found) > 1:
        raise SourceError(f"{path} has the arrays {found[0]!r} and {found[1]!r}; say which one is meant in {setting}.")
    return found[0] if found else None


def _tensor(array: np.ndarray, what: str) -> Tensor:
    if array.ndim == 0:
        raise SourceError(f"{what} is a single number; its first dimension must be the samples.")
    if array.dtype.kind not in "fiub":
        raise SourceError(f"{what} holds {array.dtype}, not numbers.")
    if array.dtype.kind == "f":
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            where = [int(i) for i in bad[0]]
            raise SourceError(f"{what} holds {array[tuple(where)]} at {where}; remove or repair that sample first.")
    if array.dtype.kind != "b":
        array = (as_float32 if array.dtype.kind == "f" else as_int64)(array, lambda index: f"{what} at {index}")
    return torch.from_numpy(np.ascontiguousarray(array))


def _check_lengths(path: Path, tensors: Mapping[str, Tensor]) -> None:
    lengths = {name: len(tensor) for name, tensor in tensors.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name!r} has {n}" for name, n in lengths.items())
        raise SourceError(f"{path}: the arrays have different numbers of samples ({shown}).")
    if 0 in lengths.values():
        raise SourceError(f"{path} has no samples.")
