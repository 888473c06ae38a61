"""The records of all batches: run once and kept where they fit, written to disk on request, run again otherwise."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from ..errors import OptionError
from .batches import check_reiterable
from .heap import reuse_freed_memory
from .traced import Record, Traced

_log = logging.getLogger("libasis")


AGAIN = "run again for every section"


class Records:
    """The batches of one call, to be gone through several times.

    The first complete pass keeps the records if they take at most ``memory`` bytes. If they take more, they are written
    to files below ``spill``; without such a folder every pass runs the model again. In each case memory is bounded by
    ``memory`` and the batch, not by the data. The files are removed when the call is over (a context manager), or with
    what `keep` returned.

    Args:
        traced: the model.
        batches: a re-iterable.
        memory: bound in bytes for what is kept.
        spill: a folder, or None.

    Attributes:
        samples: number of samples, known after the first complete pass.

    Raises:
        BatchError: the batches are one-shot.
        OptionError: ``memory`` is no number of bytes, or ``spill`` is no folder.
    """

    def __init__(self, traced: Traced, batches: Iterable[Any], memory: int, spill: str | Path | None = None) -> None:
        check_reiterable(batches)
        check_memory(memory)
        reuse_freed_memory()
        self.traced = traced
        self.batches = batches
        self.memory = memory
        self.kept: list[Record] | None = None
        self.how = "kept in memory"
        self._folder = None if spill is None else _temporary(spill)
        self.lasting = False
        self.samples = 0

    def __iter__(self) -> Iterator[Any]:
        """The batches as they were given."""
        return iter(self.batches)

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.lasting:
            self.close()

    def close(self) -> None:
        """Give up what was kept, and remove its files; the next pass runs the model again."""
        self.kept = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    @classmethod
    def of(cls, traced: Traced, batches: Any, memory: int, spill: str | Path | None = None) -> Records:
        """Those of a call's batches, or what `keep` returned if that was given in place of batches.

        Raises:
            OptionError: they were kept for another cut.
        """
        if not isinstance(batches, Records):
            return cls(traced, batches, memory, spill)
        if batches.traced is not traced:
            raise OptionError(
                "The batches were kept for another cut, dtype, device or mask; give the batches themselves, or keep "
                "them for this one."
            )
        return batches

    def some(self, kept: list[Record]) -> Records:
        """The same cut with these records alone, which are not run again."""
        found = Records(self.traced, self.batches, self.memory)
        found.kept, found.samples = kept, sum(record.size for record in kept)
        return found

    def stream(self, *, progress: bool | None = None, label: str = "") -> Iterator[Record]:
        """All records, one at a time."""
        if self.kept is not None:
            disable = None if progress is None else not progress
            yield from tqdm(self.kept, desc=label, disable=disable, leave=False, unit="batch")
            return
        kept: list[Record] | None = None if self.how == AGAIN else []
        size = samples = 0
        for record in self.traced.stream(self.batches, progress=progress, label=label):
            yield record
            samples += record.size
            size += nbytes(record)
            if kept is None:
                continue
            if size > self.memory:
                kept = self._over(kept, size)
            if kept is not None:
                kept.append(record if size <= self.memory else self._write(record, len(kept)))
        self.kept, self.samples = kept, samples

    def _over(self, kept: list[Record], size: int) -> list[Record] | None:
        """What to do with the records so far when they take more than ``memory``."""
        if self._folder is not None:
            self.how = "written to files"
            return [r if isinstance(r.activations, _OnDisk) else self._write(r, i) for i, r in enumerate(kept)]
        self.how = AGAIN
        _log.info(
            "the activations take more than memory=%d bytes (%d so far): the model runs again for every section; "
            "give more memory, or a folder as spill, to run it once",
            self.memory,
            size,
        )
        return None

    def _write(self, record: Record, index: int) -> Record:
        assert self._folder is not None  # noqa: S101 - `_over` asked
        file = Path(self._folder.name) / f"{index}.safetensors"
        device = record.activations[0].device
        save_file({str(i): x.contiguous() for i, x in enumerate(record.activations)}, file)
        return replace(record, activations=_OnDisk(file, device))


def keep(traced: Traced, batches: Iterable[Any], *, memory: int = 2**30, spill: str | Path | None = None) -> Records:
    """Batches whose activations are kept from the first call that goes through them to the next.

    Give the result to `fit`, `interactions` and the ablations in place of the batches, and the model runs once for all
    of them.

    Args:
        traced: from `trace` or `Chain`; the calls must be given the same, without ``dtype``, ``device`` or ``mask``.
        batches: a re-iterable, as in `fit`.
        memory: bound in bytes for what is kept.
        spill: a folder for what does not fit; None to run the model again.

    Raises:
        BatchError: the batches are one-shot.
        OptionError: ``memory`` is no number of bytes, or ``spill`` is no folder.
    """
    records = Records(traced, batches, memory, spill)
    records.lasting = True
    return records


class _OnDisk(Sequence[Tensor]):
    """Activations in a file, mapped into memory: only what is looked at is read."""

    def __init__(self, file: Path, device: torch.device) -> None:
        self._tensors = load_file(file)
        self._device = device

    def __len__(self) -> int:
        return len(self._tensors)

    def __getitem__(self, i: Any) -> Any:
        return self._tensors[str(range(len(self))[i])].to(self._device)


def _temporary(spill: str | Path) -> tempfile.TemporaryDirectory[str]:
    if not Path(spill).is_dir():
        raise OptionError(f"spill is {str(spill)!r}, which is no folder; give one that exists and has room.")
    return tempfile.TemporaryDirectory(prefix="libasis-", dir=spill, ignore_cleanup_errors=True)


def check_memory(memory: int) -> None:
    """Refuse what is no number of bytes.

    Raises:
        OptionError: it is none.
    """
    if not isinstance(memory, (int, float)) or not memory > 0:
        raise OptionError(f"memory is {memory!r}; give a number of bytes above 0.")


def nbytes(record: Record) -> int:
    """The size of a record's tensors in bytes."""
    tensors = [*record.activations, record.targets, *record.counted]
    for context in (*record.contexts, record.tail):
        tensors += context.values
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, Tensor))
