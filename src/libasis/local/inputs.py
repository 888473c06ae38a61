"""The input in parts that can be changed: columns of a table, patches of a picture, tokens of a text."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..cards.contents import Contents
from ..cards.images import Format
from ..cut import Record
from ..data import Batch
from ..errors import OptionError
from ..measure import Accumulator
from ..numerics.means import Mean
from .group import Show

GRID = 8
"""A picture is cut into at most so many patches a side, and a long row of numbers into as many squared."""
POOL = 2**16
"""So many tokens, the first ones of the data, are there to be drawn from."""


@dataclass(frozen=True, eq=False)
class Part:
    """A part of the input.

    Attributes:
        name: of a column, the place of a patch ``(row, column)``, the number of a token.
        places: of its numbers in a flat sample.
        box: of a patch: top, left, height, width in pixels.
    """

    name: str
    places: Tensor
    box: tuple[int, int, int, int] | None = None


class Inputs(Accumulator["Inputs"]):
    """What the inputs of some data are like: mean and deviation of each number, or tokens to draw from.

    Args:
        show: how samples are shown, which decides what the parts are.
        patch: side of a patch in pixels; None for an eighth of the longer side.
    """

    sums = ("mean", "first")
    whole = True

    def __init__(self, show: Show, patch: int | None) -> None:
        self.show, self.patch = show, patch
        self.contents: Contents | None = None
        self.mean, self.first = Mean(), Mean()
        self.floating = True
        self.pool: list[Tensor] = []

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        if self.contents is None:
            self.contents = Contents(record.batch, record.size, self.show)
        x = self.contents.of(record.batch).detach()
        self.floating = x.is_floating_point()
        if self.floating:
            self.mean.add(x.flatten(1).double().cpu())
            return
        self.first.add(record.vectors(0).double().cpu())
        if sum(map(len, self.pool)) < POOL:
            counted = record.counted[0]
            same = counted is not None and tuple(counted.shape) == tuple(x.shape)
            chosen = x[counted.to(x.device)] if same and counted is not None and self._as_text else x
            self.pool.append(chosen.cpu().flatten() if self._as_text else chosen.cpu().flatten(1))

    @property
    def _as_text(self) -> bool:
        return self.contents is not None and self.contents.kind == "text"

    def finish(self) -> Inputs:
        """See `Accumulator`."""
        return self

    def of(self, batch: Batch) -> Tensor:
        """The input in question, of one batch."""
        assert self.contents is not None  # noqa: S101 - data are never empty
        return self.contents.of(batch).detach()

    def with_input(self, batch: Batch, x: Tensor) -> Batch:
        """The batch with another input."""
        assert self.contents is not None  # noqa: S101 - data are never empty
        name = self.contents.name
        if isinstance(name, str):
            return replace(batch, kwargs={**batch.kwargs, name: x})
        return replace(batch, args=tuple(x if i == name else value for i, value in enumerate(batch.args)))

    def parts(self, x: Tensor) -> list[Part]:
        """The parts of inputs ``[batch, ...]``, the same for all samples."""
        assert self.contents is not None  # noqa: S101 - data are never empty
        if self.contents.format is not None:
            return _patches(self.contents.format, self.patch)
        size = x[0].numel()
        if self._as_text or x.ndim <= 2:
            names = self.contents.columns or [str(i) for i in range(size)]
            step = 1 if self._as_text or len(names) == size and size <= 4 * GRID**2 else -(-size // GRID**2)
            return _runs(names if len(names) == size else [str(i) for i in range(size)], step)
        width = x.shape[-1]
        if width == 1:
            return _runs([str(i) for i in range(size)], -(-size // GRID**2))
        names = self.contents.columns or [str(i) for i in range(width)]
        every = torch.arange(size).view(-1, width)
        return [Part(name, every[:, i]) for i, name in enumerate(names)]

    def replaced(
        self, x: Tensor, part: Part, fill: float | None, numbers: Sequence[int], draw: tuple[int, int]
    ) -> Tensor:
        """Inputs ``[batch, ...]`` with one part replaced: by ``fill``, the mean, or drawn values.

        Args:
            x: the inputs.
            part: of each.
            fill: a number or token; None takes the mean of the data, or of whole numbers what stands elsewhere.
            numbers: of the samples, by which values are drawn.
            draw: seed, and which of several draws.
        """
        out = x.clone().flatten(1)
        if fill is not None:
            out[:, part.places.to(x.device)] = fill  # a fraction among whole numbers is refused beforehand
        elif self.floating:
            out[:, part.places.to(x.device)] = self.mean.mean[part.places].to(out)
        else:
            pool = torch.cat(self.pool)
            for row, number in enumerate(numbers):
                at = _random(*draw, number, int(part.places[0]))
                drawn = int(torch.randint(len(pool), (1,), generator=at))
                out[row, part.places.to(x.device)] = (pool[drawn] if pool.ndim == 1 else pool[drawn, part.places]).to(
                    out
                )
        return out.view_as(x)

    def noisy(self, x: Tensor, size: float, numbers: Sequence[int], draw: tuple[int, int]) -> Tensor:
        """Floating numbers ``[batch, ...]`` (inputs, or of whole ones the first activations) with normal noise."""
        spread = (self.mean if self.floating else self.first).deviation()
        spread = spread.view(x.shape[1:]) if spread.numel() == x[0].numel() else spread
        rows = []
        for number in numbers:
            at = _random(*draw, number, -1)
            rows.append(torch.randn(x.shape[1:], generator=at, dtype=torch.float64))
        return x + (size * torch.stack(rows) * spread).to(x)

    def check(self, x: Tensor, fill: float | None) -> None:
        """Refuse what cannot be put into the inputs.

        Raises:
            OptionError: it is a fraction among whole numbers.
        """
        if fill is None:
            return
        limits = torch.finfo(x.dtype) if x.is_floating_point() else torch.iinfo(x.dtype)
        if not limits.min <= fill <= limits.max or not (x.is_floating_point() or float(fill).is_integer()):
            raise OptionError(f"fill is {fill}; give a finite number, of inputs of whole numbers a whole one, or None.")


def _random(*key: int) -> torch.Generator:
    """Random numbers that depend on all of these."""
    return torch.Generator().manual_seed(functools.reduce(lambda seed, part: (seed * 1_000_003 + part) % 2**63, key))


def _runs(names: Sequence[str], step: int) -> list[Part]:
    """Runs of neighbouring numbers."""
    out: list[Part] = []
    for start in range(0, len(names), step):
        end = min(start + step, len(names))
        name = names[start] if end == start + 1 else f"{names[start]}-{names[end - 1]}"
        out.append(Part(name, torch.arange(start, end)))
    return out


def _patches(shape: Format, patch: int | None) -> list[Part]:
    """Square patches of a picture, the last ones smaller."""
    side = max(shape.height, shape.width)
    if patch is not None and not 1 <= patch <= side:
        raise OptionError(f"patch is {patch}; give a side from 1 to {side} pixels.")
    step = patch or max(1, -(-side // GRID))
    every = torch.arange(shape.channels * shape.height * shape.width)
    last = shape.channels_last
    places = every.view(shape.height, shape.width, -1) if last else every.view(-1, shape.height, shape.width)

    def cut(top: int, left: int) -> Iterator[Any]:
        rows, columns = slice(top, top + step), slice(left, left + step)
        box = min(step, shape.height - top), min(step, shape.width - left)
        inner = places[rows, columns] if last else places[:, rows, columns]
        yield Part(f"({top}, {left})", inner.flatten(), (top, left, *box))

    return [
        part for top in range(0, shape.height, step) for left in range(0, shape.width, step) for part in cut(top, left)
    ]
