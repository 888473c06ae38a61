"""The error of a mean of changes in which each sample takes something from another one."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np


def shared_error(changes: np.ndarray, units: Sequence[Hashable], givers: Sequence[Hashable]) -> float:
    r"""By what factor the standard error of the mean is larger than over units alone; at least 1.

    A change belongs to two units, its own and the giver's, and two changes depend on each other where they have one in
    common. With the rests :math:`r_i` the variance of their sum is :math:`\sum_{i,j} r_i r_j` over such pairs (the
    dyadic-robust variance): :math:`\sum_g (\sum_{i \ni g} r_i)^2 - \sum_{\{g,h\}} (\sum_{i = \{g,h\}} r_i)^2`. Over
    units alone it is :math:`\sum_g (\sum_{i \in g} r_i)^2`.

    Args:
        changes: ``[n]``, those that are not a number are left out.
        units: the unit of each sample.
        givers: the unit that it takes something from; its own where it takes from that.
    """
    known = np.nonzero(~np.isnan(changes))[0].tolist()
    numbers: dict[Hashable, int] = {}
    own, other = (
        np.array([numbers.setdefault(labels[i], len(numbers)) for i in known], dtype=np.int64)
        for labels in (units, givers)
    )
    rest = changes[known] - changes[known].mean() if len(known) else changes[known]
    count, apart = len(numbers), own != other
    alone = np.bincount(own, rest, count)
    touched = alone + np.bincount(other[apart], rest[apart], count)
    pairs = np.minimum(own, other)[apart] * count + np.maximum(own, other)[apart]
    both = np.bincount(np.unique(pairs, return_inverse=True)[1], rest[apart])
    within, found = float((alone**2).sum()), float((touched**2).sum() - (both**2).sum())
    return math.sqrt(max(1.0, found / within)) if within > 0 else 1.0
