"""Groups of samples side by side: means of features and outputs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from ..cut import Record
from ..measure import Accumulator
from ..numerics.means import Mean
from ..types import Plain
from ..verify import outputs_of, per_sample
from .contents import Contents
from .independent import FirstRows, Independent, error_of
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
    """Mean and standard error over samples of each feature with a card, of the outputs listed and of a table's columns.

    A sample's feature or output is its mean over the counted positions; samples without one are left out. Samples of
    one unit count as one for the error; without units, rows of a table that depend on those before them count for as
    many as are independent.
    """

    sums = ("samples", "features", "answers", "columns", "series", "by_unit")

    def __init__(
        self,
        name: str,
        sites: Sequence[SiteFeatures],
        outputs: Sequence[int],
        contents: Contents,
        units: Sequence[Hashable] | None,
    ) -> None:
        self.name, self.sites, self.outputs, self.contents = name, sites, list(outputs), contents
        self.independent = Independent.given(units)
        self.samples = 0
        self.features = [Mean() for _ in sites]
        self.answers, self.columns = Mean(), Mean()
        self.series, self.by_unit = FirstRows(), None

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        self.samples += record.size
        parts = []
        for site, mean in zip(self.sites, self.features, strict=True):
            z = site.features(record.activations[site.index])[..., site.columns]
            parts.append(_pooled(z, site.counted(record)))
            mean.add(parts[-1])
        parts.append(per_sample(outputs_of(record.output), record)[:, self.outputs].cpu().double())
        self.answers.add(parts[-1])
        if self.contents.kind == "table":
            inputs = self.contents.of(record.batch)
            parts.append(inputs.reshape(len(inputs), -1).cpu().double())
            self.columns.add(parts[-1])
        if all(len(part) == record.size for part in parts):
            self._units(record, torch.cat(parts, 1))

    def _units(self, record: Record, rows: Tensor) -> None:
        units = self.independent.units
        if units is not None:
            codes = torch.from_numpy(units)[record.numbers]
            sums = torch.zeros(int(units.max()) + 1, 1 + rows.shape[1], dtype=torch.float64)
            sums.index_add_(0, codes, torch.cat([torch.ones(len(rows), 1, dtype=torch.float64), rows], 1))
            self.by_unit = sums if self.by_unit is None else self.by_unit + sums
        elif self.contents.kind in ("table", "number"):
            self.series.add(record.numbers, rows, record.targets)

    def finish(self) -> Plain:
        """See `Accumulator`."""
        means = [*self.features, self.answers, *([self.columns] if self.contents.kind == "table" else [])]
        errors = torch.cat([mean.error() for mean in means])
        facts = self.independent.facts()
        if self.by_unit is not None:
            errors = error_of(self.by_unit)
        elif len(times := self.series.times()) == len(errors):
            errors = errors * torch.from_numpy(times).sqrt()
            facts = Independent(None, self.series.block()).facts()
        rows = torch.stack([torch.cat([mean.mean for mean in means]), errors], 1).tolist()
        keys = [f"{site.site.name}:{i}" for site in self.sites for i in site.chosen]
        first, last = len(keys), len(keys) + len(self.outputs)
        found: Plain = {"name": self.name, "samples": self.samples, "rows": facts}
        found.update(features=dict(zip(keys, rows, strict=False)), outputs=rows[first:last])
        if self.contents.kind == "table":
            found["columns"] = dict(zip(self.contents.columns or (), rows[last:], strict=True))
        return found


def _pooled(z: Tensor, counted: Tensor | None) -> Tensor:
    if counted is None:
        return z.mean(1)
    some = counted.any(1)
    weight = counted[some].to(z)[..., None]
    return (z[some] * weight).sum(1) / weight.sum(1)
