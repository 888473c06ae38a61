"""Directions at a site: how much of each is in an activation, and what is written where it changes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..basis import SiteBasis
from ..errors import OptionError
from ..types import Activations, Matrix, Vector
from .intervention import Intervention


def most_important(site: SiteBasis, count: int | None = None) -> list[int]:
    """The numbers of a site's most important features, in order; equal ones in the order of their numbers."""
    return torch.sort(site.importances, descending=True, stable=True).indices[:count].tolist()


class AtSite:
    """Activations at a site with their features, which all interventions there share."""

    def __init__(self, site: SiteBasis, x: Activations) -> None:
        self.site, self.x = site, x

    @cached_property
    def centred(self) -> Activations:
        """What they have beyond the mean of the fit."""
        return self.x - self.site.mean.to(self.x)

    @cached_property
    def features(self) -> Tensor:
        """Of all features, ``[..., k]``."""
        return self.centred @ self.site.C.to(self.x)

    @cached_property
    def decoded(self) -> Activations:
        """The activations without what the basis leaves out."""
        return self.site.decode(self.features)


@dataclass(frozen=True, eq=False)
class Lines:
    """Some directions of a site.

    Attributes:
        site: the basis.
        which: numbers of features ``[m]``, or None for other directions.
        reading: of other directions ``[d, m]``: how much of them there is.
        writing: of other directions ``[m, d]``.
    """

    site: SiteBasis
    which: Tensor | None
    reading: Matrix | None = None
    writing: Matrix | None = None

    @classmethod
    def of(cls, site: SiteBasis, intervention: Intervention) -> Lines:
        """Those of an intervention."""
        if intervention.features is not None:
            return cls(site, torch.tensor(intervention.features, dtype=torch.int64))
        return cls.along(site, torch.tensor(intervention.directions, dtype=torch.float64))

    @classmethod
    def along(cls, site: SiteBasis, directions: Matrix, deviation: Vector | None = None) -> Lines:
        r"""Any directions V ``[m, d]``.

        The amounts of them in an activation f are :math:`(f - \mu) R` with the R that makes :math:`V R` the identity
        and what is left, :math:`(f - \mu)(1 - R V)`, uncorrelated with them: :math:`R = G^+ V^T (V G^+ V^T)^{-1}`, with
        the covariance :math:`G^+ = C\,\mathrm{diag}(1/\sigma^2)\,C^T` of uncorrelated features. A feature that does not
        vary takes no part.

        Args:
            site: the basis.
            directions: V.
            deviation: of each feature :math:`\sigma` ``[k]``; by default that of the fit.

        Raises:
            OptionError: directions depend on each other, or lie outside of what the basis keeps.
        """
        deviation = site.variances.clamp(min=0).sqrt() if deviation is None else deviation
        scaled = torch.where(deviation > 0, site.C / deviation, torch.zeros_like(site.C))
        seen = directions @ scaled  # [m, k], in features of unit variance
        gram = seen @ seen.T
        lengths = gram.diagonal()
        rank = (
            torch.linalg.matrix_rank(gram / (lengths[:, None] * lengths).sqrt(), hermitian=True) if lengths.all() else 0
        )
        if rank < len(directions):
            raise OptionError(
                f"Directions at {site.name!r} depend on each other, or one of them lies outside of what the basis "
                "keeps; leave some out."
            )
        return cls(site, None, torch.linalg.solve(gram, seen @ scaled.T).T, directions)

    def amounts(self, at: AtSite) -> Tensor:
        """How much of each there is, ``[..., m]``."""
        if self.which is not None:
            return at.features[..., self.which.to(at.x.device)]
        assert self.reading is not None  # noqa: S101 - of other directions
        return at.centred @ self.reading.to(at.x)

    def written(self, x: Activations) -> Matrix:
        """The change of an activation where one of them grows by 1, ``[m, d]``, like ``x``."""
        rows = self.site.C_pinv[self.which] if self.which is not None else self.writing
        assert rows is not None  # noqa: S101 - of other directions
        return rows.to(x)
