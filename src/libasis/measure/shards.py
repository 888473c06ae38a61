"""Passes whose sums do not depend on who makes them, nor on how often they were interrupted.

The batches are cut into shards by their number alone. Each shard is summed apart, and the sums are added in the order
of the shards. Process r of P makes the shards r, r + P, ...; the first process adds them up, and keeps what is added
up in checkpoints; in the end all have it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from ..cut import Record
from ..errors import BatchError, LibasisError, ProcessError
from .checkpoints import Checkpoints, passes_now
from .checkpoints import current as current_checkpoints
from .processes import Team, team
from .progress import resumed
from .records import Records
from .sizes import nbytes
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
        key = passes_now().next(label, records.order) if self.book else None
        every = [*sums, sizes] if sizes else [*sums]
        one = _Pass(self.team, self.book if key else None, key or "", records, every, label)
        with torch.no_grad():
            one.run()
        if sizes is not None:
            records.learn(sizes)


class _Pass:
    """One pass that is shared, or kept in checkpoints.

    Attributes:
        book: of the first process; None in the others.
        sums: what all batches are added to.
        done: shards that a checkpoint had.
    """

    def __init__(  # noqa: PLR0913 - all that makes a pass
        self, team: Team, book: Checkpoints | None, key: str, records: Records, sums: list[Any], label: str
    ) -> None:
        self.team, self.key, self.records, self.sums, self.label = team, key, records, sums, label
        self.book = book if team.first else None
        self.shards = Shards.of(records.count)
        self.done = 0

    def run(self) -> None:
        """See `Sharing.one_pass`."""
        device, data = self.records.device, self.records.order
        found = self.book.find(self.key, device) if self.book else (0, [])
        states, facts = self.team.share(found[1], device, done=found[0], label=self.label, data=data)
        self.done = facts["done"]
        if states:
            loaded(self.sums, states)
        if self.done:
            resumed(self.label, min(self.done * self.shards.each, self.shards.batches), self.shards.batches)
        wrong = _differs(facts, self.label, data)
        if self.done == len(self.shards):
            if wrong:
                raise wrong
            return
        try:
            if wrong:
                raise wrong
            self._by_sum() if self._whole_sums() else self._by_shard()
        except BaseException as error:
            if not (self.team.first or isinstance(error, ProcessError) and error is not wrong):
                self.team.give([], error)
            raise
        if self.team.size > 1:
            states, _ = self.team.share(states_of(self.sums) if self.team.first else (), device)
            if not self.team.first:
                loaded(self.sums, states)
        self._keep(len(self.shards))

    def _keep(self, done: int) -> None:
        """Keep what the first process has of so many shards."""
        if self.book is not None and (done == len(self.shards) or self.book.due):
            self.book.keep(self.key, done, states_of(self.sums), finished=done == len(self.shards))

    def _stream(self, shards: Sequence[int]) -> Iterator[Record]:
        return self.records.stream(label=self.label, some=[n for s in shards for n in self.shards.numbers(s)])

    def _add(self, sums: Sequence[Any], shard: int, stream: Iterator[Record]) -> list[Any]:
        """The sums of a shard; those of the first are the sums themselves. After the last the stream is at its end."""
        parts = list(sums) if shard == 0 else [one.emptied() for one in sums]
        for record in islice(stream, len(self.shards.numbers(shard))):
            for part in parts:
                part.add(record)
        for part in parts:
            part.settle()
        return parts

    def _by_shard(self) -> None:
        """Each process makes every so many-th shard."""
        size, rank = self.team.size, self.team.rank
        mine = [s for s in range(rank, len(self.shards), size) if s >= self.done]
        stream = self._stream(mine)
        for start in range(self.done - self.done % size, len(self.shards), size):
            parts = self._add(self.sums, start + rank, stream) if start + rank in mine else []
            if start + size >= len(self.shards):
                deque(stream, 0)  # its end: the data are complete
            if self.team.first:
                self._fold(parts, start)
                if start + size < len(self.shards):  # all of them are kept once all processes have them
                    self._keep(start + size)
            else:
                self.team.give(states_of(parts))

    def _fold(self, parts: Sequence[Any], start: int) -> None:
        """Add shards in their order: that of this process, and what the others give."""
        for rank in range(self.team.size):
            if rank:
                states = self.team.take(rank, self.records.device)
                parts = [one.emptied() for one in self.sums] if states else []
                for one, state in zip(parts, states, strict=True):
                    one.load(state)
            if start + rank:
                _merge(self.sums, parts)

    def _whole_sums(self) -> bool:
        """Whether each process should make some of the sums, of all batches: where less is sent than is computed on."""
        size = self.team.size
        sent = sum(getattr(one, "nbytes", 0) for one in self.sums)
        return 1 < size <= len(self.sums) and sent > self.shards.each * nbytes(self.records.first())

    def _by_sum(self) -> None:
        """Each process makes every so many-th of the sums, of all shards."""
        size, rank = self.team.size, self.team.rank
        mine = self.sums[rank::size]
        stream = self._stream(range(self.done, len(self.shards)))
        for shard in range(self.done, len(self.shards)):
            parts = self._add(mine, shard, stream)
            if shard:
                _merge(mine, parts)
            last = shard + 1 == len(self.shards)
            if last:
                deque(stream, 0)
            if not self.team.first:
                self.team.give([])  # or what went wrong
            for other in range(1, size) if self.team.first else ():
                self.team.take(other, None)
            if not (self.team.share(due=last or (self.book is not None and self.book.due))[1]["due"]):
                continue
            if not self.team.first:
                self.team.give(states_of(mine))
                continue
            for other in range(1, size):
                loaded(self.sums[other::size], self.team.take(other, self.records.device))
            if not last:
                self._keep(shard + 1)


def _merge(sums: Sequence[Any], parts: Sequence[Any]) -> None:
    for total, part in zip(sums, parts, strict=False):  # no parts of a shard that there is not
        total.merge(part)


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
