"""Several processes that share the passes over the data: who they are, and what they send each other."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from .. import errors
from ..arguments import typed
from ..errors import LibasisError, OptionError, ProcessError, first_line
from ..numerics import State
from .wire import packed, unpacked


def started() -> tuple[int, int]:
    """Rank and number of the processes that torchrun started; 0 of 1 without it."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def speaks() -> bool:
    """Whether this process is the first of all to say why the run ended."""
    rank, size = started()
    if size == 1:
        return True
    with contextlib.suppress(Exception):  # where there is no store any more, the first process speaks
        where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(*where, timeout=timedelta(seconds=5))  # pyright: ignore - documented there
        return store.add("libasis/said", 1) == 1
    return rank == 0


class Team:
    """The processes of a run; alone, it is one that sends nothing.

    Attributes:
        rank: of this process.
        size: how many there are.
        sent: bytes that this process sent.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.size, self._device = rank, size, device
        self.sent = 0

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and says what there is to say."""
        return self.rank == 0

    def give(self, states: Sequence[State], error: BaseException | None = None, **facts: Any) -> None:
        """Send states, or what went wrong, to the first process."""
        told = {"error": [type(error).__name__, str(error)]} if error is not None else {}
        self._send(packed(states, **facts, **told), to=0)

    def take(self, rank: int, device: torch.device | None) -> list[State]:
        """The states that another process gives.

        Raises:
            LibasisError: something went wrong there.
        """
        states, facts = unpacked(self._receive(rank), device)
        if "error" in facts:
            kind, text = facts["error"]
            found = getattr(errors, kind, LibasisError)
            raise (found if isinstance(found, type) and issubclass(found, LibasisError) else LibasisError)(text)
        return states

    def share(
        self, states: Sequence[State] = (), device: torch.device | None = None, **facts: Any
    ) -> tuple[list[State], dict[str, Any]]:
        """What the first process knows, in all of them."""
        if not self.first:
            return unpacked(self._receive(0), device)
        if self.size > 1:
            data = packed(states, **facts)
            for rank in range(1, self.size):
                self._send(data, to=rank)
        return list(states), facts

    def _send(self, data: bytes, to: int) -> None:
        with self._told(to):
            dist.send(torch.tensor([len(data)], device=self._device), to)
            dist.send(torch.frombuffer(bytearray(data), dtype=torch.uint8).to(self._device), to)
        self.sent += len(data)

    def _receive(self, rank: int) -> bytes:
        with self._told(rank):
            size = torch.zeros(1, dtype=torch.int64, device=self._device)
            dist.recv(size, rank)
            data = torch.empty(int(size), dtype=torch.uint8, device=self._device)
            dist.recv(data, rank)
        return data.cpu().numpy().tobytes()

    @contextlib.contextmanager
    def _told(self, other: int) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, ValueError) as error:
            raise ProcessError(
                f"Process {other} of {self.size} has ended or does not answer ({first_line(error)[:200]}); what is "
                "finished is kept in checkpoints, so run the same again."
            ) from error


_current: contextvars.ContextVar[Team | None] = contextvars.ContextVar("team", default=None)


def team() -> Team | None:
    """The processes of the context that a call stands in."""
    return _current.get()


def is_first() -> bool:
    """Whether this process is the one that writes files and says what there is to say, or alone."""
    found = team()
    return found is None or found.first


@contextlib.contextmanager
@typed
def distributed(*, timeout: float = 1800.0) -> Iterator[Team]:
    """In this context, calls share their passes over the data among the processes that `torchrun` started.

    Every process makes the same calls with the same model and all of the data, and gets the same result; nothing is
    sharded by the caller (no ``DistributedSampler``). The data are cut into shards that depend on the number of batches
    alone, sums of each are made by one process and added in their order: so the result is the same to the bit for any
    number of processes, on machines of one kind with the same number of threads. The processes' group is the one that
    is there (gloo or NCCL), or is made with gloo for the time of the context. Without torchrun the process is alone.

    Args:
        timeout: seconds after which a process that does not answer is given up, where the group is made here.

    Raises:
        OptionError: ``timeout`` is no number above 0.
        ProcessError: in a call: another process has ended or does not answer, or was given something else.
    """
    if not timeout > 0:
        raise OptionError(f"timeout is {timeout!r}; give a number of seconds above 0.")
    own = not dist.is_initialized()
    if own and started()[1] > 1:
        try:
            _begin(timedelta(seconds=timeout))
        except (RuntimeError, ValueError) as error:
            raise ProcessError(
                f"The processes do not find each other ({first_line(error)[:200]}); start them with torchrun."
            ) from error
    there = dist.is_initialized()
    device = torch.device("cuda", torch.cuda.current_device()) if there and _on_gpu() else None
    found = Team(dist.get_rank(), dist.get_world_size(), device) if there else Team()
    token = _current.set(found)
    try:
        yield found
    finally:
        _current.reset(token)
        if own and there:
            dist.destroy_process_group()


_begun = itertools.count()


@functools.cache
def _meeting_place(timeout: timedelta) -> Store:
    return next(iter(rendezvous("env://", timeout=timeout)))[0]


def _begin(timeout: timedelta) -> None:
    """Make the group, under a name of its own in a store that stays.

    In the store that torchrun keeps, or that the first process has not closed yet, a second group would read the
    addresses of the first, and wait for them without end.
    """
    place = PrefixStore(f"libasis/{next(_begun)}", _meeting_place(timeout))
    rank, size = started()
    dist.init_process_group("gloo", store=place, rank=rank, world_size=size, timeout=timeout)


def _on_gpu() -> bool:
    return dist.get_backend() == "nccl"
