"""A last site that is too wide for a covariance of its own, as logits are: it is looked at in what its layer spans."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..anatomy import last_map
from ..cut import Record
from ..errors import SiteError
from ..numerics import StreamingMoments, Sums, Truncation, eigh_descending
from ..types import Matrix, Vector
from .basis import SiteBasis
from .whiten import oriented, principal_basis, whiten

WIDE = 2**14
"""Coordinates of the widest last site that has a covariance, and an identity, of its own."""


def span_of(record: Record) -> Matrix | None:
    """Orthonormal Q ``[d, r]``: a wide last site's activations are Q z and a constant; None for any other site."""
    d = record.activations[-1].shape[-1]
    W = last_map(record.contexts[-1]) if d > WIDE and record.contexts else None
    return None if W is None or 4 * W.shape[1] > d else torch.linalg.qr(W)[0]


class SpannedMoments(Sums):
    """The mean of a wide site, and the moments of what varies there: z = f Q ``[r]``.

    Attributes:
        name: of the site.
        directions: Q ``[d, r]``; empty where sums were read and no batch was seen yet.
        inner: moments of z.
        total: sum of all vectors, ``[d]``.
    """

    sums = ("inner", "total")

    def __init__(self, name: str, directions: Matrix) -> None:
        self.name, self.directions = name, directions
        self.inner = StreamingMoments(directions.shape[1])
        self.total = torch.zeros(len(directions), dtype=torch.float64)

    def update(self, x: Tensor) -> None:
        """Add vectors ``[n, d]``."""
        for part in x.split(256):
            part = part.to(torch.float64)
            self.total = self.total.to(part.device) + part.sum(0)
            self.inner.update(part @ self.directions)

    @property
    def n(self) -> float:
        """Number of vectors seen."""
        return self.inner.n

    @property
    def mean(self) -> Vector:
        """``[d]``."""
        return self.total / max(self.n, 1)

    @property
    def covariance(self) -> Any:
        """There is none.

        Raises:
            SiteError: always.
        """
        raise SiteError(
            f"Site {self.name!r} has {len(self.directions)} features, too many to look at one by one: its "
            f'{self.directions.shape[1]} principal directions are taken; use method="lib", or another last site.'
        )

    def basis(self, truncation: Truncation | None, dtype: torch.dtype) -> SiteBasis:
        """Principal directions of all that varies; with a truncation PCA, without its noise.

        :math:`C C^T = Q Q^T` leaves every importance what the identity makes it.
        """
        Q, report = self.directions, {"span": {"d": len(self.directions), "spanned": self.directions.shape[1]}}
        if truncation is None:
            g, U = eigh_descending(self.inner.covariance)
            g = g.clamp_min(0)
        else:
            found = principal_basis(self.name, whiten(self.name, self.inner, truncation, dtype), dtype)
            g, U, report = found.importances.to(Q), found.C.to(Q), report | found.rank_report
        C = Q @ U
        return oriented(self.name, self.mean, C, C.T, g, g, report)
