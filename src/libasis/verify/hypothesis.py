"""What is claimed, before the data are looked at that decide: plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ..arguments import check_fields
from ..basis import Basis
from ..errors import OptionError, short
from ..intervene import Intervention
from .verdict import SIDES

KINDS = ("mean", "resample", "zero")
"""What can stand in for features in a test; the first two are those that a verdict "supported" needs."""
PARTS = 16
"""Of more parts than this each alone is not measured."""


@dataclass(frozen=True)
class Hypothesis:
    """That replacing some features of a site changes a metric, on a group of samples.

    Attributes:
        site: the site's name.
        features: numbers of features, replaced together: ``[3, 7]`` claims something of 3 and 7. Lists of numbers, such
            as ``[[3, 4], [7]]``, are parts, each of which is also replaced alone.
        metric: the name of a metric, a function ``(outputs, targets) -> scores [batch]``, ``"output[2]"`` (that output,
            the mean over counted positions) or ``"fc3:in[5]"`` (a feature of a later site).
        direction: which way the score goes when the features are replaced: ``"increase"``, ``"decrease"``, ``"any"``.
        delta: the smallest change that matters, in the metric's units. Without it "no effect above delta" is no
            possible verdict, and any change at all is "supported".
        name: by default what it says, in short.
        directions: in place of features any directions of the site, ``[m, d]`` in rows.
        group: the samples that it speaks of: None for all, a condition such as ``"target == 3"``,
            ``"prediction in [1, 7] and input[2] > 0.5"``, or the name of a group that `plan` and `verify` are given.
        kinds: what stands in for the features: ``"mean"``, ``"resample"`` (both of them are needed for the verdict
            "supported"), ``"zero"``.
        where: as in `Intervention`.

    Raises:
        OptionError: something is no site, feature, direction, metric or number, or is not allowed.
    """

    site: str
    features: Any = None
    metric: Any = "accuracy"
    direction: str = "any"
    delta: float | None = None
    name: str | None = None
    directions: Any = None
    group: str | None = None
    kinds: Sequence[str] = ("mean", "resample")
    where: str = "counted"

    def __post_init__(self) -> None:
        check_fields(self, "site", "direction", "delta", "name", "group", "kinds", "where")
        if self.direction not in SIDES:
            raise OptionError(f"direction is {short(self.direction)}; use one of {list(SIDES)}.")
        if self.delta is not None and not 0 < self.delta < np.inf:
            raise OptionError(f"delta is {self.delta!r}; give a number above 0, in the units of the metric, or None.")
        if not isinstance(self.metric, str) and not callable(self.metric):
            raise OptionError(f"metric is of type {type(self.metric).__name__}; give a metric's name or a function.")
        wrong = [kind for kind in self.kinds if kind not in KINDS]
        if wrong or not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise OptionError(f"kinds is {list(self.kinds)!r}; give some of {list(KINDS)}, none of them twice.")
        parts = _parts(self.features)
        whole = Intervention(self.site, [i for part in parts for i in part] if parts else self.features,
                             directions=self.directions, where=self.where)  # fmt: skip
        keep = {
            "kinds": tuple(self.kinds),
            "features": None if whole.features is None else (parts or whole.features),
            "directions": whole.directions,
            "delta": None if self.delta is None else float(self.delta),
        }
        keep["name"] = self.name or self._said(whole)
        for key, value in keep.items():
            object.__setattr__(self, key, value)

    def _said(self, whole: Intervention) -> str:
        metric = self.metric if isinstance(self.metric, str) else getattr(self.metric, "__name__", "a function")
        verb = {"any": "changes", "increase": "increases", "decrease": "decreases"}[self.direction]
        what = whole.label.removesuffix(" to mean")
        return f"replacing {what} {verb} {metric}" + (f" where {self.group}" if self.group else "")

    @property
    def label(self) -> str:
        """Its name."""
        return str(self.name)

    @property
    def numbers(self) -> tuple[int, ...] | None:
        """All its features; None where it is about other directions."""
        parts = _parts(self.features)
        return self.features if not parts else tuple(i for part in parts for i in part)

    @property
    def count(self) -> int:
        """How many features or directions are replaced."""
        return len(self.directions if self.numbers is None else self.numbers)

    @property
    def parts(self) -> list[tuple[str, list[int]]]:
        """What is also replaced alone: its name, and places among the features or directions; none of a single one."""
        nested, numbers = _parts(self.features), self.numbers
        if nested:
            ends = np.cumsum([len(part) for part in nested]).tolist()
            found = [
                ("+".join(map(str, p)), list(range(end - len(p), end))) for p, end in zip(nested, ends, strict=True)
            ]
        else:
            found = [(str(i if numbers is None else numbers[i]), [i]) for i in range(self.count)]
        return found if 1 < len(found) <= PARTS else []

    def intervention(self, to: str, seed: int, places: Sequence[int] | None = None, value: Any = None) -> Intervention:
        """Its features (or those at some places among them) replaced."""
        chosen = range(self.count) if places is None else places
        numbers, options = self.numbers, {"value": value, "where": self.where, "seed": seed}
        if numbers is not None:
            return Intervention(self.site, [numbers[i] for i in chosen], to, **options)
        return Intervention(self.site, to=to, directions=[self.directions[i] for i in chosen], **options)

    def check(self, basis: Basis) -> None:
        """Refuse what the basis does not have.

        Raises:
            OptionError: there is no such site or feature, or directions have another length.
        """
        self.intervention("mean", 0).check(basis)


def _parts(features: Any) -> tuple[tuple[int, ...], ...]:
    """Features that were given in parts."""
    if isinstance(features, (list, tuple)) and features and all(_listed(part) for part in features):
        return tuple(tuple(int(i) for i in part) for part in features)
    return ()


def _listed(part: Any) -> bool:
    return (
        isinstance(part, (list, tuple))
        and bool(part)
        and all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in part)
    )


def checked(hypotheses: Any, basis: Basis) -> tuple[Hypothesis, ...]:
    """One or several hypotheses, each with a name of its own, that fit a basis.

    Raises:
        OptionError: they don't, or there are none.
    """
    found = (hypotheses,) if isinstance(hypotheses, Hypothesis) else hypotheses
    if isinstance(found, (str, bytes, Tensor)) or not isinstance(found, Iterable):
        raise OptionError(f"hypotheses is of type {type(found).__name__}; give a list of libasis.Hypothesis.")
    found = tuple(found)
    if not found or not all(isinstance(one, Hypothesis) for one in found):
        given = "empty" if not found else f"a list of {', '.join(sorted({type(one).__name__ for one in found}))}"
        raise OptionError(f"hypotheses is {given}; give one libasis.Hypothesis or more.")
    names = [one.label for one in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise OptionError(f"Two hypotheses are called {short(twice[0])}; give each a name of its own.")
    for one in found:
        one.check(basis)
    return found
