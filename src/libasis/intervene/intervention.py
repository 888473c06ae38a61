"""What is to be replaced, and by what: plain data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arguments import check_fields
from ..basis import Basis
from ..errors import OptionError
from ..types import Plain
from .registry import KINDS, donor_numbers

WHERE = ("counted", "all")


@dataclass(frozen=True)
class Intervention:
    """Features of a site (or directions in it), and what stands in for them.

    The rest of the activation stays as it is, except with ``"keep_only"``.

    Attributes:
        site: the site's name.
        features: numbers of features of the basis, one or several, which are replaced together.
        to: what they are replaced by, at each position:

            - ``"mean"``: their mean on the data of the fit, where a feature is 0;
            - ``"zero"``: their value at a zero activation;
            - ``"resample"``: their values in another sample, see below;
            - ``"set"``: ``value``, a number or one for each feature; ``"q0.9"`` is each one's quantile 0.9 over the
              counted positions of these data;
            - ``"shift"``: what they are, plus ``value`` (a number or one for each) times their standard deviation over
              the counted positions of these data;
            - ``"keep_only"``: they keep their values. What the basis leaves out stands at its mean, all other features
              stand at their mean, or as ``value`` says: ``"mean"``, ``"zero"`` or ``"resample"``;
            - ``"swap"``: their values in the samples that ``donors`` gives.
        value: see ``to``.
        donors: for ``"swap"``: numbers of samples in the data, or batches of other samples.
        directions: in place of features any directions of the site, ``[m, d]`` in rows. How much of each is in an
            activation is what leaves a rest that is uncorrelated with them, by the variances of the basis, whose
            features are taken for uncorrelated: for the direction of a feature, a row of its ``C_pinv``, that is the
            feature.
        where: ``"counted"``: positions that don't count stay as they are; ``"all"``: they are replaced too.
        seed: of ``"resample"``, and of the choice among donors.
        name: for the reader; by default what it does, in short.

    A sample takes all its values from one other sample, its donor (from itself only where no other one was given). Who
    is whose donor depends on the seed, the data and the cut alone, not on how the data are split into batches, nor on
    ``memory``. At the j-th counted position stands what the donor has at its own j-th counted position; where the donor
    has fewer, it starts again. Donors are held in 256 MiB, at least 16 of them: of more data than that a part, drawn at
    random, serves all others, and quantiles are theirs.

    Raises:
        OptionError: something is no site, feature, direction or value, or does not go with ``to``.
    """

    site: str
    features: Sequence[int] | None = None
    to: str = "mean"
    value: float | str | Sequence[float] | None = None
    donors: Any = None
    directions: Any = None
    where: str = "counted"
    seed: int = 0
    name: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, "site", "to", "where", "seed", "name")
        if (self.features is None) == (self.directions is None):
            raise OptionError(f"The intervention at {self.site!r} needs features or directions; give one of the two.")
        self._make_plain()
        if self.where not in WHERE:
            raise OptionError(f"where is {self.where!r}; use one of {list(WHERE)}.")
        self._keep("seed", int(self.seed))
        if self.to not in KINDS:
            raise OptionError(f"to is {self.to!r}; use one of {list(KINDS)}.")
        if self.features == () and self.to != "keep_only":
            raise OptionError(f"The intervention at {self.site!r} has no features; give one or more.")
        KINDS[self.to].check(self)

    def _make_plain(self) -> None:
        """What was given as lists, arrays or tensors is kept as tuples of numbers."""
        if self.features is not None:
            self._keep("features", _numbers("features", self.features))
        if self.directions is not None:
            self._keep("directions", _rows(self.directions))
        if not isinstance(self.value, str) and isinstance(self.value, Iterable) and getattr(self.value, "ndim", 1):
            self._keep("value", tuple(_float("value", v) for v in self.value))
        elif self.value is not None and not isinstance(self.value, str):
            self._keep("value", _float("value", self.value))
        if (numbers := donor_numbers(self.donors)) is not None:
            self._keep("donors", numbers)

    def _keep(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def count(self) -> int:
        """How many features or directions are replaced."""
        return len(self.directions if self.features is None else self.features)

    @property
    def label(self) -> str:
        """Its name, or what it does in short: ``"fc2:in:3+7 to mean"``."""
        if self.name is not None:
            return self.name
        many = f"{self.count} {'directions' if self.features is None else 'features'}"
        what = many if self.features is None or self.count > 4 else "+".join(map(str, self.features)) or "none"
        value = f" {self.value}" if isinstance(self.value, (str, float)) else ""
        return f"{self.site}:{what} to {self.to}{value}" if self.to != "keep_only" else f"{self.site}: only {what}"

    def check(self, basis: Basis) -> None:
        """Refuse what the basis does not have.

        Raises:
            OptionError: there is no such site or feature, or directions have another length.
        """
        names = [site.name for site in basis]
        if self.site not in names:
            raise OptionError(f"An intervention names the site {self.site!r}, but the sites are {names}.")
        site = basis[self.site]
        if self.features and max(self.features) >= site.k:
            raise OptionError(
                f"An intervention names the feature {max(self.features)} of {self.site!r}, which has {site.k}, from 0 "
                f"to {site.k - 1}."
            )
        if self.directions is not None and len(self.directions[0]) != site.d:
            raise OptionError(
                f"Directions at {self.site!r} have {len(self.directions[0])} coordinates, but the site has {site.d}."
            )

    def to_plain(self) -> Plain:
        """All that is not as by default, JSON-serialisable.

        Raises:
            OptionError: donors are batches, which are no plain data.
        """
        if self.donors is not None and not isinstance(self.donors, tuple):
            raise OptionError(f"The donors of {self.label!r} are batches, which cannot be saved; give sample numbers.")
        return {
            field.name: _plain(getattr(self, field.name))
            for field in fields(self)
            if field.name == "to" or getattr(self, field.name) != field.default
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Intervention:
        """The inverse of `to_plain`.

        Raises:
            OptionError: there is no such option, or a value is not allowed.
        """
        known = [field.name for field in fields(cls)]
        if "site" not in data or (unknown := [key for key in data if key not in known]):
            told = "has no site" if "site" not in data else f"has the keys {unknown}"
            raise OptionError(f"The plain data of an intervention {told}; they have site and some of {known[1:]}.")
        return cls(**data)


def _float(name: str, value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise OptionError(f"{name} is {value!r}; give a finite number.")
    return found


def _numbers(name: str, given: Any) -> tuple[int, ...]:
    """Distinct whole numbers from 0, as a tuple; a single one too."""
    try:
        listed = given.tolist() if isinstance(given, (Tensor, np.ndarray)) else given
    except (RuntimeError, NotImplementedError):  # it is sparse, or without values
        listed = "no plain array"
    found = tuple(listed) if isinstance(listed, Iterable) else (listed,)
    numbers = tuple(int(n) for n in found if isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= 0)
    if not len(set(numbers)) == len(numbers) == len(found):
        raise OptionError(f"{name} is {given!r}; give whole numbers from 0, none of them twice.")
    return numbers


def _rows(given: Any) -> tuple[tuple[float, ...], ...]:
    """Directions as plain numbers."""
    try:
        found = torch.as_tensor(given, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        found = torch.zeros(0)
    if found.ndim != 2 or not found.numel() or not bool(found.isfinite().all()) or not bool(found.any(1).all()):
        raise OptionError("directions are no matrix [m, d] of finite numbers, a direction other than 0 in each row.")
    return tuple(map(tuple, found.tolist()))


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, tuple) else value
