"""Sums over all batches of what features contribute to some output features of one section."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from ..anatomy import Anatomy, read
from ..basis import Basis
from ..cut import Record
from ..measure import Accumulator
from ..types import Matrix
from .closed_form import ClosedEffects
from .effects import FeatureEffects, GradientPath


class EdgeSums(Accumulator[list[tuple[Matrix, Matrix]]]):
    """Sums over batches, dense and in float64, of the whole data or of each of several parts of the batches.

    Args:
        basis: the features.
        l: number of the section.
        outputs: the output features wanted.
        path: where derivatives are taken.
        memory: bound in bytes for what is held beside the sums.
        parts: how many; batch i is in part i modulo their number.

    Attributes:
        squares: sums of the squared effects, ``[parts, outputs, k_in]``; None before the first batch.
        signed: sums of the effects themselves, likewise.
        counts: of the vectors that count, ``[parts]``.
        derived: batches whose effects were not computed in closed form.
    """

    sums = ("squares", "signed", "counts", "derived")

    def __init__(self, basis: Basis, l: int, outputs: slice, path: GradientPath, memory: int, parts: int = 1) -> None:
        self.l, self.outputs = l, outputs
        self.source, self.target = basis.sites[l], basis.sites[l + 1]
        self.path, self.memory, self.parts = path, memory, parts
        self.squares: Tensor | None = None
        self.signed: Tensor | None = None
        self.counts = torch.zeros(parts, dtype=torch.int64)
        self.derived = 0
        self._closed: tuple[Anatomy, ClosedEffects] | None = None

    @property
    def nbytes(self) -> int:
        """Of its sums."""
        return 16 * self.parts * len(range(self.target.k)[self.outputs]) * self.source.k

    @property
    def rule(self) -> str:
        """How effects were computed, in words."""
        return "derivatives" if self.derived else "closed form"

    def emptied(self) -> Self:
        """See `Sums`; what was learned of the batches before decides how the next is rounded, so it is forgotten."""
        found = super().emptied()
        found._closed = None
        return found

    def finish(self) -> list[tuple[Matrix, Matrix]]:
        """Squared and signed edges ``[outputs, k_in]`` of each part; the sums are given up for them."""
        assert self.squares is not None  # noqa: S101 - data are never empty
        assert self.signed is not None  # noqa: S101
        counts = self.counts.clamp_min(1).to(self.squares)[:, None, None]
        return list(zip(self.squares.div_(counts), self.signed.div_(counts), strict=True))

    def add(self, record: Record) -> None:
        """Add one batch: in closed form, or by forward or reverse mode, whichever needs fewer passes."""
        effects = FeatureEffects(record, self.l, self.source, self.target, self.path, self.outputs)
        if self.squares is None or self.signed is None:
            self.squares, self.signed = self._zeros(effects), self._zeros(effects)
        part = record.index % self.parts
        squares, sums = self.squares[part], self.signed[part]
        anatomy = read(record.contexts[self.l])
        self.derived += isinstance(anatomy, str)
        if isinstance(anatomy, str):
            self._derivatives(effects, record, squares, sums)
        elif anatomy.affine and anatomy.skip is not None:
            _affine(effects, anatomy.skip, squares, sums)
        else:
            for columns, which, _, effect in effects.closed(self._made(effects, anatomy), anatomy, self.memory):
                sums[columns, which] += effect.sum(0)
                squares[columns, which] += effect.square_().sum(0)
        self.counts[part] += record.count(self.l)

    def _zeros(self, effects: FeatureEffects) -> Tensor:
        shape = (self.parts, effects.k_out, effects.k_in)
        return torch.zeros(shape, dtype=torch.float64, device=effects.x.device)

    def _made(self, effects: FeatureEffects, anatomy: Anatomy) -> ClosedEffects:
        """What does not depend on the batch, made once for batches of one shape."""
        if self._closed is None or self._closed[0] is not anatomy:
            self._closed = anatomy, ClosedEffects(anatomy, effects.readout, effects.C_pinv)
        return self._closed[1]

    def _derivatives(self, effects: FeatureEffects, record: Record, squares: Matrix, sums: Matrix) -> None:
        held = 3 * record.workspace(self.l, self.l + 1) * effects.x.element_size()
        chunk = max(1, self.memory // max(held, 1))
        if effects.k_out * record.activations[self.l + 1].shape[1] < effects.k_in:
            for columns, effect in effects.reverse(chunk):
                squares.index_add_(0, columns, effect.square().sum(1))
                sums.index_add_(0, columns, effect.sum(1))
        else:
            for which, effect in effects.forward(chunk):
                squares[:, which] += effect.square().sum(1).T
                sums[:, which] += effect.sum(1).T


def _affine(effects: FeatureEffects, skip: Matrix, squares: Matrix, sums: Matrix) -> None:
    through = (effects.readout.T @ skip.to(effects.x) @ effects.C_pinv.T).to(torch.float64)
    amounts = effects.amounts if effects.counted is None else effects.amounts[effects.counted]
    amounts = amounts.reshape(-1, effects.k_in).to(torch.float64)
    sums += through * amounts.sum(0)
    squares += through.square() * amounts.square().sum(0)
