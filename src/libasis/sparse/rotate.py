"""From rotations of whitened features to a basis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..basis import Basis, SiteBasis
from ..basis.whiten import oriented
from ..types import Matrix

Rotations = list[Matrix | None]
"""One per site, for its leading whitened features; None leaves the site as it is."""

TAIL = 1e-4
"""Features that together make at most this part of a site's importance are not rotated."""

MOST = 64
"""At most so many features of a site are rotated, the most important ones: the search grows with their cube."""


def leading(site: SiteBasis) -> int:
    """How many features of a site to rotate: the most important ones, without the last `TAIL` of the importance."""
    shares = site.importances.cumsum(0) / site.importances.sum()
    return min(int((shares < 1 - TAIL).sum()) + 1, MOST, site.k)


def whitened(site: SiteBasis) -> tuple[Matrix, Matrix]:
    r"""Maps to the features of unit variance, :math:`C\Lambda^{-1/2}` ``[d, k]``, and back ``[k, d]``."""
    scale = site.importances.sqrt()
    return site.C / scale, site.C_pinv * scale[:, None]


def rotated(site: SiteBasis, R: Matrix) -> SiteBasis:
    r"""The site with its leading whitened features rotated by an orthogonal R ``[m, m]``.

    New feature i is :math:`D_i^{1/2}\sum_a R_{ai}y_a` with importance and variance
    :math:`D_i = \sum_a R_{ai}^2\Lambda_a`; features are sorted by it.
    """
    full = torch.eye(site.k, dtype=torch.float64)
    full[: len(R), : len(R)] = R
    importances = full.square().T @ site.importances
    order = importances.argsort(descending=True, stable=True)
    full, importances = full[:, order], importances[order]
    to, back = whitened(site)
    scale = importances.sqrt()
    C, C_pinv = to @ full * scale, (full / scale).T @ back
    return oriented(site.name, site.mean, C, C_pinv, importances, importances, site.rank_report)


def turned(basis: Basis, rotations: Sequence[Matrix | None]) -> Basis:
    """The basis with its sites rotated."""
    pairs = zip(basis.sites, rotations, strict=True)
    return replace(basis, sites=tuple(s if R is None else rotated(s, R) for s, R in pairs), method="sparse")
