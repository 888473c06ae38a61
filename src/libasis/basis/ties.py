"""Features whose importances do not differ: the span that they share is determined, the directions in it are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from ..numerics.eigen import EPS64, accumulation_noise
from ..types import Matrix, Vector

SAME = 1e-3
"""Relative difference up to which two coordinates count as equally good (the first is taken), and values as equal."""


def same_size(dtype: torch.dtype) -> float:
    """Relative difference up to which rounding in ``dtype`` may decide which of two entries is the larger."""
    return 1e-6 if dtype == torch.float64 else SAME


@dataclass(frozen=True)
class Tie:
    """Neighbouring features of one site whose directions may be turned among themselves.

    Attributes:
        first: index of the first feature.
        last: index of the last one.
        why: ``"equal"``: their importances are equal up to rounding, and the directions were chosen towards the
            coordinates (`towards_coordinates`). ``"undecided"``: the importances differ by less than their errors, of
            the estimate or of the arithmetic, so that other probes or another order of the data give other directions.
    """

    first: int
    last: int
    why: Literal["equal", "undecided"]

    def __contains__(self, index: int) -> bool:
        return self.first <= index <= self.last

    def __str__(self) -> str:
        return f"{self.why} {self.first}-{self.last}"


def equal_tolerance(values: Vector, dtype: torch.dtype) -> Vector:
    r"""Up to which relative difference descending eigenvalues ``[k]`` of activations in ``dtype`` count as equal.

    Rounding turns two directions by about :math:`\epsilon\sqrt{\lambda\sum\lambda}` over the gap between their values.
    """
    eps = torch.finfo(dtype).eps
    rounding = 64 * eps * (values.sum() / values.clamp_min(torch.finfo(torch.float64).tiny)).sqrt()
    return rounding.clamp(EPS64**0.5, min(eps**0.5, SAME))


def turned(V: Matrix, values: Vector, decode: Matrix, dtype: torch.dtype) -> Matrix:
    """Eigenvectors ``[r, k]`` in whitened coordinates, those of equal values turned towards the site's coordinates.

    Args:
        V: of descending eigenvalues.
        values: the eigenvalues ``[k]``.
        decode: from whitened coordinates to those of the site, ``[r, d]``.
        dtype: what the activations were computed in.
    """
    spread = decode.square().sum(0).sqrt()
    V = V.clone()
    for first, last in _runs(values, equal_tolerance(values, dtype) * values):
        own = slice(first, last + 1)
        rows = V[:, own].T @ decode / torch.where(spread > 0, spread, torch.ones_like(spread))
        V[:, own] = V[:, own] @ towards_coordinates(rows)
    return V


def towards_coordinates(rows: Matrix) -> Matrix:
    """An orthogonal Q ``[m, m]`` such that Qᵀ times the rows ``[m, d]`` depends on their span alone.

    The first new row is the direction of the coordinate that the span reproduces best, the first of those that do so
    equally well; the next one that of the best coordinate in what is left: a QR decomposition with pivots.
    """
    left, Q = rows.clone(), torch.zeros(len(rows), len(rows)).to(rows)
    for i in range(len(rows)):
        sizes = left.square().sum(0)
        q = left[:, int((sizes >= sizes.max() * (1 - SAME)).to(torch.int8).argmax())].clone()
        q -= Q @ (Q.T @ q)
        Q[:, i] = q / q.norm()
        left -= Q[:, i : i + 1] * (Q[:, i] @ left)
    return Q


def ties(values: Vector, dtype: torch.dtype, relative_errors: Sequence[float] = ()) -> tuple[Tie, ...]:
    """The ties among descending importances ``[k]``.

    Args:
        values: the importances.
        dtype: what the activations were computed in.
        relative_errors: of the leading importances, where they are estimates.
    """
    values = values.cpu()
    known = torch.tensor(relative_errors[: len(values)], dtype=torch.float64)
    estimate = torch.nn.functional.pad(known, (0, len(values) - len(known))) * values
    rounding = torch.finfo(dtype).eps * (values * values.sum()).sqrt() + accumulation_noise(
        float(values.max()), len(values)
    )
    equal = equal_tolerance(values, dtype) * values
    found = []
    for first, last in _runs(values, torch.maximum(equal, estimate + estimate.roll(-1) + 2 * rounding)):
        gaps, own = values[first:last] - values[first + 1 : last + 1], slice(first, last)
        same = bool(((gaps <= equal[own]) & (estimate[own] <= equal[own])).all())
        found.append(Tie(first, last, "equal" if same else "undecided"))
    return tuple(found)


def _runs(values: Vector, least: Vector) -> list[tuple[int, int]]:
    """First and last of each run of neighbours that differ by at most ``least``."""
    runs: list[tuple[int, int]] = []
    for i in (values[:-1] - values[1:] <= least[:-1]).nonzero().flatten().tolist():
        if runs and runs[-1][1] == i:
            runs[-1] = runs[-1][0], i + 1
        else:
            runs.append((i, i + 1))
    return runs
