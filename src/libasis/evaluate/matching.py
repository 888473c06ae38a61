"""Which features of one basis are those of another: correlations, and a match of single features and of subspaces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..basis import SiteBasis
from ..cut import Record, Traced
from ..errors import OptionError
from ..measure import Accumulator
from ..numerics import StreamingMoments
from ..types import Matrix


@dataclass(frozen=True, eq=False)
class Joint:
    """Covariances of the features of two bases at one site.

    Attributes:
        a: of the features of A with each other, ``[k_a, k_a]``.
        b: of those of B, ``[k_b, k_b]``.
        ab: between them, ``[k_a, k_b]``.
    """

    a: Matrix
    b: Matrix
    ab: Matrix

    def correlations(self) -> Matrix:
        """Correlation of each feature of A with each of B, 0 where one does not vary: ``[k_a, k_b]``."""
        scale = (self.a.diagonal()[:, None] * self.b.diagonal()).clamp_min(0).sqrt()
        return torch.where(scale > 0, self.ab / scale.clamp_min(1e-300), 0.0).clamp(-1, 1)

    def subspaces(self, rows: list[int], columns: list[int]) -> float:
        """Root mean square of the canonical correlations of two groups of features, for the larger group."""
        a, b, ab = self.a[rows][:, rows], self.b[columns][:, columns], self.ab[rows][:, columns]
        shared = torch.linalg.pinv(a, hermitian=True) @ ab @ torch.linalg.pinv(b, hermitian=True) @ ab.T
        return float((shared.diagonal().sum() / max(len(rows), len(columns))).clamp(0, 1).sqrt())


@dataclass(frozen=True)
class Match:
    """Features of A and of B that span the same: one of each, or a group of nearly equal importance."""

    a: list[int]
    b: list[int]
    similarity: float


def by_directions(a: SiteBasis, b: SiteBasis) -> Joint:
    r"""Without data: covariances under the mean of both bases' own, :math:`G = C^{+T} \mathrm{diag}(v) C^+`.

    Raises:
        OptionError: the sites have different coordinates.
    """
    if a.d != b.d:
        raise OptionError(
            f"Site {a.name!r} has {a.d} coordinates in A and {b.d} in B, so directions cannot be compared; give traced "
            "and batches, and features are compared by their values."
        )
    covariance = sum((site.C_pinv.T * site.variances) @ site.C_pinv for site in (a, b)) / 2
    return Joint(a.C.T @ covariance @ a.C, b.C.T @ covariance @ b.C, a.C.T @ covariance @ b.C)


class JointMoments(Accumulator[list[Joint]]):
    """Covariances of the features of two bases on the same samples.

    Args:
        sites: of A and of B.
        other: the model of B, which is run on the same samples; None where it is that of A.

    Attributes:
        moments: of the features of both, per site.
        batches: number of batches seen.
    """

    sums = ("moments", "batches")

    def __init__(self, sites: list[tuple[SiteBasis, SiteBasis]], other: Traced | None) -> None:
        self.sites, self.other = sites, other
        self.moments = [StreamingMoments(a.k + b.k) for a, b in sites]
        self.batches = 0

    def add(self, record: Record) -> None:
        """Add one batch of A.

        Raises:
            OptionError: B has other positions.
        """
        twin = record if self.other is None else self.other.record(self.other.structure.joined(record.batch))
        for l, (sites, moments) in enumerate(zip(self.sites, self.moments, strict=True)):
            x, y = record.vectors(l), twin.vectors(l)
            if len(x) != len(y):
                raise OptionError(
                    f"Site {sites[0].name!r} has {len(x)} vectors in A and {len(y)} in B for the same batch; compare "
                    "sites with the same positions."
                )
            values = [site.encode(v.to("cpu", torch.float64)) for site, v in zip(sites, (x, y), strict=True)]
            moments.update(torch.cat(values, -1))
        self.batches += 1

    def finish(self) -> list[Joint]:
        """Of each site."""
        found = []
        for (a, _), moments in zip(self.sites, self.moments, strict=True):
            covariance, k = moments.covariance, a.k
            found.append(Joint(covariance[:k, :k], covariance[k:, k:], covariance[:k, k:]))
        return found


def match(joint: Joint, importances: tuple[Tensor, Tensor], least: float, tolerance: float) -> list[Match]:
    """Features of A and B that correspond, the most important first.

    Features are paired so that the squared correlations sum to the most (Hungarian method). A pair of at least
    ``least`` is a match. Of what is left, neighbours whose importances differ by less than ``tolerance`` are only
    defined up to a rotation among them, and are compared as one group: by the subspaces they span.
    """
    correlations = joint.correlations()
    pairs = _assign(correlations.square())
    found = [Match([i], [j], abs(float(correlations[i, j]))) for i, j in pairs if abs(correlations[i, j]) >= least]
    left = [(i, j) for i, j in pairs if abs(correlations[i, j]) < least]
    groups = [
        _neighbours(values, {m for match in found for m in getattr(match, side)}, tolerance)
        for values, side in zip(importances, ("a", "b"), strict=True)
    ]
    for rows, columns in _components(left, groups):
        similarity = joint.subspaces(rows, columns)
        if len(rows) + len(columns) > 2 and similarity >= least:
            found.append(Match(rows, columns, similarity))
    return sorted(found, key=lambda match: -float(importances[0][match.a].max()))


def _assign(gain: Matrix) -> list[tuple[int, int]]:
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(gain.numpy(), maximize=True)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _neighbours(importances: Tensor, taken: set[int], tolerance: float) -> list[int]:
    """A number for each feature, the same for those left over that follow each other at nearly equal importance."""
    group, number, last = [-1] * len(importances), -1, None
    for i in torch.argsort(importances, descending=True, stable=True).tolist():
        value = float(importances[i])
        if i in taken:
            continue
        if last is None or value < last * (1 - tolerance):
            number += 1
        group[i], last = number, value
    return group


def _components(pairs: list[tuple[int, int]], groups: list[list[int]]) -> list[tuple[list[int], list[int]]]:
    """Groups of A and B that pairs join, and all their features."""
    parent: dict[tuple[int, int], tuple[int, int]] = {}

    def root(x: tuple[int, int]) -> tuple[int, int]:
        while parent.setdefault(x, x) != x:
            x = parent[x]
        return x

    for i, j in pairs:
        parent[root((0, groups[0][i]))] = root((1, groups[1][j]))
    members: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
    for side, group in enumerate(groups):
        for feature, number in enumerate(group):
            if number >= 0 and (side, number) in parent:
                members.setdefault(root((side, number)), ([], []))[side].append(feature)
    return list(members.values())
