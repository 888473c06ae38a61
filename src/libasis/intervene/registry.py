"""The kinds of intervention that there are, by name, and what each of them takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import check_reiterable
from ..errors import OptionError
from ..types import Activations

if TYPE_CHECKING:
    from .intervention import Intervention
    from .place import Place

FILLERS = ("mean", "zero", "resample")
"""What can stand in for all that is not kept."""


@dataclass(frozen=True)
class Kind:
    """A kind of intervention.

    Attributes:
        replace: gives the activation to go on with, ``[batch, position, d]``, at every position.
        check: refuses a value or donors that it does not take.
        needs: what of the data it has to know beforehand, of `NEEDS`, or None.
    """

    replace: Callable[[Place], Activations]
    check: Callable[[Intervention], None]
    needs: Callable[[Intervention], str | None]


KINDS: dict[str, Kind] = {}

NEEDS = ("donors", "deviation", "quantile")


def kind(
    name: str,
    *,
    takes: str | Callable[[Intervention], None] = "nothing",
    needs: str | Callable[[Intervention], str | None] | None = None,
) -> Callable[[Callable[[Place], Activations]], Callable[[Place], Activations]]:
    """Make a function a kind of intervention, ``Intervention(..., to=name)``.

    Args:
        name: of the kind.
        takes: ``"nothing"``, ``"numbers"``, ``"numbers or a quantile"``, ``"a filler"`` or ``"donors"``, or a function
            that refuses an intervention whose ``value`` or ``donors`` are not allowed.
        needs: ``"donors"``, ``"deviation"`` or ``"quantile"``, if it has to know these of the data, or a function that
            says so of an intervention.
    """

    def says(_: Intervention) -> str | None:
        return needs if isinstance(needs, str) else None

    def add(replace: Callable[[Place], Activations]) -> Callable[[Place], Activations]:
        check = takes if callable(takes) else _CHECKS[takes]
        KINDS[name] = Kind(replace, check, needs if callable(needs) else says)
        return replace

    return add


def is_quantile(value: Any) -> bool:
    """Whether a value is a text such as ``"q0.9"``."""
    try:
        return isinstance(value, str) and value[:1] == "q" and 0 <= float(value[1:]) <= 1
    except ValueError:
        return False


def donor_numbers(donors: Any) -> tuple[int, ...] | None:
    """Numbers of samples as a tuple; None where donors are batches."""
    listed = [donors] if isinstance(donors, (int, np.integer)) else donors
    if not isinstance(listed, (list, tuple, range, np.ndarray)) or not len(listed):
        return None
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in listed)
    return tuple(sorted({int(n) for n in listed})) if whole else None


def _nothing(intervention: Intervention) -> None:
    if intervention.value is not None:
        raise OptionError(f'to="{intervention.to}" takes no value, but value is {intervention.value!r}; leave it out.')
    _no_donors(intervention)


def _no_donors(intervention: Intervention) -> None:
    if intervention.donors is not None:
        raise OptionError(f'to="{intervention.to}" takes no donors; write to="swap", or leave them out.')


def _numbers(intervention: Intervention) -> None:
    value, count = intervention.value, intervention.count
    if not isinstance(value, float) and not (isinstance(value, tuple) and len(value) == count):
        raise OptionError(
            f'to="{intervention.to}" needs a value, but it is {value!r}; give a number, or {count} of them.'
        )
    _no_donors(intervention)


def _numbers_or_quantile(intervention: Intervention) -> None:
    if is_quantile(intervention.value):
        _no_donors(intervention)
    elif isinstance(intervention.value, str):
        raise OptionError(f'value is {intervention.value!r}; give numbers, or a quantile from "q0" to "q1".')
    else:
        _numbers(intervention)


def _filler(intervention: Intervention) -> None:
    if intervention.value not in (None, *FILLERS):
        raise OptionError(
            f'to="{intervention.to}" got the value {intervention.value!r}; what is not kept can stand at one of '
            f"{list(FILLERS)}."
        )
    _no_donors(intervention)


def _donors(intervention: Intervention) -> None:
    if intervention.value is not None:
        raise OptionError(f'to="{intervention.to}" takes no value, but value is {intervention.value!r}; leave it out.')
    given = intervention.donors
    if given is None or (donor_numbers(given) is None and not isinstance(given, Iterable)):
        raise OptionError(
            f'to="{intervention.to}" got donors of type {type(given).__name__}; give numbers of samples, or batches.'
        )
    if donor_numbers(given) is None:
        check_reiterable(given)
    elif min(donor_numbers(given) or ()) < 0:
        raise OptionError(f"donors is {given!r}; samples are numbered from 0.")


_CHECKS: dict[str, Callable[[Intervention], None]] = {
    "nothing": _nothing,
    "numbers": _numbers,
    "numbers or a quantile": _numbers_or_quantile,
    "a filler": _filler,
    "donors": _donors,
}
