"""The records of all batches: run once and kept where they fit, written to disk on request, run again otherwise."""

from __future__ import annotations

import contextlib
import copy
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils import _pytree as pytree
from tqdm import tqdm

from ..arguments import typed
from ..cut import Record, Traced
from ..data import Replayed, Roll, check_reiterable, describe, replayed, sample_digests
from ..data.replay import State, random_state
from ..errors import OptionError, StoreError, first_line
from ..files import scratch
from ..types import Plain
from .allocator import reuse_freed_memory

_log = logging.getLogger("libasis")

DEFAULT_MEMORY = 2**30
AGAIN = "run again for every section"


@dataclass
class _Kept:
    """What is known of the data and kept between passes.

    Attributes:
        records: all of them, after the first complete pass; None where they are run again.
        how: how they are kept, in words.
        roll: the samples.
        positions: at each site, in the longest batch.
        folder: for files.
        samples: of a part of the data, how many they are; None for all.
    """

    random: State
    records: list[Record] | None = None
    how: str = "kept in memory"
    roll: Roll = field(default_factory=Roll)
    positions: tuple[int, ...] = ()
    folder: TemporaryDirectory[str] | None = None
    samples: int | None = None


class Records:
    """The batches of one call, to be gone through several times.

    The first complete pass keeps the records if they take at most ``memory`` bytes. If they take more, they are written
    to files below ``spill``; without such a folder every pass runs the model again. In each case memory is bounded by
    ``memory`` and the batch, not by the data (8 bytes for each sample aside). The files are removed when the call is
    over (a context manager), or with what `keep` returned.

    Samples are numbered in the first pass. Where a later pass draws the data again, from the same random state, each is
    found by its content, so that they may come in another order; other samples than in the first pass are refused.

    Args:
        traced: the model.
        batches: a re-iterable.
        memory: bound in bytes for what is kept.
        spill: a folder, or None.
        progress: show a progress bar for each pass; None shows one on a terminal only.

    Raises:
        BatchError: the batches are one-shot.
        OptionError: ``memory`` is no number of bytes, or ``spill`` is no folder.
    """

    def __init__(
        self,
        traced: Traced,
        batches: Iterable[Any],
        memory: int | str = DEFAULT_MEMORY,
        spill: str | Path | None = None,
        *,
        progress: bool | None = None,
    ) -> None:
        check_reiterable(batches)
        self.memory = shares(memory, traced)[0]
        reuse_freed_memory()
        self.traced = traced
        self.batches = batches
        self.progress = progress
        self._owns = True  # what is kept; a call that is given what `keep` returned does not
        self._kept = _Kept(random_state(), folder=None if spill is None else _temporary(spill))

    def __iter__(self) -> Iterator[Any]:
        """The batches as they were given."""
        return replayed(self.batches, self._kept.random)

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *_: object) -> None:
        if self._owns:
            self.close()

    def close(self) -> None:
        """Give up what was kept, and remove its files; the next pass runs the model again."""
        self._kept.records = None
        if self._kept.folder is not None:
            self._kept.folder.cleanup()
            self._kept.folder = None

    @classmethod
    def of(
        cls,
        traced: Traced,
        batches: Any,
        memory: int | str = DEFAULT_MEMORY,
        spill: str | Path | None = None,
        *,
        progress: bool | None = None,
    ) -> Records:
        """Those of a call's batches, or what `keep` returned if that was given in place of batches.

        Raises:
            OptionError: they were kept for another cut.
        """
        if not isinstance(batches, Records):
            return cls(traced, batches, memory, spill, progress=progress)
        if batches.traced is not traced:
            raise OptionError(
                "The batches were kept for another cut, dtype, device or mask; give the batches themselves, or keep "
                "them for this one."
            )
        found = copy.copy(batches)
        found.progress, found._owns = progress, False
        return found

    def some(self, records: list[Record]) -> Records:
        """The same cut with these records alone, which are not run again; they keep their samples' numbers."""
        found = copy.copy(self)
        found._kept = replace(self._kept, records=records, folder=None, samples=sum(r.size for r in records))
        return found

    def stream(self, *, label: str = "") -> Iterator[Record]:
        """All records, one at a time."""
        total: int | None = None
        with contextlib.suppress(Exception):  # a loader of an IterableDataset has no length, though it has __len__
            total = len(self.batches)  # pyright: ignore
        disable = silent(self.progress)
        if self._kept.records is not None:
            yield from tqdm(self._kept.records, desc=label, disable=disable, leave=False, unit="batch")
        else:
            with tqdm(total=total, desc=label, disable=disable, leave=False, unit="batch") as bar:
                for record in self._run():
                    yield record
                    bar.update()

    def first(self) -> Record:
        """The first record."""
        return next(self.stream()) if self._kept.records is None else self._kept.records[0]

    def _run(self) -> Iterator[Record]:
        """A pass that runs the model, and keeps what fits."""
        kept: list[Record] | None = None if self._kept.how == AGAIN else []
        call, size, positions = self._kept.roll.call(), 0, [0] * len(self.traced.sites)
        lasting = isinstance(self.batches, (list, tuple))  # the user holds these inputs anyway
        for record in self.traced.stream(Replayed(self.batches, self._kept.random)):
            digests = sample_digests(record.batch, record.size)
            record = replace(record, numbers=call.numbers(digests, record.index))  # noqa: PLW2901
            yield record
            positions = [max(p, x.shape[1]) for p, x in zip(positions, record.activations, strict=True)]
            if kept is None:
                continue
            size += nbytes(record) + (0 if lasting else input_bytes(record))
            if size > self.memory:
                kept = self._over(kept, size)
            if kept is not None:
                whole = record if lasting else _apart(record)
                kept.append(whole if size <= self.memory else self._write(record, len(kept)))
        call.over()
        self._kept.records, self._kept.positions = kept, tuple(positions)

    def _over(self, kept: list[Record], size: int) -> list[Record] | None:
        """What to do with the records so far when they take more than ``memory``."""
        if self._kept.folder is not None:
            self._kept.how = "written to files"
            return [r if isinstance(r.activations, _OnDisk) else self._write(r, i) for i, r in enumerate(kept)]
        self._kept.how = AGAIN
        _log.info(
            "the activations take more than memory=%d bytes (%d so far): the model runs again for every section; "
            "give more memory, or a folder as spill, to run it once",
            self.memory,
            size,
        )
        return None

    def _write(self, record: Record, index: int) -> Record:
        assert self._kept.folder is not None  # noqa: S101 - `_over` asked
        file = Path(self._kept.folder.name) / f"{index}.safetensors"
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
            record, activations=_OnDisk(mapped, device), batch=replace(record.batch, args=args, kwargs=kwargs)
        )

    def _complete(self) -> _Kept:
        """After a pass over all data, if there was none yet."""
        if self._kept.roll.digests is None:
            for _ in self.stream(label="samples"):
                pass
        return self._kept

    @property
    def samples(self) -> int:
        """How many samples the data have."""
        kept = self._complete()
        return len(kept.roll) if kept.samples is None else kept.samples

    @property
    def digests(self) -> Tensor:
        """A number for each sample by its content, int64 ``[n]`` in the order of the data, see `sample_digests`."""
        digests = self._complete().roll.digests
        return torch.zeros(0, dtype=torch.int64) if digests is None else digests

    @property
    def positions(self) -> tuple[int, ...]:
        """How many positions the longest batch has at each site."""
        return self._complete().positions

    @property
    def lasting(self) -> bool:
        """Whether the records were kept, and the next pass gives the same objects."""
        return self._kept.records is not None

    @property
    def how(self) -> str:
        """How activations were kept between passes, in words."""
        return self._kept.how

    def facts(self) -> Plain:
        """What the data are, for the record.

        ``source`` in words, ``samples``, ``digest`` of all samples whatever their order, and ``order``: of the same in
        their order.
        """
        roll = self._complete().roll
        return {"source": describe(self.batches), "samples": len(roll), "digest": roll.digest, "order": roll.order}


@typed
def keep(
    traced: Traced, batches: Iterable[Any], *, memory: int | str = "auto", spill: str | Path | None = None
) -> Records:
    """Batches whose activations are kept from the first call that goes through them to the next.

    Give the result to `fit`, `interactions`, the ablations and `collect` in place of the batches, and the model runs
    once for all of them. ``with libasis.keep(traced, batches, spill=folder) as kept:`` removes the files at the end; so
    does ``kept.close()``, and the end of the process.

    Args:
        traced: from `trace` or `Chain`; the calls must be given the same.
        batches: a re-iterable, as in `fit`.
        memory: bound in bytes for what is kept; ``"auto"`` as in `fit`.
        spill: a folder for what does not fit; None to run the model again.

    Raises:
        BatchError: the batches are one-shot.
        OptionError: ``memory`` is no number of bytes, or ``spill`` is no folder.
    """
    return Records(traced, batches, memory, spill)


class _OnDisk(Sequence[Tensor]):
    """Activations in a file, mapped into memory: only what is looked at is read."""

    def __init__(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        self._tensors = tensors
        self._device = device

    def __len__(self) -> int:
        return len(self._tensors)

    def __getitem__(self, i: Any) -> Any:
        return self._tensors[str(range(len(self))[i])].to(self._device)


def _temporary(spill: str | Path) -> TemporaryDirectory[str]:
    if not Path(spill).is_dir():
        raise OptionError(f"spill is {str(spill)!r}, which is no folder; give one that exists and has room.")
    try:
        return scratch(spill)
    except OSError as error:
        raise OptionError(f"spill is {str(spill)!r}, which cannot be written to: {error.strerror}.") from error


def silent(progress: bool | None) -> bool | None:
    """What tqdm takes as ``disable``; None shows a bar on a terminal only."""
    return sys.stderr is None or (None if progress is None else not progress)


def shares(memory: int | str, traced: Traced) -> tuple[int, int]:
    """Bytes for what is kept between passes, and for what one batch's products may hold.

    ``"auto"`` is 1 GiB for each; on a GPU six tenths and one tenth of what is free there.

    Raises:
        OptionError: it is no number of bytes.
    """
    if memory != "auto":
        check_memory(memory)
        return int(memory), int(memory)
    device = getattr(traced, "device", None)
    if device is None or device.type != "cuda":
        return DEFAULT_MEMORY, DEFAULT_MEMORY
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + unused
    return 6 * free // 10, free // 10


def check_memory(memory: Any) -> None:
    """Refuse what is no number of bytes.

    Raises:
        OptionError: it is none.
    """
    if not isinstance(memory, (int, float)) or not memory > 0:
        raise OptionError(f"memory is {memory!r}; give a number of bytes above 0.")


def nbytes(record: Record) -> int:
    """The size of a record's tensors in bytes, without the inputs."""
    tensors = [*record.activations, record.targets, *record.counted]
    for context in (*record.contexts, record.tail):
        tensors += context.values
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, Tensor))


def input_bytes(record: Record) -> int:
    """The size of a record's inputs in bytes."""
    leaves = pytree.tree_leaves((record.batch.args, record.batch.kwargs))
    return sum(t.numel() * t.element_size() for t in leaves if isinstance(t, Tensor))


def _apart(record: Record) -> Record:
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
