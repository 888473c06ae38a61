"""Which sample is which: each is known by its content, so that several passes over the data can be told apart."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import BatchError
from .batches import Batch, by_sample, entries

GOLDEN = 0x9E3779B97F4A7C15 - 2**64
MIX = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64), (31, 1))
BLOCK = 2**17
"""Words of 8 bytes that are worked on at once: they fit into a cache."""

CHANGED = (
    "give the same samples in every pass (no random augmentation, no sampling with replacement), or have them read "
    "once: more memory, a folder as spill, or libasis.keep"
)


def sample_digests(batch: Batch, size: int) -> Tensor:
    """A number for each of the ``size`` samples of a batch, from its inputs and targets alone, int64 on the CPU.

    Neither the other samples of the batch nor its place in the data matter; what all samples share (a scalar, a text)
    counts for each of them. Two different samples have the same number with a probability of about 2⁻⁶⁴, below 2⁻⁴⁰
    where their values have few digits.
    """
    found = torch.zeros(size, dtype=torch.int64)
    leaves, spec = pytree.tree_flatten((batch.args, batch.kwargs))
    common = hashlib.blake2b(str(spec).encode(), digest_size=8)
    for place, leaf in enumerate([*leaves, *entries(batch.targets, size)]):
        leaf = torch.from_numpy(leaf) if _numeric(leaf) else leaf  # noqa: PLW2901
        if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == size:
            common.update(f"{place}:{tuple(leaf.shape[1:])}{leaf.dtype}".encode())
            found += _rows(leaf.detach(), place).cpu()
        elif by_sample(leaf, size):
            own = [_number(hashlib.blake2b(_plain(x), digest_size=8)) for x in leaf]
            found += torch.tensor(own) * _keys(place, 1)
        else:
            common.update(f"{place}:".encode() + _plain(leaf))
    return _mixed(found ^ _number(common))


def _numeric(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray) and leaf.dtype.kind in "bif"


def _plain(value: Any) -> bytes:
    if not isinstance(value, Tensor):
        return repr(value).encode()
    return f"{tuple(value.shape)}{value.dtype}".encode() + _bytes(value.detach()[None]).cpu().numpy().tobytes()


def _number(digest: Any) -> int:
    return int.from_bytes(digest.digest(), "little", signed=True)


def _bytes(x: Tensor) -> Tensor:
    """``[n, bytes]`` of a tensor ``[n, ...]``."""
    x = x.to_dense() if x.layout != torch.strided else x
    x = torch.view_as_real(x.resolve_conj()) if x.is_complex() else x
    return x.reshape(len(x), -1).contiguous().view(torch.uint8)


def _rows(x: Tensor, place: int) -> Tensor:
    r"""A number for each row, int64 ``[n]``: :math:`\sum_i k_i s(w_i)` with odd keys k, for its words w of 8 bytes.

    Products move nothing of a word towards its low end, where floats of few digits have nothing: s multiplies a word
    and puts its high half over the low one.
    """
    raw = _bytes(x)
    if not raw.shape[1] or raw.shape[1] % 8 or raw.storage_offset() % 8:
        raw = torch.nn.functional.pad(raw, (0, 8 - raw.shape[1] % 8))  # a word of zeros adds nothing
    words = raw.view(torch.int64)
    keys = _keys(place, words.shape[1]).to(x.device)
    parts = words.split(max(1, BLOCK // words.shape[1]))
    return torch.cat([_spread(part).mul_(keys).sum(1) for part in parts])


def _spread(words: Tensor) -> Tensor:
    words = words * MIX[0][1]
    return (words >> 32).bitwise_xor_(words)


@lru_cache(maxsize=64)
def _keys(place: int, count: int) -> Tensor:
    """Odd keys of the words of a row, others for each place of inputs and targets."""
    return _mixed((torch.arange(1, count + 1) + (place << 32)) * GOLDEN) | 1


def _mixed(x: Tensor) -> Tensor:
    """The output function of SplitMix64 (Steele, Lea and Flood 2014)."""
    for shift, factor in MIX:
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return x


class Roll:
    """Calls the roll in every pass: samples are numbered in the order of the first, and found again by content.

    Equal samples are one another's doubles, and any of them may take the number of any other.

    Attributes:
        digests: of all samples of the first complete pass, int64 ``[n]``; None before it is over.
    """

    def __init__(self) -> None:
        self.digests: Tensor | None = None

    def __len__(self) -> int:
        return 0 if self.digests is None else len(self.digests)

    @property
    def digest(self) -> str:
        """A digest of all samples that does not depend on their order."""
        known = torch.zeros(0, dtype=torch.int64) if self.digests is None else self.digests
        return hashlib.sha256(known.sort().values.numpy().tobytes()).hexdigest()

    @property
    def order(self) -> str:
        """A digest of all samples in their order."""
        known = torch.zeros(0, dtype=torch.int64) if self.digests is None else self.digests
        return hashlib.sha256(known.numpy().tobytes()).hexdigest()

    def call(self) -> Call:
        """For one pass."""
        return Call(self)


class Call:
    """One pass: give it the digests of each batch, and tell it when the pass is over."""

    def __init__(self, roll: Roll) -> None:
        self.roll = roll
        self.seen = 0
        self._first: list[Tensor] = []
        self._left: dict[int, deque[int]] | None = None

    def numbers(self, digests: Tensor, batch: int) -> Tensor:
        """The numbers of the samples of the next batch.

        Raises:
            BatchError: the first pass did not have one of them (or not so many times).
        """
        start = self.seen
        self.seen += len(digests)
        known = self.roll.digests
        if known is None:
            self._first.append(digests)
            return torch.arange(start, self.seen)
        if self._left is None:
            if torch.equal(known[start : self.seen], digests):
                return torch.arange(start, self.seen)
            self._left = defaultdict(deque)
            for number, digest in enumerate(known[start:].tolist(), start):
                self._left[digest].append(number)
        return torch.tensor([self._find(digest, batch) for digest in digests.tolist()], dtype=torch.int64)

    def _find(self, digest: int, batch: int) -> int:
        assert self._left is not None  # noqa: S101 - `numbers` made it
        if not self._left[digest]:
            raise BatchError(
                f"The data changed between two passes: batch {batch} holds a sample that the first pass did not have, "
                f"or had fewer times; {CHANGED}."
            )
        return self._left[digest].popleft()

    def over(self) -> None:
        """The pass has reached its end.

        Raises:
            BatchError: it had fewer samples than the first.
        """
        if self.roll.digests is None:
            self.roll.digests = torch.cat(self._first)
        elif self.seen < len(self.roll):
            raise BatchError(
                f"The data changed between two passes: this one had {self.seen} samples and the first "
                f"{len(self.roll)}; {CHANGED}."
            )
