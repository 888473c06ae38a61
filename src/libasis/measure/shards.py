"""Passes whose sums do not depend on who makes them, nor on how often they were interrupted.

The batches are cut into shards by their number alone. Each shard is summed apart, and the sums are added in the order
of the shards. Process r of P makes the shards r, r + P, ...; the first process adds them up, and keeps what is added
up in checkpoints; in the end all have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from ..cut import Record
from ..errors import BatchError, LibasisError, ProcessError
from .checkpoints import Checkpoints, call_now
from .checkpoints import current as current_checkpoints
from .processes import Team, team
from .progress import resumed
from .records import Records
from .wire import loaded, states_of

FEW, MANY, EACH = 8, 256, 8
"""At least so many shards where there are as many batches, at most so many, and between them of so many batches."""


@dataclass(frozen=True)
class Shards:
    """Batches ``[i each, (i + 1) each)`` are shard i.

    Attributes:
        batches: how many there are.
        each: of a shard; of the last one fewer.
    """

    batches: int
    each: int

    @classmethod
    def of(cls, batches: int) -> Shards:
        """Those of so many batches."""
        wanted = min(batches, max(FEW, min(MANY, batches // EACH)))
        return cls(batches, -(-batches // wanted))

    def __len__(self) -> int:
        return -(-self.batches // self.each)

    def numbers(self, shard: int) -> range:
        """Of the batches of a shard; none beyond the last."""
        return range(shard * self.each, min((shard + 1) * self.each, self.batches))


@dataclass(frozen=True)
class Sharing:
    """Who shares the passes, and where their sums are kept."""

    team: Team
    book: Checkpoints | None

    @classmethod
    def now(cls) -> Sharing | None:
        """In the context of a call; None where passes are neither shared nor kept."""
        found, book = team(), current_checkpoints()
        return None if found is None and book is None else cls(found or Team(), book)

    def can(self, records: Records) -> bool:
        """Whether batches come in the same order in every pass, so that passes can be shared and gone on with.

        Raises:
            BatchError: they do not, and there are several processes.
        """
        if records.roll_call(self.team):
            return True
        if self.team.size > 1:
            raise BatchError(
                "The batches come in another order in every pass (a sampler with a random state of its own?), so "
                "processes cannot share them out; fix the order, or run one process."
            )
        return False

    def one_pass(self, records: Records, sums: Sequence[Any], label: str) -> None:
        """Add all batches to the sums.

        Raises:
            BatchError: the data are empty, or changed between two passes.
            ProcessError: a process has ended, does not answer, or was given something else.
        """
        sizes = records.unknown_sizes()
        sums = [*sums, sizes] if sizes else sums
        shards, data, device = Shards.of(records.count), records.order, records.device
        key = call_now().next(label, data)
        book = self.book if key is not None and self.team.first else None
        done, states = (book and book.find(key or "", device)) or (0, [])
        states, facts = self.team.share(states, device, done=done, label=label, data=data)
        wrong = _differs(facts, label, data)
        done = facts["done"]
        if states:
            loaded(sums, states)
        if done:
            resumed(label, min(done * shards.each, shards.batches), shards.batches)
        if done < len(shards):
            with torch.no_grad():
                self._go(records, sums, shards, done, label, wrong, book, key or "")
            self._agree(sums, device)
        elif wrong:
            raise wrong
        if book is not None and done < len(shards):
            book.keep(key or "", len(shards), states_of(sums), finished=True)
        if sizes is not None:
            records.learn(sizes)

    def _go(  # noqa: PLR0913 - one pass
        self,
        records: Records,
        sums: Sequence[Any],
        shards: Shards,
        done: int,
        label: str,
        wrong: LibasisError | None,
        book: Checkpoints | None,
        key: str,
    ) -> None:
        size, rank = self.team.size, self.team.rank
        mine = range(rank + -(-max(done - rank, 0) // size) * size, len(shards), size)
        stream = records.stream(label=label, some=[n for s in mine for n in shards.numbers(s)])
        for start in range(done - done % size, len(shards), size):
            parts = list(sums) if start + rank == 0 else [one.emptied() for one in sums]
            try:
                if wrong:
                    raise wrong
                if start + rank >= done:
                    _add(parts, islice(stream, len(shards.numbers(start + rank))))
                if start + size >= len(shards):
                    _add((), stream)  # to its end: the data are complete
            except BaseException as error:
                if not self.team.first:
                    self.team.give([], error)
                raise
            self._fold(sums, parts, range(max(start, done), min(start + size, len(shards))), start, records.device)
            if book is not None and book.due and start + size < len(shards):
                book.keep(key, start + size, states_of(sums), finished=False)

    def _fold(self, sums: Sequence[Any], parts: Sequence[Any], which: range, start: int, device: Any) -> None:
        """Add the shards ``which`` in their order, in the first process."""
        if not self.team.first:
            self.team.give(states_of(parts) if start + self.team.rank in which else [])
            return
        for rank in range(self.team.size):
            found = parts
            if rank:
                states = self.team.take(rank, device)
                found = [one.emptied() for one in sums] if states else []
                for one, state in zip(found, states, strict=True):
                    one.load(state)
            if start + rank in which and start + rank:
                for total, part in zip(sums, found, strict=True):
                    total.merge(part)

    def _agree(self, sums: Sequence[Any], device: torch.device | None) -> None:
        if self.team.size > 1:
            states, _ = self.team.share(states_of(sums) if self.team.first else (), device)
            if not self.team.first:
                loaded(sums, states)


def shared() -> bool:
    """Whether passes are shared or kept, so that no process may see all batches."""
    return Sharing.now() is not None


def _differs(facts: dict[str, Any], label: str, data: str) -> LibasisError | None:
    if facts["label"] != label:
        return ProcessError(
            f"A process is at {label!r} where the first one is at {facts['label']!r}; make the same calls in each."
        )
    if facts["data"] != data:
        return ProcessError(
            "A process was given other samples than the first one, or in another order; give all data to each (no "
            "DistributedSampler): libasis shares them out."
        )
    return None


def _add(parts: Sequence[Any], records: Iterator[Record]) -> None:
    for record in records:
        for part in parts:
            part.add(record)
    for part in parts:
        part.settle()
