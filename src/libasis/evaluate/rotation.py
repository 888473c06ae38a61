"""The control: LIB's own directions, turned at random."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from ..basis import Basis
from ..sparse import rotated
from ..types import Matrix


def random_rotation(basis: Basis, *, seed: int = 0) -> Basis:
    r"""The same kept space at every site but the last, in directions turned at random.

    In whitened coordinates :math:`y = \Lambda^{-1/2} \hat f`: with a random orthogonal R (uniform, one per site),
    :math:`D = \mathrm{diag}(R^T \Lambda R)`, :math:`C_r = C \Lambda^{-1/2} R D^{1/2}` and
    :math:`C_r^+ = D^{-1/2} R^T \Lambda^{1/2} C^+`, ordered by D. Kept are the span, the number of features, zero
    correlation, that a feature's variance is its importance, and the total importance :math:`\sum D = \sum \Lambda`.
    What such a basis needs beyond LIB is what LIB's choice of directions is worth.

    Args:
        basis: of ``fit(..., "lib")`` or ``"global"``.
        seed: of the rotations.
    """
    generator = torch.Generator().manual_seed(seed)
    turned = [replace(rotated(site, haar(site.k, generator)), rank_report={}) for site in basis.sites[:-1]]
    info = {**basis.info, "method": "random", "rotated": basis.method, "rotation_seed": seed}
    return Basis((*turned, basis.sites[-1]), "random", info)


def haar(k: int, generator: torch.Generator) -> Matrix:
    """A uniformly distributed orthogonal matrix ``[k, k]``, float64."""
    return nn.init.orthogonal_(torch.empty(k, k, dtype=torch.float64), generator=generator)
