"""Which directions are more than rounding where a few vectors are many times larger than the others."""

from __future__ import annotations

import torch
from torch import Tensor

from ..cut import Record
from ..measure import Accumulator
from ..numerics import StreamingMoments
from ..types import Vector

UNEVEN = 4.0
"""Vectors are weighed where their mean square is so many times that of usual ones."""

Weighing = tuple[float, float]
"""The squared norm above which a vector counts less, and what each counts at least."""


def weighing(norms: Tensor, n: float) -> Weighing | None:
    r"""How the vectors of a site are weighed; None where they are even.

    Usual is :math:`s = (\sum_t |f_t|^{1/8} / n)^{16}`, which a few large ones hardly move.

    Args:
        norms: sums of squared norms and of eighth roots of norms.
        n: how many vectors there are.
    """
    mean, usual = float(norms[0]) / n, (float(norms[-1]) / n) ** 16
    return (usual, usual / mean) if mean > UNEVEN * usual else None


def weights(x: Tensor, weighing: Weighing) -> Vector:
    """What each of the vectors ``[n, d]`` counts."""
    usual, least = weighing
    return (usual / torch.linalg.vector_norm(x, dim=-1, dtype=torch.float64).square()).clamp_max(1) + least


class Weighed(Accumulator[dict[str, StreamingMoments]]):
    r"""Moments in which each vector counts :math:`\min(1, s/|f_t|^2) + s/E|f|^2`, by site.

    Rounding is relative to a vector's own size, so that the large ones, as they are, bring noise into every direction.
    The exact rank is that of any positive weights. The first term makes the noise that of usual vectors; the second,
    which has as much of their squares again, keeps the directions that only large vectors have.
    """

    sums = ("moments",)

    def __init__(self, weighings: dict[int, Weighing], widths: dict[int, int]) -> None:
        self.weighings = weighings
        self.moments = {str(l): StreamingMoments(widths[l]) for l in weighings}

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        for l, weighing in self.weighings.items():
            x = record.vectors(l)
            self.moments[str(l)].update(x, weights(x, weighing))

    def finish(self) -> dict[str, StreamingMoments]:
        """The moments by the number of the site."""
        return self.moments
