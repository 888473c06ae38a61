"""The strengths of interactions under rotations, how sparse they are, and the rotations that make them sparsest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..types import Matrix, Vector
from .responses import Response
from .rotate import Rotations

WEAK = 1e-5
"""An interaction this part of its section's strength counts log 2 in the penalty; below, hardly anything."""

STEPS, ROUNDS, ENOUGH = 100, 10, 5e-4
"""Steps between two exact orthogonalisations, how many times at most, and the relative gain that ends them."""


def strengths(responses: Sequence[Response], importances: Sequence[Vector], rotations: Rotations) -> list[Matrix]:
    r"""The strengths of every section in rotated features, ``[k_out, k_in]``.

    :math:`E_{ji} = D_j\,\mathrm{mean}_n\big(\sum_s (R'^TJ_{ns}R)_{ji}\,(R^Ty_{ns})_i\big)^2` with
    :math:`D = \mathrm{diag}(R'^T\Lambda' R')`, at the last site :math:`D_j = 1` and no R'.
    """
    found = []
    for l, response in enumerate(responses):
        R, out = rotations[l], rotations[l + 1]
        J = response.J if R is None else response.J @ R
        if response.y is None:
            effect = J[:, :, 0]
        else:
            y = response.y if R is None else response.y @ R
            effect = (J * y[:, None]).sum(2)
        if out is not None:
            effect = torch.einsum("nji,jx->nxi", effect, out)
        E = effect.square().mean(0)
        if l + 1 < len(responses):
            D = importances[l + 1] if out is None else out.square().T @ importances[l + 1]
            E = D[:, None] * E
        found.append(E)
    return found


class Objective:
    r"""A weighted sum over sections of :math:`\sum_{ji}\log(1 + E_{ji} / (w\sum E^{LIB}))`, each over its LIB value.

    A logarithm grows with the number of interactions that are not weak rather than with their strength, so it is least
    where the same strength lies in few of them.

    Args:
        responses: of every section.
        importances: :math:`\Lambda` of the leading features of every site but the last.
    """

    def __init__(self, responses: Sequence[Response], importances: Sequence[Vector]) -> None:
        self.responses, self.importances = responses, importances
        self.sizes = [len(importance) for importance in importances]
        lib = strengths(responses, importances, [None] * (len(responses) + 1))
        self.totals = [E.sum() for E in lib]
        self.lib = [self._penalty(l, E) for l, E in enumerate(lib)]

    def _penalty(self, l: int, E: Matrix) -> Tensor:
        return torch.log1p(E / (WEAK * self.totals[l])).sum()

    def value(self, rotations: Rotations, weights: Sequence[float]) -> Tensor:
        """The weighted sum."""
        found = strengths(self.responses, self.importances, rotations)
        parts = [w * self._penalty(l, E) / self.lib[l] for l, (w, E) in enumerate(zip(weights, found, strict=True))]
        return torch.stack(parts).sum()

    def minimise(self, start: Rotations, weights: Sequence[float]) -> tuple[Rotations, float]:
        r"""Rotations near a start that make the weighted sum least; sites with None stay None.

        :math:`R \leftarrow R\exp(A - A^T)` with L-BFGS over the matrices A; after every `STEPS` steps R is made exactly
        orthogonal again and A starts at zero.
        """
        current, best = list(start), float("inf")
        for _ in range(ROUNDS):
            current, value = self._descend(current, weights)
            if best - value < ENOUGH * abs(value):
                return current, value
            best = value
        return current, best

    def _descend(self, start: Rotations, weights: Sequence[float]) -> tuple[Rotations, float]:
        generators = [None if R is None else torch.zeros_like(R, requires_grad=True) for R in start]
        free = [A for A in generators if A is not None]

        def turned() -> Rotations:
            return [
                None if R is None or A is None else R @ torch.matrix_exp(A - A.T)
                for R, A in zip(start, generators, strict=True)
            ]

        optimiser = torch.optim.LBFGS(
            free, max_iter=STEPS, history_size=20, tolerance_grad=1e-9, tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

        def closure() -> Tensor:
            optimiser.zero_grad()
            value = self.value(turned(), weights)
            value.backward()
            return value

        with torch.enable_grad():
            optimiser.step(closure)  # pyright: ignore[reportArgumentType]
        with torch.no_grad():
            found = [None if R is None else orthogonal(R) for R in turned()]
            return found, float(self.value(found, weights))


def orthogonal(R: Matrix) -> Matrix:
    """The orthogonal matrix nearest to R."""
    U, _, Vh = torch.linalg.svd(R)
    return U @ Vh
