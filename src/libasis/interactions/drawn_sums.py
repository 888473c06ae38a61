"""The edges of a section from some output positions, drawn until the edges that matter are known well enough."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..anatomy import read
from ..basis import Basis
from ..cut import Record
from ..importance import signs
from ..types import Matrix, Plain, Vector
from .drawn import Drawn, Strengths, chances, draw, left_over
from .edge_sums import EdgeSums
from .effects import FeatureEffects, GradientPath

FIRST, GROWTH, PROBES = 512, 8, 2
"""Positions drawn in the first round, by what they grow at most in one round, and probes of a position's strength."""

SHARE, HELD = 0.9, 0.95
"""The strongest edges that make this share of the strength matter; of them this share is held to the error."""


class DrawnEdgeSums(EdgeSums):
    r"""An unbiased estimate of :math:`E_{ji} = \frac1n \sum_t e_{tji}^2` from output positions t drawn at random.

    With chance :math:`\pi_t` a position is drawn, and then stands for :math:`1/\pi_t` of them, :math:`z = e^2/\pi`:
    :math:`\hat E = \frac1n \sum_{drawn} z` (Horvitz and Thompson 1952). The chances are by the strength of all edges at
    a position, which random signs of the features tell from one product with the Jacobian, and by half alike for all;
    how many are drawn in a sequence is what its chances add up to, up or down, see `draw`. The variance is

    .. math:: \sum_{drawn} (1-\pi) z^2 - (1 - \rho) \frac{(\sum (1-\pi) z)^2}{\sum (1-\pi)}

    over n², where :math:`\rho` is by how much the numbers drawn vary, 1 where each is drawn by itself (data of one
    position) and near 0 in long sequences. That sequences differ in their mean makes it a little too large.

    A first round over the data measures strengths, the next ones draw: more and more, each time anew, until of the
    strongest edges that together make 90% of the strength 95% have a relative standard error of at most
    ``relative_error``. Where that takes about as many positions as there are, all are taken, and the edges are exact.

    Args:
        basis: the features.
        l: number of the section.
        outputs: the output features wanted.
        path: where derivatives are taken.
        memory: bound in bytes for what is held beside the sums.
        relative_error: where to stop.
        seed: decides the draws, and no batch, device or generator does.

    Attributes:
        rest: sums of :math:`(1-\pi) z`, ``[1, outputs, k_in]``.
        fourth: sums of :math:`(1-\pi) z^2`, likewise.
        strength: sum of the strengths of positions.
        positions: output positions that count.
        spare: sum of :math:`1-\pi` over those drawn.
        loose: variance of the numbers drawn in the sequences, added up.
        drawn: how many were drawn.
        wanted: how many are to be drawn in this round; 0 in the first.
        total: strength of all the data.
        among: positions of all the data.
    """

    sums = (*EdgeSums.sums, "rest", "fourth", "strength", "positions", "spare", "loose", "drawn")
    plan = ("wanted", "total", "among")

    def __init__(  # noqa: PLR0913 - what is measured, and how well
        self, basis: Basis, l: int, outputs: slice, path: GradientPath, memory: int, *, relative_error: float, seed: int
    ) -> None:
        super().__init__(basis, l, outputs, path, memory)
        self.relative_error, self.seed = relative_error, seed
        self.rest: Tensor | None = None
        self.fourth: Tensor | None = None
        self.strength = self.spare = self.loose = self.total = 0.0
        self.positions = self.drawn = self.among = 0
        self.wanted = 0.0
        self._known = Strengths(memory // 256)  # a 32nd of what may be held

    @property
    def nbytes(self) -> int:
        """Of its sums."""
        return 2 * super().nbytes

    @property
    def rule(self) -> str:
        """How effects were computed, in words."""
        return super().rule if self.complete else f"{super().rule}, positions drawn"

    @property
    def complete(self) -> bool:
        """Whether all positions are taken."""
        return self.wanted >= 2 * self.among > 0

    def add(self, record: Record) -> None:
        """Add the strengths of one batch, or what is drawn of it."""
        effects = FeatureEffects(record, self.l, self.source, self.target, self.path, self.outputs)
        strengths = self._strengths(record, effects)
        if not self.wanted:
            self.strength += float(strengths.sum())
            self.positions += record.count(self.l + 1)
            return
        if self.squares is None:
            self.squares, self.signed, self.rest, self.fourth = (self._zeros(effects) for _ in range(4))
        chance = chances(strengths, effects.counted, self.wanted, self.total, self.among)
        drawn = draw(chance, effects.counted, record.numbers, (self.seed % 2**63, self.l, 1))
        self.counts[0] += record.count(self.l)
        self.drawn += int(drawn.sum())
        self.spare += float((1.0 - chance)[drawn].sum())
        self.loose += left_over(chance)
        most_first = drawn.sum(1).argsort(descending=True, stable=True)[: int(drawn.any(1).sum())]
        if len(most_first):
            some = record.select(most_first)
            if some is not record:  # which runs as a whole only
                drawn, chance = drawn[most_first], chance[most_first]
            self._take(some, drawn, Drawn.among(drawn, chance))

    def _strengths(self, record: Record, effects: FeatureEffects) -> Tensor:
        """Of the positions of a batch; remembered from round to round as far as that is little."""
        found = self._known.get(record.index)
        if found is None:
            random = signs(torch.arange(PROBES), effects.k_in, (self.seed % 2**63, self.l), like=effects.x)
            found = effects.strengths(random)
            self._known.put(record.index, found)
        return found

    def _take(self, record: Record, mask: Tensor, drawn: Drawn) -> None:
        """Add what was drawn of some samples."""
        assert self.squares is not None  # noqa: S101 - made before
        assert self.signed is not None  # noqa: S101
        assert self.rest is not None  # noqa: S101
        assert self.fourth is not None  # noqa: S101
        inverse, left = drawn.chance.reciprocal(), 1.0 - drawn.chance
        for columns, which, rows, effect in self._each(record, mask, drawn):
            at, flat = (0, columns, which), effect.flatten(1)
            self.signed[at] += (inverse[rows] @ flat).view(effect.shape[1:])
            flat = flat.square_()
            self.squares[at] += (inverse[rows] @ flat).view(effect.shape[1:])
            if not self.complete:
                weights = left[rows] * inverse[rows]
                self.rest[at] += (weights @ flat).view(effect.shape[1:])
                self.fourth[at] += ((weights * inverse[rows]) @ flat.square_()).view(effect.shape[1:])

    def _each(self, record: Record, mask: Tensor, drawn: Drawn) -> Iterator[tuple[slice, slice, Any, Tensor]]:
        """Slices of j and of i, which of those drawn, and their effects ``[drawn, j, i]``."""
        effects = FeatureEffects(record, self.l, self.source, self.target, self.path, self.outputs)
        anatomy = read(record.contexts[self.l])
        self.derived += isinstance(anatomy, str)
        if not isinstance(anatomy, str):
            yield from effects.closed(self._made(effects, anatomy), anatomy, self.memory, drawn)
            return
        effects.counted, every = mask, slice(0, effects.k_out)
        held = 3 * record.workspace(self.l, self.l + 1) * effects.x.element_size()
        chunk = max(1, int(self.memory // max(held, 1)))
        if effects.k_out * drawn.rows.shape[1] < effects.k_in:
            for columns, rows, effect in effects.drawn_reverse(chunk, drawn):
                yield columns, slice(0, effects.k_in), rows, effect
        else:
            for which, effect in effects.forward(chunk):
                yield every, which, slice(None), effect.permute(1, 2, 0)

    def another_round(self) -> bool:
        """Whether to draw, or to draw more."""
        if not self.wanted:
            self.total, self.among, wanted = self.strength, self.positions, float(FIRST)
        else:
            error = self.error
            if self.complete or error <= self.relative_error:
                return False
            wanted = self.wanted * min(GROWTH, 1.1 * (error / self.relative_error) ** 2)
        self.wanted = wanted if wanted < self.among else 2.0 * self.among
        fresh = self.emptied()
        for name in self.sums:
            setattr(self, name, getattr(fresh, name))
        return True

    @property
    def error(self) -> float:
        """The relative standard error that `HELD` of the edges have which make `SHARE` of the strength, or less."""
        assert self.squares is not None  # noqa: S101 - asked after a round
        return held_error(self.squares[0], self.variance.sqrt())

    @property
    def variance(self) -> Matrix:
        """Of the sums of squares, ``[outputs, k_in]``."""
        assert self.rest is not None  # noqa: S101 - asked after a round
        assert self.fourth is not None  # noqa: S101
        if self.spare <= 0.0:
            return torch.zeros_like(self.fourth[0])
        steady = 1.0 - min(1.0, self.loose / self.spare)
        return (self.fourth[0] - steady * self.rest[0].square() / self.spare).clamp_min_(0.0)

    def stderr(self) -> Matrix:
        """Standard errors of the edges; to be asked for before `finish`."""
        return self.variance.sqrt() / max(int(self.counts[0]), 1)

    def facts(self) -> Plain:
        """How much was drawn, of how many, and the error reached; to be asked for before `finish`."""
        return {"drawn": self.drawn, "positions": self.among, "reached": self.error}


def held_error(edges: Matrix | Vector, stderr: Matrix | Vector) -> float:
    """See `DrawnEdgeSums.error`; 0 where no edge has any strength."""
    strengths, order = edges.flatten().sort(descending=True)
    sums = strengths.cumsum(0)
    if not float(sums[-1]) > 0.0:
        return 0.0
    count = int((sums < SHARE * sums[-1]).sum()) + 1
    relative = stderr.flatten()[order[:count]] / strengths[:count]
    return float(relative.sort().values[min(count - 1, int(HELD * count))])
