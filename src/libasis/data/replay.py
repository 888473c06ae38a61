"""The user's batches, drawn in every pass from the random state of the first, which is put back after each batch."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from ..ambient import ALONE, as_outside

State = tuple[Any, Any, Any]


def random_state() -> State:
    """That of torch (CPU), of NumPy's global generator and of Python's."""
    return torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 - it is the user's


def set_random_state(state: State) -> None:
    """Put back what `random_state` gave."""
    torch.set_rng_state(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
    random.setstate(state[2])


def plain_state(state: State) -> list[Any]:
    """A random state as plain lists and numbers."""
    return [state[0].tolist(), [part.tolist() if isinstance(part, np.ndarray) else part for part in state[1]], state[2]]


def state_of(plain: list[Any]) -> State:
    """The random state of what `plain_state` gave, also after JSON."""
    own, (name, keys, *rest), (version, words, gauss) = plain
    numbers = (name, np.array(keys, dtype=np.uint32), *rest)
    return torch.tensor(own, dtype=torch.uint8), numbers, (version, tuple(words), gauss)


@contextlib.contextmanager
def from_seed(seed: int) -> Iterator[None]:
    """What is drawn inside starts from a seed; afterwards the random state is what it was."""
    with ALONE:
        outside = random_state()
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            set_random_state(outside)


def replayed(batches: Iterable[Any], state: State) -> Iterator[Any]:
    """The batches, as they come out of a process in this random state.

    A loader that shuffles or augments by global generators gives the same batches whenever it is gone through from the
    same state; and the process keeps its own state, as if nothing had been drawn. Lists and tuples draw nothing.
    """
    if isinstance(batches, (list, tuple)):
        yield from batches
        return
    source: Iterator[Any] | None = None
    while True:
        with ALONE:
            outside = random_state()
            set_random_state(state)
            try:
                with as_outside():
                    source = iter(batches) if source is None else source
                    item = next(source)
                state = random_state()
            except StopIteration:
                return
            finally:
                set_random_state(outside)
        yield item


class Replayed:
    """A re-iterable that starts each time from the same random state."""

    def __init__(self, batches: Iterable[Any], state: State) -> None:
        self.batches, self.state = batches, state

    def __iter__(self) -> Iterator[Any]:
        return replayed(self.batches, self.state)
