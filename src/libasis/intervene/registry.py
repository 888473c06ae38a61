"""The kinds of intervention that there are, by name, and what each of them takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..data import check_reiterable
from ..errors import OptionError
from ..types import Activations

if TYPE_CHECKING:
    from .intervention import Intervention
    from .place import Place

Replace = Callable[["Place"], Activations]

FILLERS = ("mean", "zero", "resample")
"""What can stand in for all that is not kept."""


def is_quantile(value: Any) -> bool:
    """Whether a value is a text such as ``"q0.9"``."""
    try:
        return isinstance(value, str) and value[:1] == "q" and 0 <= float(value[1:]) <= 1
    except ValueError:
        return False


def _numbers(value: Any, count: int) -> bool:
    return isinstance(value, float) or (isinstance(value, tuple) and len(value) == count)


TAKES: dict[str, Callable[[Any, int], bool]] = {
    "no value": lambda value, _: value is None,
    "a number or one for each": _numbers,
    'a number, one for each, or a quantile such as "q0.9"': lambda value, n: is_quantile(value) or _numbers(value, n),
    'no value, "mean", "zero" or "resample"': lambda value, _: value in (None, *FILLERS),
}
"""What a kind can ask of ``value``, in words, and whether a value is that for so many features."""


@dataclass(frozen=True)
class Kind:
    """A kind of intervention.

    Attributes:
        replace: gives the activation to go on with, ``[batch, position, d]``, at every position.
        takes: what ``value`` must be, of `TAKES`.
        needs: what it has to know of the data: ``"deviation"``, ``"donors"`` (other samples of the data), ``"given"``
            (donors that the user gives), or None.
    """

    replace: Replace
    takes: str
    needs: str | None

    def check(self, asked: Intervention) -> None:
        """Refuse a value or donors that it does not take.

        Raises:
            OptionError: it got such.
        """
        if not TAKES[self.takes](asked.value, asked.count):
            raise OptionError(f'to="{asked.to}" takes {self.takes}, but value is {asked.value!r}.')
        donors, numbers = asked.donors, donor_numbers(asked.donors)
        if self.needs != "given":
            if donors is not None:
                raise OptionError(f'to="{asked.to}" takes no donors; write to="swap", or leave them out.')
        elif numbers is None and not isinstance(donors, Iterable):
            raise OptionError(f'to="{asked.to}" got the donors {donors!r}; give numbers of samples, or batches.')
        elif numbers is None:
            check_reiterable(donors)
        elif min(numbers) < 0:
            raise OptionError(f"donors is {donors!r}; samples are numbered from 0.")

    def needs_of(self, asked: Intervention) -> str | None:
        """What an intervention has to know of the data; quantiles and a filler may need other samples."""
        return self.needs or ("donors" if asked.value == "resample" or is_quantile(asked.value) else None)


KINDS: dict[str, Kind] = {}


def kind(name: str, *, takes: str = "no value", needs: str | None = None) -> Callable[[Replace], Replace]:
    """Make a function a kind of intervention, ``Intervention(..., to=name)``; see `Kind`."""

    def add(replace: Replace) -> Replace:
        KINDS[name] = Kind(replace, takes, needs)
        return replace

    return add


def donor_numbers(donors: Any) -> tuple[int, ...] | None:
    """Numbers of samples as a tuple; None where donors are batches, or there are none."""
    listed = [donors] if isinstance(donors, (int, np.integer)) else donors
    listed = listed.tolist() if isinstance(listed, Tensor) and listed.ndim == 1 else listed
    if not isinstance(listed, (list, tuple, range, set, frozenset, np.ndarray)) or not len(listed):
        return None
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in listed)
    return tuple(sorted({int(n) for n in listed})) if whole else None
