"""The features of one site, gathered from a stream of batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..basis import SiteBasis
from ..cut import Record
from ..measure.draw import Item
from ..numerics import Sums
from ..numerics.means import Mean, Range
from ..types import Activations, Counted, Plain
from .answers import Answers
from .contents import Contents
from .extremes import Extremes, extreme_positions
from .histogram import Histogram

Made = Callable[[int, int, int], Item]
"""What is held of an example, from (row, position, positions of the site)."""


class SiteFeatures(Sums):
    """Mean, histogram and extreme samples of the chosen features of one site.

    The mean is kept of all features of the site (of the chosen ones alone at the last site): controls need them.

    Attributes:
        all: mean and deviation of the features that are summed.
        range: smallest and largest values of the chosen ones.
    """

    sums = ("all", "range", "histogram", "ends")

    def __init__(self, index: int, site: SiteBasis, chosen: list[int], *, every: bool, examples: int) -> None:
        self.index, self.site, self.chosen = index, site, chosen
        self.summed = list(range(site.k)) if every else chosen
        self.mean, self.C = site.mean, site.C[:, self.summed]
        self.columns = torch.tensor([self.summed.index(i) for i in chosen] if not every else chosen)
        self.all, self.range = Mean(), Range()
        self.histogram = Histogram(site.variances[chosen].clamp(min=0).sqrt())
        self.ends = {sign: Extremes(len(chosen), examples, sign) for sign in (1, -1)}

    def features(self, x: Activations) -> Tensor:
        """All features that are summed, float64 on the CPU, ``[sample, position, feature]``."""
        x = x.to(torch.float64)
        return ((x - self.mean.to(x)) @ self.C.to(x)).cpu()

    def add(self, record: Record, made: Made, *, text: bool) -> Tensor:
        """Add a batch.

        Returns:
            The chosen features, float64 ``[sample, position, chosen]``.
        """
        z = self.features(record.activations[self.index])
        counted = self.counted(record)
        vectors = z.flatten(0, 1) if counted is None else z[counted]
        self.all.add(vectors)
        z, vectors = z[..., self.columns], vectors[:, self.columns]
        self.range.add(vectors)
        self.histogram.add(vectors)
        for sign, extremes in self.ends.items():
            values, where = extreme_positions(z, counted, sign)

            def make(row: int, feature: int, where: Tensor = where) -> Item:
                at = int(where[row, feature])
                item = made(row, at, z.shape[1])
                item["value"] = z[row, at, feature].clone()
                if z.shape[1] > 1:
                    item["position"] = torch.tensor(at)
                if text and z.shape[1] > 1 and item["raw"].numel() == z.shape[1]:
                    item["values"] = z[row, :, feature].clone()
                    item.update({} if counted is None else {"counted": counted[row].clone()})
                return item

            extremes.add(values, record.numbers, make)
        return z

    def counted(self, record: Record) -> Counted | None:
        """Which positions of a batch count, on the CPU."""
        counted = record.counted[self.index]
        return None if counted is None else counted.cpu()

    def card(self, place: int, contents: Contents, answers: Answers) -> Plain:
        """What was gathered of the chosen feature at this place of the list."""
        column = self.columns[place]
        top, bottom = (
            [
                _plain(int(number), item, contents, answers)
                for number, item in zip(ends.numbers[place], ends.entries[place], strict=False)
            ]
            for ends in self.ends.values()
        )
        return {
            "n": self.all.n,
            "mean": float(self.all.mean[column]),
            "std": float(self.all.deviation()[column]),
            "min": float(self.range.low[place]),
            "max": float(self.range.high[place]),
            "histogram": self.histogram.facts(place),
            "top": top,
            "bottom": bottom,
        }


def _plain(number: int, item: dict[str, Any], contents: Contents, answers: Answers) -> Plain:
    """An example as plain data, with the content as a person sees it."""
    position = None if "position" not in item else int(item["position"])
    values = None
    if "values" in item:
        counted = item["counted"].tolist() if "counted" in item else [True] * len(item["values"])
        values = [v if c else None for v, c in zip(item["values"].tolist(), counted, strict=True)]
    return {
        "value": float(item["value"]),
        "sample": number,
        "position": position,
        "target": answers.words(item.get("target")),
        "prediction": answers.words(item.get("prediction")),
        "content": contents.plain(item["raw"], values, position),
    }
