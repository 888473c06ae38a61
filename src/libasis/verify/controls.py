"""Random directions of the same variance as the features that are tested, and how an effect compares with theirs."""

from __future__ import annotations

import math

import torch

from ..basis import SiteBasis
from ..types import Vector
from .measure import Frames

LEAST = 3
"""Directions that vary at a site where features are compared with others."""
STOP = 10
"""Where runs are dear, the comparison ends with so many directions that do as much."""


def varying(site: SiteBasis) -> Vector:
    """Which features of a site vary on the data of the fit, bool ``[k]``."""
    return site.variances > 0


def why_none(site: SiteBasis, count: int) -> str | None:
    """Why so many features (or directions) cannot be compared with others of their site; None if they can."""
    free = int(varying(site).sum())
    if free < LEAST:
        return f"{site.name!r} has {free} directions that vary, and random ones are others only from {LEAST} on"
    if count >= free:
        return f"{count} of the {free} directions of {site.name!r} are replaced, so no others are left to compare with"
    return None


def frames(site: SiteBasis, count: int, number: int, seed: tuple[int, ...], start: int = 0) -> Frames:
    r"""Random frames of ``count`` orthonormal directions, in features divided by their standard deviation.

    With the standardised features :math:`y = (f - \mu) C / \sigma` and a frame U ``[m, k]``, uniform among all, y U^T
    is read and :math:`(U \sigma) C^+` written. As features are uncorrelated, each direction has variance 1, as each
    standardised feature has. The frame of a number depends on the seed and that number alone.

    Args:
        site: the basis.
        count: directions in a frame, m.
        number: of frames.
        seed: of all of them.
        start: number of the first.
    """
    which = varying(site)
    drawn = torch.stack([_frame(count, int(which.sum()), seed, start + i) for i in range(number)])
    return frames_of(site, drawn, site.variances.clamp(min=0).sqrt(), which)


def frames_of(site: SiteBasis, drawn: torch.Tensor, deviation: Vector, which: Vector) -> Frames:
    """Those of orthonormal rows ``[K, m, k]`` in the features ``which``, divided by their deviation ``[k]``."""
    own = deviation[which]
    reading = site.C[:, which] / own @ drawn.reshape(-1, len(own)).T
    return Frames(site, reading, (drawn * own) @ site.C_pinv[which])


def _frame(count: int, k: int, seed: tuple[int, ...], number: int) -> torch.Tensor:
    mixed = 0
    for part in (*seed, number):
        mixed = (mixed * 6364136223846793005 + part + 1442695040888963407) % 2**63
    generator = torch.Generator().manual_seed(mixed)
    return torch.linalg.qr(torch.randn(k, count, dtype=torch.float64, generator=generator))[0].T


def enough(tests: int, alpha: float, asked: int) -> int:
    """So many random directions that the smallest level of Holm's rule can be reached."""
    return max(asked, math.ceil(2 * tests / alpha))
