"""The features of one site, gathered from a stream of batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..basis import SiteBasis
from ..cut import Record
from ..types import Activations, Counted, Plain
from .contents import Contents
from .extremes import Extremes, extreme_positions
from .histogram import Histogram
from .means import Mean


@dataclass(frozen=True)
class Example:
    """A sample at which a feature is extreme.

    Attributes:
        sample: its number in the data.
        position: where in the sample, or None at a site of one position.
        raw: its content, see `Contents.raw`.
        values: of a text, the feature at each token (NaN where it is not counted), or None at other sites.
        value: the feature's value there.
        target: in words, or None.
        prediction: in words, or None.
    """

    value: float
    sample: int
    position: int | None
    raw: Tensor
    values: Tensor | None
    target: str | None
    prediction: str | None

    def plain(self, contents: Contents) -> Plain:
        """As plain data, with the content as a person sees it."""
        values = None if self.values is None else [None if v != v else v for v in self.values.tolist()]
        return {
            "value": self.value,
            "sample": self.sample,
            "position": self.position,
            "target": self.target,
            "prediction": self.prediction,
            "content": contents.plain(self.raw, values, self.position),
        }


class Tally:
    """Mean, histogram and extreme samples of the chosen features of one site.

    The mean is kept of all features of the site (of the chosen ones alone at the last site): controls need them.

    Args:
        index: number of the site.
        site: its basis.
        chosen: the features with a card.
        every: whether the means of all features are needed.
        examples: samples to keep at each end.

    Attributes:
        all: mean and deviation of the features that are summed.
    """

    def __init__(self, index: int, site: SiteBasis, chosen: list[int], *, every: bool, examples: int) -> None:
        self.index, self.site, self.chosen = index, site, chosen
        self.summed = list(range(site.k)) if every else chosen
        self.mean, self.C = site.mean, site.C[:, self.summed]
        self.columns = torch.tensor([self.summed.index(i) for i in chosen] if not every else chosen)
        self.all = Mean()
        self.low = torch.full((len(chosen),), torch.inf, dtype=torch.float64)
        self.high = -self.low
        scale = site.variances[chosen].clamp(min=0).sqrt()
        self.histogram = Histogram(scale)
        self.ends: dict[int, Extremes[Example]] = {s: Extremes(len(chosen), examples, s) for s in (1, -1)}

    def features(self, x: Activations) -> Tensor:
        """All features that are summed, float64 on the CPU, ``[sample, position, feature]``."""
        x = x.to(torch.float64)
        return ((x - self.mean.to(x)) @ self.C.to(x)).cpu()

    def add(self, record: Record, first: int, made: Callable[[int, int, int], dict[str, Any]]) -> Tensor:
        """Add a batch whose samples are numbered from ``first``.

        Args:
            record: the batch.
            first: number of its first sample.
            made: what an `Example` knows of (row, position, positions of the site) besides the feature.

        Returns:
            The chosen features, float64 ``[sample, position, chosen]``.
        """
        z = self.features(record.activations[self.index])
        counted = self.counted(record)
        vectors = z.flatten(0, 1) if counted is None else z[counted]
        self.all.add(vectors)
        z, vectors = z[..., self.columns], vectors[:, self.columns]
        if len(vectors):
            self.low, self.high = torch.minimum(self.low, vectors.amin(0)), torch.maximum(self.high, vectors.amax(0))
        self.histogram.add(vectors)
        positions = z.shape[1]
        for sign, extremes in self.ends.items():
            values, where = extreme_positions(z, counted, sign)

            def make(row: int, feature: int, values: Tensor = values, where: Tensor = where) -> Example:
                at = int(where[row, feature])
                known = made(row, at, positions)
                if known["values"] is not None:
                    line = z[row, :, feature]
                    known["values"] = line.clone() if counted is None else line.masked_fill(~counted[row], torch.nan)
                at = at if positions > 1 else None
                return Example(float(values[row, feature]), first + row, at, **known)

            extremes.add(values, make)
        return z

    def counted(self, record: Record) -> Counted | None:
        """Which positions of a batch count, on the CPU."""
        counted = record.counted[self.index]
        return None if counted is None else counted.cpu()

    def card(self, place: int, contents: Contents) -> Plain:
        """What was gathered of the chosen feature at this place of the list."""
        column = self.columns[place]
        return {
            "n": self.all.n,
            "mean": float(self.all.mean[column]),
            "std": float(self.all.deviation()[column]),
            "min": float(self.low[place]),
            "max": float(self.high[place]),
            "histogram": self.histogram.facts(place),
            "top": [example.plain(contents) for example in self.ends[1].entries[place]],
            "bottom": [example.plain(contents) for example in self.ends[-1].entries[place]],
        }
