"""Sums over all batches of what features contribute to some output features of one section."""

from __future__ import annotations

import torch

from ..anatomy import Anatomy, read
from ..basis import Basis
from ..cut import Record
from ..types import Matrix
from .closed import ClosedEffects
from .effects import Effects, Path


class Totals:
    """Sums over batches, dense and in float64.

    Args:
        basis: the features.
        l: number of the section.
        outputs: the output features wanted.
        path: where derivatives are taken.
        memory: bound in bytes for what is held beside the sums.

    Attributes:
        rule: how effects were computed, in words.
    """

    def __init__(self, basis: Basis, l: int, outputs: slice, path: Path, memory: int) -> None:
        self.l, self.outputs = l, outputs
        self.source, self.target = basis.sites[l], basis.sites[l + 1]
        self.path, self.memory = path, memory
        self.n = 0
        self.squares: Matrix = torch.zeros(0)
        self.sums: Matrix = torch.zeros(0)
        self.rule = ""
        self._closed: tuple[Anatomy, ClosedEffects] | None = None

    def means(self) -> tuple[Matrix, Matrix]:
        """Squared and signed edges ``[outputs, k_in]``; the sums are given up for them."""
        return self.squares.div_(max(self.n, 1)), self.sums.div_(max(self.n, 1))

    @torch.no_grad()  # of the model's own parameters; torch.func differentiates all the same
    def add(self, record: Record) -> None:
        """Add one batch: in closed form, or by forward or reverse mode, whichever needs fewer passes."""
        effects = Effects(record, self.l, self.source, self.target, self.path, self.outputs)
        if not self.n:
            shape = (effects.k_out, effects.k_in)
            self.squares = torch.zeros(shape, dtype=torch.float64, device=effects.x.device)
            self.sums = torch.zeros_like(self.squares)
        anatomy = read(record.contexts[self.l])
        self.rule = "derivatives" if isinstance(anatomy, str) else "closed form"
        if isinstance(anatomy, str):
            self._derivatives(effects, record)
        elif anatomy.affine and anatomy.skip is not None:
            self._affine(effects, anatomy.skip)
        else:
            for columns, which, effect in effects.closed(self._made(effects, anatomy), anatomy, self.memory):
                self.sums[columns, which] += effect.sum(0)
                self.squares[columns, which] += effect.square_().sum(0)
        self.n += record.count(self.l)

    def _made(self, effects: Effects, anatomy: Anatomy) -> ClosedEffects:
        """What does not depend on the batch, made once for batches of one shape."""
        if self._closed is None or self._closed[0] is not anatomy:
            self._closed = anatomy, ClosedEffects(anatomy, effects.readout, effects.C_pinv)
        return self._closed[1]

    def _affine(self, effects: Effects, skip: Matrix) -> None:
        through = (effects.readout.T @ skip.to(effects.x) @ effects.C_pinv.T).to(torch.float64)
        amounts = effects.amounts if effects.counted is None else effects.amounts[effects.counted]
        amounts = amounts.reshape(-1, effects.k_in).to(torch.float64)
        self.sums += through * amounts.sum(0)
        self.squares += through.square() * amounts.square().sum(0)

    def _derivatives(self, effects: Effects, record: Record) -> None:
        held = 3 * record.workspace(self.l, self.l + 1) * effects.x.element_size()
        chunk = max(1, self.memory // max(held, 1))
        if effects.k_out * record.activations[self.l + 1].shape[1] < effects.k_in:
            for columns, effect in effects.reverse(chunk):
                self.squares.index_add_(0, columns, effect.square().sum(1))
                self.sums.index_add_(0, columns, effect.sum(1))
        else:
            for which, effect in effects.forward(chunk):
                self.squares[:, which] += effect.square().sum(1).T
                self.sums[:, which] += effect.sum(1).T
