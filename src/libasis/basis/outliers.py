"""Whether few positions carry what varies at a site, and whether what follows cares: said with every fit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..cut import Record
from ..files import sentences
from ..numerics import StreamingMoments, coarse
from ..numerics.eigen import leading
from ..types import Matrix, Plain

FEW = 0.1
"""Outliers are told where so small a share of the positions could carry all, at equal norms."""
LEAST, TIMES, MOST = 0.2, 10, 0.5
"""Or where the first position has so many times its fair share, and the first share of all, or twice its fair share and
the last share of all."""
FAR, ALONE = 100, 0.9
"""Or where less than half of the positions could carry all, the mean square is so many times that of usual vectors (see
`weighing`), and one direction has so much of the variance."""


def sums_of(record: Record) -> Tensor:
    """By site but the last the sums of squared norms, of their squares, of those at first positions, of eighth roots.

    ``[sites - 1, 4]``; at sites of one position the second and third are 0, and all are except in half precision.
    """
    found = []
    for x, counted in zip(record.activations[:-1], record.counted[:-1], strict=True):
        alone = x.shape[1] == 1
        none = [x.new_zeros((), dtype=torch.float64)] if alone else []
        if alone and not coarse(x.dtype):
            found += none * 4
            continue
        s = torch.linalg.vector_norm(x, dim=-1, dtype=torch.float64).square()
        if counted is not None:
            s = s * counted
        first = s[:, 0] if counted is None else s * (counted.cumsum(1) == 1)
        told = none * 2 if alone else [s.flatten() @ s.flatten(), first.sum()]
        found += [s.sum(), *told, s.pow(1 / 16).sum()]
    return torch.stack(found).view(-1, 4)


def outlier(name: str, norms: Tensor, samples: int, moments: StreamingMoments, pulled: Matrix | None) -> Plain | None:
    r"""What there is to say of a site, or None.

    ``positions`` is :math:`(\sum s)^2 / (n \sum s^2)` of squared norms s, ``first`` the share of :math:`\sum s` at
    first positions; ``variance`` and ``sensitivity`` (None without M') are shares of the direction that varies most.
    """
    total, squares, at_first, roots = norms.tolist()
    if not squares > 0:
        return None
    n = moments.n
    few, first, fair = total**2 / (n * squares), at_first / total, samples / n
    told = few < FEW or first >= max(min(MOST, max(LEAST, TIMES * fair)), 2 * fair)
    far = few < MOST and total / n > FAR * (roots / n) ** 16
    if not told and not far:
        return None
    G = moments.covariance
    v = leading(G)
    variance = float(v @ G @ v / G.trace())
    if not told and variance < ALONE:
        return None
    sensitivity = None if pulled is None else float(v @ pulled.to(v) @ v / pulled.to(v).trace())
    row: Plain = {"site": name, "positions": few, "first": first, "variance": variance}
    return row | {"sensitivity": sensitivity}


def say(rows: Sequence[Plain], lang: str = "en") -> str:
    """One sentence for all sites with outliers, about the one where fewest positions carry most; empty for none."""
    if not rows:
        return ""
    words, worst = sentences(__package__ or "")[lang], min(rows, key=lambda row: row["positions"])
    sensitive = "" if worst["sensitivity"] is None else words["sensitivity"].format(**worst)
    more = words["more"].format(more=len(rows) - 1) if len(rows) > 1 else ""
    return words["outliers"].format(**{**worst, "sensitivity": sensitive, "more": more})
