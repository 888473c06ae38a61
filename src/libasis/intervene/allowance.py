"""How much worse a score may get, and which counts keep it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ..errors import OptionError

Number = TypeVar("Number", float, Tensor)

ROUNDING = 1e-12
"""Far below one sample's share of a score, and far above the rounding of a mean."""


@dataclass(frozen=True)
class Allowance:
    """When a score is good enough: worse than the base score by at most ``max_drop``, rounding aside.

    Attributes:
        max_drop: in the units of the metric.
        higher_is_better: whether a larger score is a better one.

    Raises:
        OptionError: ``max_drop`` is no finite number.
    """

    max_drop: float
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.max_drop, (int, float)) or not math.isfinite(self.max_drop):
            raise OptionError(f"max_drop is {self.max_drop!r}; give a finite number, in the units of the metric.")

    def drop(self, base: Number, score: Number) -> Number:
        """By how much a score is worse than the base score; numbers, or tensors of them."""
        return base - score if self.higher_is_better else score - base

    def passes(self, base: Number, score: Number) -> bool | Tensor:
        """Whether a score is good enough; for tensors bool of the scores' shape."""
        return self.drop(base, score) <= self.max_drop + ROUNDING

    def stable(self, base: float, curve: Mapping[int, float]) -> int | None:
        """The smallest count measured from which every larger one is good enough too; None where not even all are."""
        counts = sorted(curve)
        return stable(counts, [bool(self.passes(base, curve[count])) for count in counts])


def stable(counts: Sequence[int], passed: Sequence[bool]) -> int | None:
    """The smallest of ascending counts from which every larger one passes too; None where the largest does not."""
    found = None
    for count, good in zip(reversed(counts), reversed(passed), strict=True):
        if not good:
            break
        found = count
    return found


def stable_counts(counts: Sequence[int], passed: Tensor) -> np.ndarray:
    """The same for each column of ``passed`` ``[counts, B]``; infinite where the largest count does not pass."""
    good = passed.flip(0).to(torch.int8).cumprod(0).sum(0)  # how many of the largest counts pass in a row
    return np.array([np.inf, *reversed(counts)], dtype=np.float64)[good.cpu().numpy()]
