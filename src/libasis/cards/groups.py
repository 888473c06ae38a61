"""Groups of samples side by side: means of features and outputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..cut import Record
from ..measure import Accumulator
from ..numerics.means import Mean
from ..types import Plain
from ..verify import outputs_of, per_sample
from .contents import Contents
from .site_features import SiteFeatures


class Reference(Accumulator["Reference"]):
    """The mean of a group at some sites, ``[d]`` over the counted positions, and of what is shown of its samples."""

    sums = ("means", "contents")

    def __init__(self, sites: Sequence[SiteFeatures], contents: Contents) -> None:
        self.sites, self.contents = sites, contents
        self.means = [Mean() for _ in sites]

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        for site, mean in zip(self.sites, self.means, strict=True):
            mean.add(record.vectors(site.index).to(torch.float64).cpu())
        self.contents.look(self.contents.of(record.batch))

    def finish(self) -> Reference:
        """See `Accumulator`."""
        return self


class GroupMeans(Accumulator[Plain]):
    """Mean and standard error over samples of each feature with a card and of the outputs listed.

    A sample's feature or output is its mean over the counted positions; samples without one are left out.
    """

    sums = ("samples", "features", "answers")

    def __init__(self, name: str, sites: Sequence[SiteFeatures], outputs: Sequence[int]) -> None:
        self.name, self.sites, self.outputs = name, sites, list(outputs)
        self.samples = 0
        self.features = [Mean() for _ in sites]
        self.answers = Mean()

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        self.samples += record.size
        for site, mean in zip(self.sites, self.features, strict=True):
            z = site.features(record.activations[site.index])[..., site.columns]
            mean.add(_pooled(z, site.counted(record)))
        self.answers.add(per_sample(outputs_of(record.output), record)[:, self.outputs])

    def finish(self) -> Plain:
        """See `Accumulator`."""
        found = {}
        for site, mean in zip(self.sites, self.features, strict=True):
            rows = torch.stack([mean.mean, mean.error()], 1).tolist()
            found.update({f"{site.site.name}:{i}": row for i, row in zip(site.chosen, rows, strict=True)})
        outputs = torch.stack([self.answers.mean, self.answers.error()], 1).tolist()
        return {"name": self.name, "samples": self.samples, "features": found, "outputs": outputs}


def _pooled(z: Tensor, counted: Tensor | None) -> Tensor:
    if counted is None:
        return z.mean(1)
    some = counted.any(1)
    weight = counted[some].to(z)[..., None]
    return (z[some] * weight).sum(1) / weight.sum(1)
