"""What the edges of a section cost, and which sections are therefore estimated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..anatomy import Anatomy, read
from ..basis import Basis
from ..errors import OptionError
from ..measure import Records
from .drawn_sums import FIRST

AFFORDABLE = 4e12
"""So many multiplications the exact edges of a section may take: a minute or two of two cores."""

WIDE = 2**16
"""Sections of fewer pairs of features are not asked what they cost."""

ERROR, DRAWN = 0.1, 10
"""The relative error of ``"auto"``, and how many positions an error takes, times its square."""


def check_error(relative_error: float | str) -> None:
    """Refuse what says nothing about the error.

    Raises:
        OptionError: it is neither "auto" nor a number from 0 to below 1.
    """
    number = isinstance(relative_error, (int, float)) and not isinstance(relative_error, bool)
    if not (relative_error == "auto" or (number and 0 <= float(relative_error) < 1)):
        raise OptionError(
            f"relative_error is {relative_error!r}; give a number below 1, such as 0.1 for ten percent or 0 for exact "
            'edges, or "auto" to estimate them where exact ones are dear.'
        )


def estimated(records: Records, basis: Basis, relative_error: float | str) -> dict[int, float]:
    """The relative errors to which sections are estimated, by number; the others are measured exactly.

    With ``"auto"`` these are sections whose exact edges take more than `AFFORDABLE` multiplications.
    """
    pairs = [(a.k, b.k) for a, b in zip(basis.sites[:-1], basis.sites[1:], strict=True)]
    if not relative_error or (relative_error == "auto" and all(a * b < WIDE for a, b in pairs)):
        return {}
    return {l: one.error for l, one in enumerate(costs(records, pairs, relative_error)) if one.error}


@dataclass(frozen=True)
class EdgeCost:
    """What the edges of a section take.

    Attributes:
        exact: multiplications at all positions, about.
        error: the relative error to which they are estimated; 0 where they are exact.
        takes: multiplications, about: with errors of 10% those at 1,000 of the positions, as SmolLM2's sections took.
    """

    exact: float
    error: float
    takes: float


def costs(records: Records, pairs: Sequence[tuple[int, int]], relative_error: float | str) -> list[EdgeCost]:
    """Of each section, by its numbers of features in and out; one batch is run to see what the sections are."""
    record, found = records.first(), []
    for l, features in enumerate(pairs):
        anatomy = read(record.contexts[l])
        simple = not isinstance(anatomy, str) and anatomy.affine  # of which one product is enough
        each = multiplications(anatomy, record.activations[l].shape[1], features)
        positions = 1.0 if simple else records.total * record.count(l + 1) / max(record.size, 1)
        dear = positions * each > AFFORDABLE and features[0] * features[1] >= WIDE
        error = (ERROR if dear else 0.0) if relative_error == "auto" else float(relative_error)
        error = 0.0 if simple else error
        drawn = min(positions, FIRST + DRAWN / error**2) if error else positions
        found.append(EdgeCost(positions * each, error, drawn * each))
    return found


def multiplications(anatomy: Anatomy | str, positions: int, features: tuple[int, int]) -> float:
    """About how many the exact edges of a section take for each output position.

    Args:
        anatomy: of the section; a text where it has none, so that each feature takes a pass of its own.
        positions: of the input.
        features: k_in and k_out.
    """
    k_in, k_out = features
    if isinstance(anatomy, str):
        return 8.0 * k_in * k_in * k_out
    total = float(k_in * k_out * (1 + sum(branch.A.shape[0] * branch.A.shape[1] for branch in anatomy.pointwise)))
    if anatomy.attention is not None:
        (H, e, _), v = anatomy.attention.W_Q.shape, anatomy.attention.W_V.shape[1]
        total += k_in * H * (v * k_out + positions * (e + v))
    return total
