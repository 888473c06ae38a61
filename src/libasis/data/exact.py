"""Numbers from files become float32 or int64: those that would be others afterwards are refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import SourceError

ROUNDING = 2.0**-22
"""Float32 rounds by less than this; what changes by more is too large or too small for it."""

DETAIL = 1e-3
"""A rounding by less than this part of a column's standard deviation hides nothing of how it varies."""

CONSTANT = 1e-12
"""A column that varies by less than this part of its size is constant, and its variation itself rounding."""


def as_float32(values: np.ndarray, place: Callable[[list[int]], str]) -> np.ndarray:
    """Finite numbers ``[n, ...]`` as float32.

    A whole number must stay what it is (floats below 2^63, beyond which they do not count in ones). Any other is
    rounded, as always in float32, but neither to 0 or infinity nor by so much that it hides how samples differ.

    Args:
        values: the first dimension is the samples.
        place: says where an index is, as the beginning of a sentence.

    Raises:
        SourceError: a number would be another one.
    """
    with np.errstate(all="ignore"):
        held = values.astype(np.float32)
        back = held.astype(values.dtype)
    if np.array_equal(back, values):
        return held
    if values.dtype.kind in "iu":
        lost = back != values
    else:
        wide = np.promote_types(values.dtype, np.float64)
        lost = _lost(values.astype(wide), held.astype(wide))
    _refuse(values, lost, held, "float32", place)
    return held


def as_int64(values: np.ndarray, place: Callable[[list[int]], str]) -> np.ndarray:
    """Whole numbers as int64.

    Raises:
        SourceError: one is too large.
    """
    held = values.astype(np.int64)
    if values.dtype.kind == "u":
        _refuse(values, held < 0, held, "int64", place)
    return held


def _lost(values: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Which numbers float32 does not hold."""
    with np.errstate(all="ignore"):
        size, error, spread = np.abs(values), np.abs(held - values), values.std(0)
        spread = np.where(spread > CONSTANT * size.max(0), spread, np.inf)
        whole = (values == np.floor(values)) & (size < 2.0**63)
        return (error > 0) & (whole | (error > ROUNDING * size) | (error > DETAIL * spread))


def _refuse(
    values: np.ndarray, lost: np.ndarray, held: np.ndarray, kind: str, place: Callable[[list[int]], str]
) -> None:
    if lost.any():
        index = np.argwhere(lost)[0].tolist()
        given, found = values[tuple(index)], held[tuple(index)]
        given = int(given) if given == np.floor(given) and abs(float(given)) < 2.0**64 else given
        raise SourceError(
            f"{place(index)} holds {given}, which would be {float(found):.9g} in {kind}; subtract a constant or change "
            "the unit first, or leave it out."
        )
