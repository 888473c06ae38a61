"""What few tokens or coordinates make up most of the variance at a site, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from ..types import Vector
from .sums import SiteSums

LEAST, TIMES, MOST = 0.2, 10, 0.5
"""An outlier has so many times the variance of an average one, and the first share of all, or in any case the last."""
NAMED = 3


@dataclass(frozen=True)
class Outlier:
    """A place in the sequence or a coordinate with an outsize share of the variance.

    Attributes:
        site: the site's name.
        kind: ``"position"``, counted from the first that counts in a sample, or ``"coordinate"``.
        index: which one.
        variance: its share of the variance.
        sensitivity: its share of the squared derivative of the output.
    """

    site: str
    kind: Literal["position", "coordinate"]
    index: int
    variance: float
    sensitivity: float


def outliers(site: str, sums: SiteSums) -> Iterator[Outlier]:
    """Those of one site, the largest first."""
    pulled = sums.pulled.sum(0).diagonal()
    yield from _large(site, "position", sums.squares, sums.gradients, sums.counts)
    yield from _large(site, "coordinate", sums.moments.scatter.diagonal().cpu(), pulled, (pulled * 0 + 1))


def _large(
    site: str, kind: Literal["position", "coordinate"], squares: Vector, gradients: Vector, counts: Vector
) -> Iterator[Outlier]:
    if len(squares) < 2 or not float(squares.sum()) > 0:
        return
    share, fair = squares / squares.sum(), counts / counts.sum()
    sensitive = gradients / gradients.sum() if float(gradients.sum()) > 0 else gradients
    for i in share.argsort(descending=True).tolist():
        if share[i] < min(MOST, max(LEAST, TIMES * float(fair[i]))):
            break
        yield Outlier(site, kind, i, float(share[i]), float(sensitive[i]))


def advice(found: Iterable[Outlier]) -> list[str]:
    """What to do, one sentence for each place or coordinate."""
    groups: dict[tuple[str, int], list[Outlier]] = {}
    for one in found:
        groups.setdefault((one.kind, one.index), []).append(one)
    return [_sentence(*key, rows) for key, rows in groups.items()]


def _sentence(kind: str, index: int, rows: list[Outlier]) -> str:
    worst = max(rows, key=lambda one: one.variance)
    names = ", ".join(repr(one.site) for one in rows[:NAMED])
    where = names if len(rows) <= NAMED else f"{names} and {len(rows) - NAMED} more sites"
    shares = f"{worst.variance:.1%} of the variance and there {worst.sensitivity:.2%} of the sensitivity"
    has = f"has up to {shares}, at {where}"
    if kind == "coordinate":
        return (
            f"Coordinate {index} {has}; PCA spends its first directions on it, so compare LIB with PCA by what the "
            "model needs, not by variance."
        )
    if index == 0:
        return (
            f"The first position {has}; leave it out of the count: libasis.trace(..., "
            "mask=libasis.data.without_first())."
        )
    return f"Position {index} {has}; leave it out of the count: libasis.without_outliers(traced, batches)."
