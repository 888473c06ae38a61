"""Positions that do not count because their activation is too large: outliers, left out by their norm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..types import Activations, Counted, Plain


@dataclass(frozen=True)
class NormLimits:
    """The largest norms that count.

    Attributes:
        times: how many times the median.
        norms: by site.
        left_out: positions beyond, in the data that decided it.
        positions: those that counted before, in the same data.
    """

    times: float
    norms: Mapping[str, float]
    left_out: int = 0
    positions: int = 0

    def near(self, found: Mapping[str, Tensor]) -> dict[int, Counted]:
        """Of the norms ``[batch, position]`` at sites, by number of positions: whether all of them are within."""
        near: dict[int, Counted] = {}
        for name, values in found.items():
            near[values.shape[1]] = (values <= self.norms[name]) & near.get(values.shape[1], True)
        return near

    def __str__(self) -> str:
        return f"{self.left_out} of {self.positions} positions beyond {self.times:g} times the median norm do not count"

    def facts(self) -> Plain:
        """For the record."""
        return {**vars(self), "norms": dict(self.norms)}


def norms(activations: Mapping[str, Activations]) -> dict[str, Tensor]:
    """``[batch, position]``, float64, of those with several positions."""
    many = {name: x for name, x in activations.items() if x.shape[1] > 1}
    return {name: torch.linalg.vector_norm(x, dim=-1, dtype=torch.float64) for name, x in many.items()}
