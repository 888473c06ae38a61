"""What a norm in front does to M', the same for every closed form, and how M' is put together."""

from __future__ import annotations

import torch
from torch import Tensor

from ..anatomy import Anatomy
from ..numerics import Sums, add_gram, mirrored
from ..numerics.eigen import symmetric
from ..types import Matrix


class NormSums(Sums):
    r"""Sums over positions that a norm in front calls for, and the assembly of :math:`M'`.

    A section reads :math:`W u` (all weights stacked, folded with the norm's projection). With
    :math:`J_{ts} = \delta_{ts} D + \sigma_s^{-1} N_{ts} W (I - \hat x_s\hat x_s^T/d)`,
    :math:`\Gamma_s = \sum_t N_{ts}^T Q N_{ts}`, :math:`Q = C'C'^T`, :math:`\gamma_s = \Gamma_s W \hat x_s`,

    .. math:: n M' = W^T \Gamma W - \frac{W^T Y + Y^T W}{d} + \frac{Z}{d^2} + X + X^T + n_{tt} D^T Q D,

    :math:`\Gamma = \sum \sigma^{-2}\Gamma_s`, :math:`Y = \sum \sigma^{-2} \gamma \hat x^T`,
    :math:`Z = \sum \sigma^{-2} (\hat x^T W^T \gamma)\, \hat x \hat x^T`,
    :math:`X = D^T C' (T W - L/d)`, :math:`T = \sum \sigma^{-1} C'^T N_{ss}`,
    :math:`L = \sum \sigma^{-1} (C'^T N_{ss} W \hat x)\, \hat x^T`. Without a norm Y, Z and L vanish and
    :math:`\sigma = 1`. Where `Norm.along` is not 1, it stands before each :math:`\hat x^T` and the :math:`\hat x` of Z.

    Args:
        rows: rows of W.
        anatomy: of the section.
        k: columns of C'.
        like: gives the device.
    """

    sums = ("Y", "Z", "L")

    def __init__(self, rows: int, anatomy: Anatomy, k: int, like: Tensor) -> None:
        norm, d = anatomy.norm, anatomy.d
        self.along = norm.along if norm is not None and norm.beside else None
        self.Y, self.Z, self.L = (like.new_zeros(n, d, dtype=torch.float64) for n in (rows, d, k))

    def add(self, normed: Tensor, inverse: Tensor, gamma: Tensor, energy: Tensor, reads: Tensor) -> None:
        r"""Add positions.

        Args:
            normed: :math:`\hat x` ``[n, d]``.
            inverse: :math:`\sigma^{-1}` ``[n, 1]``, 0 where the input does not count.
            gamma: :math:`\gamma` ``[n, rows]``.
            energy: :math:`\gamma \cdot W \hat x` ``[n, 1]``.
            reads: :math:`C'^T N_{ss} W \hat x` ``[n, k]``.
        """
        weighted = normed * (inverse if self.along is None else inverse * self.along(inverse))
        self.Y += gamma.T @ (weighted * inverse)
        add_gram(self.Z, weighted, weighted * energy)
        self.L += reads.T @ weighted

    def moment(self, W: Matrix, Gamma: Matrix, through: Matrix, skip: Matrix | None, pairs: int | Tensor) -> Matrix:
        r""":math:`n M'` ``[d, d]``.

        Args:
            W: ``[rows, d]``.
            Gamma: :math:`\Gamma` ``[rows, rows]``.
            through: T ``[k, rows]``.
            skip: :math:`C'^T D` ``[k, d]``, or None.
            pairs: how many positions count at both ends.
        """
        d = W.shape[1]
        cross = W.T @ self.Y
        M = W.T @ (Gamma @ W) - (cross + cross.T) / d + mirrored(self.Z) / d**2
        if skip is not None:
            X = skip.T @ (through @ W - self.L / d)
            M = M + X + X.T + skip.T @ skip * pairs
        return symmetric(M)
