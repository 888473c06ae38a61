"""Mean and covariance in one pass, float64, merged exactly however the data are split."""

from __future__ import annotations

import torch
from torch import Tensor

from ..types import Matrix, Vector
from .blocks import Blocks
from .sums import Sums


class StreamingMoments(Sums):
    r"""Mean and covariance of vectors seen in pieces.

    Each piece is centred on its own mean before it is squared, and two sets are merged by
    :math:`S = S_a + S_b + \frac{n_a n_b}{n}(\mu_b-\mu_a)(\mu_b-\mu_a)^T` (Chan, Golub and LeVeque, 1983), so a large
    mean costs no digits and the order and size of the pieces change the result only by rounding.

    Vectors may be weighed: each then counts as so many.

    Attributes:
        n: number of vectors seen, or the sum of their weights.
        mean: ``[d]``.
        scatter: sum of centred outer products, ``[d, d]``, upper triangle.
    """

    sums = ("n", "mean", "scatter")

    def __init__(self, d: int) -> None:
        self.n: float = 0
        self.mean: Vector = torch.zeros(d, dtype=torch.float64)
        self.scatter: Matrix = torch.zeros(d, d, dtype=torch.float64)

    def update(self, x: Tensor, weights: Vector | None = None) -> None:
        """Add vectors ``[n, d]`` of any floating dtype, of positive weights; the moments move to their device."""
        self.mean, self.scatter = self.mean.to(x.device), self.scatter.to(x.device)
        size = Blocks.on(x.device).vectors
        for start in range(0, len(x), size):
            part = x[start : start + size].to(torch.float64)
            if weights is None:
                n, mean = len(part), part.mean(0)
                add_gram(self.scatter, part - mean)
            else:
                w = weights[start : start + size]
                n, mean = float(w.sum()), w @ part / w.sum()
                add_gram(self.scatter, (part - mean) * w.sqrt()[:, None])
            self._shift(n, mean)

    def merge(self, other: StreamingMoments) -> None:
        """Add all that another accumulator has seen."""
        if other.n:
            self.scatter += other.scatter.to(self.scatter.device)
            self._shift(other.n, other.mean.to(self.mean.device))

    def _shift(self, n: float, mean: Vector) -> None:
        """Join n more vectors whose own scatter has been added."""
        total = self.n + n
        delta = mean - self.mean
        self.scatter.addr_(delta, delta, alpha=self.n * n / total)
        self.mean = self.mean + delta * (n / total)
        self.n = total

    @property
    def covariance(self) -> Matrix:
        """``E[(f - mean)(f - mean)^T]``, ``[d, d]`` (divided by n, not n - 1)."""
        return mirrored(self.scatter) / max(self.n, 1)

    @property
    def mean_square(self) -> float:
        """``E|f|^2``, not centred."""
        return float(self.scatter.diagonal().sum() / max(self.n, 1) + self.mean @ self.mean)


def add_gram(total: Matrix, x: Tensor, y: Tensor | None = None) -> None:
    """Add :math:`x^T y`, if it is symmetric, to the upper triangle of ``total``: little more than half the work.

    What stands below the triangle of ``total`` afterwards is not to be read; see `mirrored`.

    Args:
        total: ``[d, d]``.
        x: vectors ``[n, d]``.
        y: the same vectors, each with a weight of its own; None for x.
    """
    y, width = x if y is None else y, Blocks.on(x.device).width
    for start in range(0, x.shape[1], width):
        part, rows, columns = total[start : start + width, start:], x[:, start : start + width].T, y[:, start:]
        if x.dtype == total.dtype:
            part.addmm_(rows, columns)  # added by the product itself, without a matrix in between
        else:
            part += rows @ columns


def mirrored(upper: Matrix) -> Matrix:
    """The symmetric matrix of an upper triangle."""
    return upper.triu() + upper.triu(1).T
