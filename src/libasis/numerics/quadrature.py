"""Nodes and weights for averages over a path."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import OptionError
from ..types import Vector

MOST = 1000
"""Nodes are the eigenvalues of a matrix of so many rows; that many are far more exact than any model needs."""


def gauss_legendre(nodes: int) -> tuple[Vector, Vector]:
    """Gauss-Legendre nodes and weights on [0, 1], float64, each ``[nodes]``; exact to degree ``2 * nodes - 1``.

    Raises:
        OptionError: fewer than one node, or more than `MOST`.
    """
    if not isinstance(nodes, int) or not 1 <= nodes <= MOST:
        raise OptionError(
            f"n_steps is {nodes!r}; integrated gradients need a whole number of steps from 1 to {MOST:,}."
        )
    x, w = np.polynomial.legendre.leggauss(nodes)
    return torch.from_numpy((x + 1) / 2), torch.from_numpy(w / 2)
