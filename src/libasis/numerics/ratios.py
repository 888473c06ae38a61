"""What share of one amount another is, and how far it could move with other units."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Iterable

import numpy as np
from torch import Tensor

from .estimates import ENOUGH, Estimate, paired


def ratio(
    parts: np.ndarray | Tensor,
    wholes: np.ndarray | Tensor,
    units: Iterable[Hashable] | None = None,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    r"""The share :math:`R = \sum a_i / \sum b_i` with its interval.

    By the error of a ratio to first order, the interval is that of the mean of :math:`a_i - R b_i` over the mean of
    b, with the rules of `paired` (units, few units, shares of 0 and 1); where all but a few units have their whole, or
    nothing of it, that of the mean of what those few lack or have. Where the mean of the wholes cannot be told from 0,
    the share is not defined: not a number, from minus infinity to infinity, and ``warning`` says so. ``p`` is that of
    the parts' mean being 0.

    Args:
        parts: a, ``[n]``; not a number where a sample has no score.
        wholes: b, ``[n]``.
        units: the unit of each sample; None takes samples as independent.
        confidence: of the interval.
        seed: of resamples.

    Raises:
        OptionError: as in `paired`.
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in (parts, wholes))
    labels = None if units is None else list(units)
    b = np.where(np.isnan(a), np.nan, b)
    whole, part = (paired(x, labels, confidence=confidence, seed=seed) for x in (b, a))
    if not (whole.low > 0 or whole.high < 0) or whole.value == 0:
        told = "not defined: the whole amount cannot be told from 0"
        return dataclasses.replace(part, value=math.nan, low=-math.inf, high=math.inf, warning=told)
    value = part.value / whole.value
    rounding = 1e-12 * np.nanmax(np.abs(b))
    few = [gap for gap in (a - b, a) if (np.abs(gap) > rounding).sum() < min(ENOUGH, part.units / 2)]
    rest = few[0].copy() if few else a - value * b
    rest[np.abs(rest) <= rounding] = 0.0
    error = paired(rest, labels, confidence=confidence, seed=seed)
    ends = sorted(value + (end - error.value) / whole.value for end in (error.low, error.high))
    return dataclasses.replace(part, value=value, low=ends[0], high=ends[1], method=error.method, warning=error.warning)
