"""What features read: how far each moves when one column of the inputs goes up by a standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..cut import Traced
from ..numerics import clamp
from ..types import Matrix, Plain, Vector
from .contents import Contents
from .drawn import DrawnSamples
from .site_features import SiteFeatures

COLUMNS, RUNS, MOST = 1024, 2**15, 64
"""Of wider inputs nothing is said; samples that are run, of all columns together and of one at most."""
READ, LISTED = 0.1, 16
"""A column is read where it moves the feature by this part of what the first one does; at most so many are listed."""


@dataclass(frozen=True)
class Reads:
    """What the features of one site read.

    Attributes:
        weight: mean size of the change of each feature, in its standard deviations, with the sign of the mean change,
            ``[columns, chosen]``.
        step: by how much each column went up, in its unit, ``[columns]``.
    """

    weight: Matrix
    step: Vector

    @property
    def read(self) -> Matrix:
        """Whether a feature reads a column, ``[columns, chosen]``."""
        return self.weight.abs() > READ * self.weight.abs().max(0).values

    def plain(self, place: int, names: Sequence[str], usual: tuple[Vector, Vector]) -> list[Plain]:
        """The columns that a feature reads, the strongest first, with their usual mean and deviation in their units."""
        order = torch.sort(self.weight[:, place].abs(), descending=True, stable=True).indices[:LISTED].tolist()
        return [
            {
                "column": names[c],
                "weight": float(self.weight[c, place]),
                "step": float(self.step[c]),
                "mean": float(usual[0][c]),
                "std": float(usual[1][c]),
            }
            for c in order
            if bool(self.read[c, place])
        ]


def reads_of(
    traced: Traced, contents: Contents, rows: DrawnSamples, sites: Sequence[SiteFeatures]
) -> list[Reads] | None:
    """What the features of each site read, on some of the samples drawn; None for other inputs than tables."""
    batches = list(rows.batches(MOST)) if contents.kind == "table" else []
    if not batches or not contents.of(batches[0]).is_floating_point():
        return None
    step = contents.spread()
    width = len(step)
    if width > COLUMNS:
        return None
    batches = list(rows.batches(clamp(RUNS / width, MOST)))

    def features(column: int | None) -> list[torch.Tensor]:
        given = [batch if column is None else contents.moved(batch, column, float(step[column])) for batch in batches]
        with torch.no_grad():
            found = [[s.features(r.activations[s.index])[..., s.columns] for s in sites] for r in traced.stream(given)]
        return [torch.cat(parts).mean(1) for parts in zip(*found, strict=True)]

    base = features(None)
    deviation = [s.all.deviation()[s.columns].clamp(min=1e-300) for s in sites]
    weights: list[list[Vector]] = [[] for _ in sites]
    for column in range(width):
        for i, now in enumerate(features(column)):
            change = (now - base[i]) / deviation[i]
            weights[i].append(change.abs().mean(0).copysign(change.mean(0)))
    return [Reads(torch.stack(own), step) for own in weights]
