"""How far a site is from what the method assumes: few features, each with a meaning of its own in its direction.

A basis has at most as many features as the site has coordinates. A model that stores more ideas than that, in
directions that are not orthogonal (superposition), has none that takes it apart. Three signs of it can be measured:

- participation: importance is spread over most features, and most features take part in every vector;
- no heavy tails: a feature that stands for one idea is near zero most of the time and large now and then (kurtosis far
  above 3, that of a normal distribution); a mixture of many ideas looks normal, in any basis;
- loss recovered: dropping features costs in proportion, so that a large share of them is needed.

They are signs and no proof: a model that needs all its coordinates without superposition shows the first and third too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from ..basis import Basis, SiteBasis
from ..cut import Record, Traced
from ..intervene import stable
from ..measure import Accumulator, Records, measure_all
from ..types import Plain, Vector


def participation(values: Vector) -> float:
    r"""Effective number of the positive values, :math:`(\sum v)^2 / \sum v^2`: 1 for one, k for k equal ones."""
    total = values.clamp_min(0).sum()
    return float(total.square() / values.clamp_min(0).square().sum()) if total > 0 else 0.0


def feature_statistics(traced: Traced, basis: Basis, batches: Iterable[Any]) -> list[Plain]:
    r"""One row per site: how importance is spread, how many features take part in a vector, how heavy their tails are.

    Batches that `keep` returned are not run again.

    Returns:
        Rows with ``site``, ``d``, ``k``, ``importance`` (sum), ``participation`` (effective number of features by
        importance), ``participation_of_vector`` (the mean over vectors of :math:`(\sum_i \hat f_i^2)^2 / \sum_i
        \hat f_i^4`), ``kurtosis`` (:math:`E\hat f^4 / (E\hat f^2)^2` weighted by the features' importance; 3 for a
        normal distribution) and ``kurtosis_median``.
    """
    found = [FeatureTails(l, site) for l, site in enumerate(basis)]
    measure_all(Records.of(traced, batches, 1, progress=False), found, "feature statistics")
    return [tails.finish() for tails in found]


class FeatureTails(Accumulator[Plain]):
    """The row of one site in `feature_statistics`."""

    sums = ("second", "fourth", "effective", "vectors")

    def __init__(self, index: int, site: SiteBasis) -> None:
        self.index, self.site = index, site
        self.second = torch.zeros(site.k, dtype=torch.float64)
        self.fourth = torch.zeros_like(self.second)
        self.effective, self.vectors = 0.0, 0

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        square = self.site.encode(record.vectors(self.index)).to(torch.float64).square()
        fourth = square.square()
        total = square.sum(1).square() / fourth.sum(1).clamp_min(torch.finfo(torch.float64).tiny)
        self.second = self.second + square.sum(0).cpu()
        self.fourth = self.fourth + fourth.sum(0).cpu()
        self.effective += float(total.sum())
        self.vectors += len(square)

    def finish(self) -> Plain:
        """See `Accumulator`."""
        n, site = max(self.vectors, 1), self.site
        kurtosis = (self.fourth / n) / (self.second / n).square()
        varying = (self.second > 0) & kurtosis.isfinite()
        weights = site.importances.clamp_min(0) * varying
        return {
            "site": site.name,
            "d": site.d,
            "k": site.k,
            "importance": float(site.importances.sum()),
            "participation": participation(site.importances),
            "participation_of_vector": self.effective / n,
            "kurtosis": float((weights * kurtosis.nan_to_num()).sum() / weights.sum()),
            "kurtosis_median": float(kurtosis[varying].median()) if varying.any() else None,
        }


def recovered(curve: Mapping[int, float], base: float, d: int) -> Plain:
    r"""What share of the score is recovered per feature kept.

    With the score :math:`s_k` of the k most important features, :math:`r_k = (s_k - s_0) / (s_{base} - s_0)`: 0 where
    only the mean is kept, 1 for the whole model, whatever the metric's direction.

    Returns:
        ``share`` (r by count), ``features_for`` (for 0.5, 0.9 and 0.99 the smallest count measured from which every
        larger one recovers as much; None where none does), ``area`` (the mean of r over the share of features kept,
        from none to all d coordinates: near 1 where few features carry the score, 0.5 where each feature brings the
        same). Empty where the mean alone scores as the whole model.
    """
    counts = sorted(curve)
    if not counts or counts[0] != 0 or base == curve[0]:
        return {}
    share = {count: (curve[count] - curve[0]) / (base - curve[0]) for count in counts}
    area = sum((b - a) * (share[a] + share[b]) / 2 for a, b in zip(counts, counts[1:], strict=False))
    area += (d - counts[-1]) * share[counts[-1]]
    return {
        "share": [[count, value] for count, value in share.items()],
        "features_for": {str(goal): stable(counts, [share[c] >= goal for c in counts]) for goal in (0.5, 0.9, 0.99)},
        "area": area / d,
    }
