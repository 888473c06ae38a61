"""The records of all batches: run once and kept where they fit, written to disk on request, run again otherwise."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..arguments import typed
from ..cut import Record, Traced
from ..data import Batch, Replayed, check_reiterable, describe, read_batches, replayed, sample_digests, size_of
from ..data.identity import Call
from ..data.replay import plain_state, random_state, state_of
from ..errors import BatchError, OptionError
from ..types import Plain
from .allocator import reuse_freed_memory
from .kept import AGAIN, FILES, Kept, OnDisk, apart, temporary
from .processes import Team, team
from .progress import watched
from .sizes import RecordSizes, input_bytes, nbytes

_log = logging.getLogger("libasis")

DEFAULT_MEMORY = 2**30


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
        self._kept = Kept(random_state(), folder=None if spill is None else temporary(spill))

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

    def read_once(self) -> None:
        """Keep nothing: no pass will follow the next one. What `keep` returned is kept all the same."""
        self.memory = 1 if self._owns else self.memory

    def some(self, records: list[Record]) -> Records:
        """The same cut with these records alone, which are not run again; they keep their samples' numbers."""
        found = copy.copy(self)
        kept, sizes = dict(enumerate(records)), [r.size for r in records]
        found._kept = replace(self._kept, records=kept, folder=None, samples=sum(sizes), sizes=sizes, steady=True)
        return found

    def stream(self, *, label: str = "", some: Sequence[int] | None = None) -> Iterator[Record]:
        """All records, one at a time, or those of some batches, in their order."""
        total: int | None = None
        with contextlib.suppress(Exception):  # a loader of an IterableDataset has no length, though it has __len__
            total = len(self.batches if some is None else some)  # pyright: ignore
        which: Iterable[Record]
        if self._holds(some):
            kept = self._kept.records or {}
            which = kept.values() if some is None else [kept[i] for i in some]
        else:
            which = self._run(some)
        yield from watched(which, total, label, self.progress)

    def _holds(self, some: Sequence[int] | None) -> bool:
        kept, sizes = self._kept.records, self._kept.sizes
        if kept is None or some is None:  # without sizes all were kept, or none
            return kept is not None and (sizes is None or len(kept) == len(sizes))
        return all(i in kept for i in some)

    def first(self) -> Record:
        """The first record."""
        return (self._kept.records or {}).get(0) or next(self.stream())

    def _run(self, some: Sequence[int] | None) -> Iterator[Record]:
        """A pass that runs the model, and keeps what fits."""
        kept: dict[int, Record] | None = None if self._kept.how == AGAIN else dict(self._kept.records or {})
        lasting = self._lasting_inputs
        size = sum(
            self._bytes(record) for record in (kept or {}).values() if not isinstance(record.activations, OnDisk)
        )
        call, positions = self._kept.roll.call(), [0] * len(self.traced.sites)
        for record in self._recorded(call, some):
            yield record
            positions = [max(p, x.shape[1]) for p, x in zip(positions, record.activations, strict=True)]
            if kept is None or record.index in kept:
                continue
            size += self._bytes(record)
            if size > self.memory:
                kept = self._over(kept, size)
            if kept is not None:
                whole = record if lasting else apart(record)
                kept[record.index] = whole if size <= self.memory else self._kept.written(record, record.index)
        call.over()
        self._kept.records = kept
        if some is None:
            self._kept.positions = tuple(positions)

    def _recorded(self, call: Call, some: Sequence[int] | None) -> Iterator[Record]:
        """The records of a pass, with the numbers of their samples; of the other batches these alone are looked at."""
        data = Replayed(self.batches, self._kept.random)
        if some is None:
            for record in self.traced.stream(data):
                digests = sample_digests(record.batch, record.size)
                yield replace(record, numbers=call.numbers(digests, record.index))
            return
        wanted, kept = set(some), self._kept.records or {}
        for batch, digests in _digested(data, self.traced):
            start, numbers = call.seen, call.numbers(digests, batch.index)
            if not torch.equal(numbers, torch.arange(start, call.seen)):
                raise BatchError(
                    f"The data came in another order in a later pass, from batch {batch.index} on; fix the order (no "
                    "sampler with a random state of its own)."
                )
            if batch.index in wanted:
                yield kept.get(batch.index) or replace(next(self.traced.stream([batch])), numbers=numbers)

    @property
    def _lasting_inputs(self) -> bool:
        return isinstance(self.batches, (list, tuple))  # the user holds these anyway

    def _bytes(self, record: Record) -> int:
        return nbytes(record) + (0 if self._lasting_inputs else input_bytes(record))

    def roll_call(self, team: Team) -> bool:
        """Learn which samples there are, and how many batches, with no model run; whether their order lasts."""
        kept = self._kept
        if kept.sizes is None:
            if team.size > 1:
                kept.random = state_of(team.share(random=plain_state(kept.random))[1]["random"])
            data, call = Replayed(self.batches, kept.random), kept.roll.call()
            found = []
            for batch, digests in _digested(data, self.traced):
                call.numbers(digests, batch.index)
                found.append(digests)
            call.over()
            kept.steady = self._lasting_inputs or torch.equal(found[0], next(_digested(data, self.traced))[1])
            kept.sizes = [len(digests) for digests in found]
        return kept.steady

    @property
    def count(self) -> int:
        """How many batches there are, after the roll call."""
        return len(self._kept.sizes or ())

    @property
    def total(self) -> int:
        """How many samples there are, with no model run for it."""
        if self._kept.roll.digests is None and self._kept.sizes is None:
            self.roll_call(team() or Team())
        return self._kept.samples or len(self._kept.roll)

    @property
    def order(self) -> str:
        """A digest of the samples in their order and of how they are cut into batches, after the roll call."""
        which = [] if self._kept.samples is None else [r.numbers.tolist() for r in (self._kept.records or {}).values()]
        return hashlib.sha256(repr((self._kept.roll.order, self._kept.sizes, which)).encode()).hexdigest()

    @property
    def device(self) -> torch.device | None:
        """Where the model computes; None where it does not say."""
        return getattr(self.traced, "device", None)

    def unknown_sizes(self) -> RecordSizes | None:
        """What a pass that is shared is to learn of the records; None where it is known."""
        if self._kept.positions:
            return None
        return RecordSizes(len(self.traced.sites), inputs=not self._lasting_inputs)

    def learn(self, sizes: RecordSizes) -> None:
        """Take over what a pass has learned, from all processes."""
        self._kept.positions = tuple(sizes.positions.tolist())
        if sizes.bytes > self.memory:
            self._kept.said = AGAIN if self._kept.folder is None else FILES

    def _over(self, kept: dict[int, Record], size: int) -> dict[int, Record] | None:
        """What to do with the records so far when they take more than ``memory``."""
        if self._kept.folder is not None:
            self._kept.how = FILES
            return {i: r if isinstance(r.activations, OnDisk) else self._kept.written(r, i) for i, r in kept.items()}
        self._kept.how = AGAIN
        _log.info(
            "the activations take more than memory=%d bytes (%d so far): the model runs again for every section; "
            "give more memory, or a folder as spill, to run it once",
            self.memory,
            size,
        )
        return None

    def _complete(self) -> Kept:
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
        return self._kept.records is not None and self._kept.how != AGAIN

    @property
    def how(self) -> str:
        """How activations were kept between passes, in words; of shared passes how one process alone keeps them."""
        return self._kept.said or self._kept.how

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


def _digested(data: Iterable[Any], traced: Traced) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch, with the digests of its samples."""
    for batch in read_batches(data, traced.structure):
        yield batch, sample_digests(batch, size_of((batch.args, batch.kwargs)))


def check_memory(memory: Any) -> None:
    """Refuse what is no number of bytes.

    Raises:
        OptionError: it is none.
    """
    if not isinstance(memory, (int, float)) or not memory > 0:
        raise OptionError(f"memory is {memory!r}; give a number of bytes above 0.")
