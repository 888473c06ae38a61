"""Which sample is which: each is known by its content, so that several passes over the data can be told apart."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import BatchError
from .batches import Batch

GOLDEN = 0x9E3779B97F4A7C15 - 2**64
MIX = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
BLOCK = 2**17
"""Words of 8 bytes that are worked on at once: they fit into a cache."""

CHANGED = (
    "give the same samples in every pass (no random augmentation, no sampling with replacement), or have them read once: "
    "more memory, a folder as spill, or libasis.keep"
)


def sample_digests(batch: Batch, size: int) -> Tensor:
    """A number for each of the ``size`` samples of a batch, from its inputs and targets alone, int64 on the CPU.

    Neither the other samples of the batch nor its place in the data matter; what all samples share (a scalar, a text)
    counts for each of them. Two different samples have the same number with a probability of about 2⁻⁶⁴.
    """
    found = torch.zeros(size, dtype=torch.int64)
    leaves, spec = pytree.tree_flatten((batch.args, batch.kwargs))
    common = hashlib.blake2b(str(spec).encode(), digest_size=8)
    for place, leaf in enumerate([*leaves, batch.targets]):
        if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == size:
            found = _mixed(found + _wrapped((place + 1) * GOLDEN)) + _rows(leaf.detach()).cpu()
        elif isinstance(leaf, (list, tuple)) and len(leaf) == size:
            own = torch.tensor([_number(hashlib.blake2b(_plain(x), digest_size=8)) for x in leaf], dtype=torch.int64)
            found = _mixed(found + _wrapped((place + 1) * GOLDEN)) + own
        else:
            common.update(f"{place}:".encode() + _plain(leaf))
    return _mixed(found ^ _number(common))


def _wrapped(number: int) -> int:
    """As an int64 that has overflowed."""
    return (number + 2**63) % 2**64 - 2**63


def _plain(value: Any) -> bytes:
    if not isinstance(value, Tensor):
        return repr(value).encode()
    return f"{tuple(value.shape)}{value.dtype}".encode() + _bytes(value.detach().reshape(1, -1)).cpu().numpy().tobytes()


def _number(digest: Any) -> int:
    return int.from_bytes(digest.digest(), "little", signed=True)


def _bytes(x: Tensor) -> Tensor:
    """``[n, bytes]`` of a tensor ``[n, ...]``."""
    x = torch.view_as_real(x.resolve_conj()) if x.is_complex() else x
    x = x.to_dense() if x.layout != torch.strided else x
    return x.reshape(len(x), -1).contiguous().view(torch.uint8)


def _rows(x: Tensor) -> Tensor:
    """A number for each row, int64 ``[n]``."""
    shape = _number(hashlib.blake2b(f"{tuple(x.shape[1:])}{x.dtype}".encode(), digest_size=8))
    raw = _bytes(x.reshape(len(x), -1))
    if not raw.shape[1]:
        return torch.full((len(x),), shape, device=x.device)
    if raw.shape[1] % 8:
        raw = torch.nn.functional.pad(raw, (0, -raw.shape[1] % 8))
    words = raw.view(torch.int64)
    keys = _keys(words.shape[1]).to(x.device)
    sums = [_hashed(part, keys) for part in words.split(max(1, BLOCK // words.shape[1]))]
    return _mixed(torch.cat(sums) + shape)


@lru_cache(maxsize=8)
def _keys(count: int) -> Tensor:
    """A key for each place of a row."""
    return _mixed(torch.arange(1, count + 1) * GOLDEN)


def _hashed(words: Tensor, keys: Tensor) -> Tensor:
    """Sums over a row of words, each mixed with its place."""
    mixed = (words ^ keys).mul_(MIX[0])
    mixed ^= (mixed >> 29) & (2**35 - 1)
    return mixed.mul_(MIX[1]).sum(1) + (mixed >> 32).sum(1)


def _mixed(x: Tensor) -> Tensor:
    """The output function of SplitMix64 (Steele, Lea and Flood 2014)."""
    for shift, factor in ((30, MIX[0]), (27, MIX[1]), (31, 1)):
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
                f"The data changed between two passes: batch {batch} holds a sample that the first pass did not have, or "
                f"had fewer times; {CHANGED}."
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
                f"The data changed between two passes: this one had {self.seen} samples and the first {len(self.roll)}; "
                f"{CHANGED}."
            )
