"""What is kept of the data between passes: in memory, or in files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils import _pytree as pytree

from ..cut import Record
from ..data import Roll
from ..data.replay import State
from ..errors import OptionError, StoreError, first_line
from ..files import scratch

AGAIN, FILES = "run again for every section", "written to files"


@dataclass
class Kept:
    """What is known of the data and kept between passes.

    Attributes:
        records: by number of the batch, after the first complete pass; None where they are run again.
        how: how they are kept, in words.
        roll: the samples.
        positions: at each site, in the longest batch.
        folder: for files.
        samples: of a part of the data, how many they are; None for all.
        sizes: of the batches; None where nobody asked.
        steady: whether the batches come in the same order in every pass, where somebody asked.
        said: how they would be kept by one process, where passes are shared.
    """

    random: State
    records: dict[int, Record] | None = None
    how: str = "kept in memory"
    roll: Roll = field(default_factory=Roll)
    positions: tuple[int, ...] = ()
    folder: TemporaryDirectory[str] | None = None
    samples: int | None = None
    sizes: list[int] | None = None
    steady: bool = True
    said: str = ""

    def written(self, record: Record, index: int) -> Record:
        """A record with its activations and inputs in a file.

        Raises:
            StoreError: there is no room.
        """
        assert self.folder is not None  # noqa: S101 - whoever calls has asked
        file = Path(self.folder.name) / f"{index}.safetensors"
        device = record.activations[0].device
        leaves, spec = pytree.tree_flatten((record.batch.args, record.batch.kwargs))
        inputs = {
            f"input.{i}": x.detach().clone(memory_format=torch.contiguous_format)
            for i, x in enumerate(leaves)
            if _spillable(x)
        }  # may be a site
        activations = {str(i): x.contiguous() for i, x in enumerate(record.activations)}
        try:
            save_file({**activations, **inputs}, file)
            mapped = load_file(file)
        except (OSError, SafetensorError) as error:
            raise StoreError(f"The activations cannot be kept in files: {first_line(error)}; see spill.") from error
        args, kwargs = pytree.tree_unflatten([mapped.pop(f"input.{i}", x) for i, x in enumerate(leaves)], spec)
        return replace(
            record, activations=OnDisk(mapped, device), batch=replace(record.batch, args=args, kwargs=kwargs)
        )


class OnDisk(Sequence[Tensor]):
    """Activations in a file, mapped into memory: only what is looked at is read."""

    def __init__(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        self._tensors = tensors
        self._device = device

    def __len__(self) -> int:
        return len(self._tensors)

    def __getitem__(self, i: Any) -> Any:
        return self._tensors[str(range(len(self))[i])].to(self._device)


def temporary(spill: str | Path) -> TemporaryDirectory[str]:
    """A folder for files below the one that is given.

    Raises:
        OptionError: there is no such folder, or nothing can be written to it.
    """
    if not Path(spill).is_dir():
        raise OptionError(f"spill is {str(spill)!r}, which is no folder; give one that exists and has room.")
    try:
        return scratch(spill)
    except OSError as error:
        raise OptionError(f"spill is {str(spill)!r}, which cannot be written to: {error.strerror}.") from error


def apart(record: Record) -> Record:
    """The record with memory of its own: a loader may fill its buffers anew for the next batch."""
    batch = record.batch
    leaves = pytree.tree_leaves((batch.args, batch.kwargs, batch.targets))
    theirs = {x.untyped_storage().data_ptr() for x in leaves if _spillable(x)}

    def own(x: Any) -> Any:
        return x.detach().clone() if _spillable(x) and x.untyped_storage().data_ptr() in theirs else x

    args, kwargs, targets = pytree.tree_map(own, (batch.args, batch.kwargs, batch.targets))
    *contexts, tail = (replace(c, values=tuple(map(own, c.values))) for c in (*record.contexts, record.tail))
    return replace(
        record,
        activations=tuple(map(own, record.activations)),
        contexts=tuple(contexts),
        tail=tail,
        counted=tuple(map(own, record.counted)),
        targets=pytree.tree_map(own, record.targets),
        batch=replace(batch, args=args, kwargs=kwargs, targets=targets),
    )


def _spillable(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.device.type == "cpu" and leaf.layout == torch.strided and leaf.ndim > 0
