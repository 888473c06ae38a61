"""Output positions drawn at random, with a chance for each: every sequence gets its share of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..importance import random_integers
from ..types import Counted, Vector


class Strengths:
    """The strengths of batches, up to so many numbers, in one piece of memory.

    Small tensors made one by one between large ones would split the heap, and it would grow with the data.
    """

    def __init__(self, most: int) -> None:
        self.most, self.used = most, 0
        self.places: dict[int, tuple[int, tuple[int, ...]]] = {}
        self.held = torch.empty(0)

    def get(self, key: int) -> Tensor | None:
        """What was put there, if it was."""
        if key not in self.places:
            return None
        start, shape = self.places[key]
        return self.held[start : start + math.prod(shape)].view(shape)

    def put(self, key: int, found: Tensor) -> None:
        """Keep a batch's, if there is room."""
        end = self.used + found.numel()
        if end > self.most:
            return
        if end > len(self.held):
            held = found.new_empty(max(2 * len(self.held), end))
            held[: self.used] = self.held[: self.used]
            self.held = held
        self.held[self.used : end] = found.flatten()
        self.places[key] = self.used, tuple(found.shape)
        self.used = end


@dataclass(frozen=True)
class Drawn:
    """The output positions drawn in the samples of a batch.

    Attributes:
        rows: each sample's own positions ``[b, m]``, int64; samples with fewer than m are filled up.
        real: which of them were drawn, bool ``[b, m]``.
        chance: of those that were, in the order of ``real``, float64.
    """

    rows: Tensor
    real: Tensor
    chance: Vector

    def of(self, samples: slice) -> tuple[Tensor, Tensor]:
        """Rows and which of them are real of some samples, no wider than these need."""
        real = self.real[samples]
        width = max(1, int(real.sum(1).max()))
        return self.rows[samples, :width], real[:, :width]

    @classmethod
    def among(cls, drawn: Tensor, chance: Tensor) -> Drawn:
        """From the positions drawn, bool ``[batch, t]``, and the chance of each."""
        rows = (~drawn).to(torch.int8).argsort(dim=1, stable=True)[:, : max(1, int(drawn.sum(1).max()))]
        real = drawn.gather(1, rows)
        return cls(rows, real, chance.gather(1, rows)[real])


def draw(chance: Tensor, counted: Counted | None, numbers: Tensor, key: tuple[int, ...]) -> Tensor:
    """Positions drawn, bool ``[batch, t]``: each with its chance, and in each sequence as many as these add up to.

    The number in a sequence is the sum of its chances, rounded up or down: they are drawn from a random order at equal
    distances of the chances added up (systematic sampling, Madow 1949). Orders and starts are hashes of the key and the
    sample's number: they depend neither on the batches nor on the device.

    Args:
        chance: float64 ``[batch, t]``, from 0 to 1; a position of chance 1 is drawn.
        counted: positions that count, bool ``[batch, t]``; None for all. Others are not drawn.
        numbers: of the samples in the data, int64 ``[batch]``.
        key: seed and what else tells draws apart.
    """
    chance = chance if counted is None else chance * counted
    place = torch.arange(chance.shape[1], device=chance.device).expand(chance.shape)
    if counted is not None:
        place = (counted.cumsum(1) - 1).clamp_min(0)  # which padding in front does not move
    random = random_integers(numbers.to(chance.device), chance.shape[1] + 1, key)
    start = (random[:, :1].to(torch.float64) / 2.0**64 + 0.5).clamp(0.0, 1.0 - 2.0**-53)
    order = random[:, 1:].gather(1, place).argsort(dim=1, stable=True)
    sure = chance >= 1.0
    sums = start + chance.masked_fill(sure, 0.0).gather(1, order).cumsum(1)
    hit = sums.floor() > torch.cat([start, sums[:, :-1]], 1).floor()
    return sure | torch.zeros_like(sure).scatter(1, order, hit)


def left_over(chance: Tensor) -> float:
    """The variance of how many are drawn in each sequence, all added up; `draw` rounds up or down."""
    part = chance.masked_fill(chance >= 1.0, 0.0).sum(1)
    part = part - part.floor()
    return float((part * (1.0 - part)).sum())


def chances(strengths: Tensor, counted: Counted | None, wanted: float, total: float, positions: int) -> Tensor:
    """With which chance each position is drawn, ``[batch, t]``: half by its strength, half alike for all.

    Args:
        strengths: of the positions, ``[batch, t]``.
        counted: those that count; None for all.
        wanted: how many are to be drawn in all the data; from twice as many as there are on, it is all of them.
        total: of all strengths.
        positions: how many there are in all the data.
    """
    shares = 1.0 / positions if total <= 0 else 0.5 * strengths / total + 0.5 / positions
    found = (wanted * shares + torch.zeros_like(strengths)).clamp_max(1.0)
    return found if counted is None else found * counted
