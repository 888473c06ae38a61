"""What estimates by random probes share: their options, sums in independent groups, and the error bar from these."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import OptionError
from ..numerics import Sums, eigh_descending
from ..numerics.eigen import symmetric
from ..types import Matrix, Plain, Vector

GROUPS = 32
"""Independent groups of probes: degrees of freedom of the error bar."""

SHARE = 0.99
"""The leading importances that together make this share of their sum are held to the requested error."""


@dataclass(frozen=True)
class ProbeOptions:
    """The options of a rule that estimates.

    Attributes:
        relative_error: where to stop, between 0 and 1.
        seed: decides the probes, and nothing else does: no batch, no device, no global generator (none is touched).

    Raises:
        OptionError: ``relative_error`` is no such number.
    """

    relative_error: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options before any work."""
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise OptionError(f"seed is {self.seed!r}; give a whole number from 0.")
        error = self.relative_error
        if isinstance(error, bool) or not isinstance(error, (int, float)) or not 0 < error < 1:
            raise OptionError(
                f"relative_error is {error!r}; give a number between 0 and 1, for instance 0.01 for one percent."
            )

    def facts(self, bar: ErrorBar) -> Plain:
        """The errors reached, and the seed."""
        return {"relative_error": bar.largest, "importance_stderr": bar.relative.tolist(), "seed": self.seed}


@dataclass(frozen=True, eq=False)
class ErrorBar:
    """What is known about the error of the importances.

    Attributes:
        importances: ``[r]``, descending.
        differences: half the difference between the two halves of each group, in each importance, ``[group, r]``.
        gain: how far each importance stands above its eigenvector's value on independent probes, ``[r]``.
        left: the share of the draws not taken.
    """

    importances: Vector
    differences: Matrix
    gain: Vector
    left: float

    @property
    def noise(self) -> Vector:
        """Variance of the value of each eigenvector, ``[r]``."""
        return _variance(self.differences) * self.left

    @property
    def spread(self) -> Vector:
        """What the noise of the others adds to each importance, squared, ``[r]``."""
        return (self.gain * self.left).square()

    @property
    def relative(self) -> Vector:
        """Relative error of each importance, those above zero."""
        above = self.importances > 0
        return (self.noise + self.spread)[above].sqrt() / self.importances[above]

    @property
    def leading(self) -> Vector:
        """Relative errors of the leading importances that make `SHARE` of the sum."""
        before = self.importances.cumsum(0) - self.importances
        return self.relative[: int((before < SHARE * self.total).sum())]

    @property
    def largest(self) -> float:
        """The largest relative error of `leading`; 0 without any."""
        return float(self.leading.max()) if len(self.leading) else 0.0

    def draws_for(self, wanted: float, done: int, draws: float = math.inf) -> int:
        """How many draws make the largest error ``wanted``, judged by ``done`` of ``draws``, and a tenth more.

        Variances fall as 1/R with R draws. What noise adds to an importance falls as its root where it is larger than
        the distances between importances, and as 1/R where it is smaller; for both together power 3/4 is taken.
        """
        if self.largest <= wanted:
            return done
        worst = int(self.leading.argmax())
        noise, spread = float(self.noise[worst]), float(self.spread[worst])
        power = 1 + spread / (noise + spread) / 2  # of the squared error
        shrink = (wanted / self.largest) ** (2 / power)
        return max(done + 1, math.ceil(1.1 / (1 / draws + (1 / done - 1 / draws) * shrink)))

    @property
    def total_stderr(self) -> float:
        """Relative standard error of the sum of the importances."""
        variance = _variance(self.differences.sum(1)) * self.left
        return float(variance.sqrt() / self.total.clamp(min=torch.finfo(torch.float64).tiny))

    @property
    def total(self) -> Tensor:
        """The sum of the importances."""
        return self.importances.sum()


class Halves(Sums):
    """Sums of outer products: those of the first and of the second halves of all draws, each in independent groups.

    Draw c of sample number i belongs to group i + c, modulo their number.

    Attributes:
        groups: ``[half, group, d, d]``, float64.

    Args:
        d: features.
        memory: in bytes; the sums take a quarter of it where it is short (and there are at least eight groups).
    """

    sums = ("groups",)

    def __init__(self, d: int, memory: int) -> None:
        self.count = max(GROUPS // 4, min(GROUPS, int(memory // (64 * d**2))))
        self.groups = torch.zeros(2, self.count, d, d, dtype=torch.float64)

    def seats(self, numbers: Tensor) -> Seats:
        """Which samples share a group, on the device of their numbers; there are their vectors too."""
        return Seats.of(numbers % self.count)

    def add(self, left: Tensor, right: Tensor, seats: Seats, half: int, draw: int) -> None:
        """Add each sample's products ``[batch, n, d]`` in one draw."""
        self.groups = self.groups.to(left.device)
        same = left is right
        left = seats.together(left)
        right = left if same else seats.together(right)
        group = (seats.groups + draw) % self.count
        self.groups[half].index_add_(0, group, (left.mT @ right).to(torch.float64))

    def total(self) -> Matrix:
        """The sum of all ``[d, d]``, its symmetric part."""
        return symmetric(self.groups.sum((0, 1)))

    def error_bar(
        self, weigh: Matrix | None, each: float, *, left: float = 1.0, rest: Matrix | None = None
    ) -> ErrorBar:
        """What is known of the importances, the eigenvalues of WᵀM'W, M' = ``total() / each + rest``.

        Args:
            weigh: W ``[d, r]``; None for the identity.
            each: what the sums are divided by.
            left: the share of the draws not taken.
            rest: what has no error.
        """
        W = torch.eye(self.groups.shape[-1]).to(self.groups) if weigh is None else weigh.to(self.groups)
        halves = [half.sum(0) * (2 / each) + (0 if rest is None else rest.to(half)) for half in self.groups]
        halves = [symmetric(W.T @ half @ W) for half in halves]
        values, V = eigh_descending((halves[0] + halves[1]) / 2)
        WV = W @ V
        differences = [quadratic(a - b, WV) / each for a, b in zip(*self.groups, strict=True)]
        others = (quadratic(halves[1 - i], eigh_descending(halves[i])[1]) for i in (0, 1))
        return ErrorBar(values, torch.stack(differences), values - sum(others) / 2, left)


def _variance(differences: Tensor) -> Tensor:
    r"""The variance of a sum of groups, from one difference :math:`\Delta` in each of them.

    It is :math:`\sum\Delta^2`, times the variance of Student's t for as many degrees of freedom as the groups have by
    their own sizes, :math:`\nu = 3(\sum\Delta^2)^2/\sum\Delta^4` (Satterthwaite 1946): where few of them make up most
    of the sum, it is itself not well known.
    """
    squares = differences.square()
    total = squares.sum(0)
    share = squares.square().sum(0) / total.square().clamp(min=torch.finfo(torch.float64).tiny)
    return total * 3 / (3 - 2 * share)


@dataclass(frozen=True)
class Seats:
    """The samples of a batch by group.

    Attributes:
        groups: those that have samples, int64 ``[g]``.
        places: in the batch, of the samples of each group, ``[g, m]``; the batch's size where there are fewer than m.
    """

    groups: Tensor
    places: Tensor

    @classmethod
    def of(cls, group: Tensor) -> Seats:
        """From the group of each sample ``[batch]``."""
        groups, counts = group.unique(return_counts=True)
        order = group.argsort(stable=True)
        places = group.new_full((len(groups), int(counts.max())), len(group))
        places[torch.arange(places.shape[1], device=group.device) < counts[:, None]] = order
        return cls(groups, places)

    def together(self, x: Tensor) -> Tensor:
        """The vectors of the samples of a group next to each other: ``[batch, n, d]`` to ``[g, m n, d]``."""
        if self.places.numel() > len(x):
            x = functional.pad(x, (0, 0, 0, 0, 0, 1))
        return x[self.places.flatten()].unflatten(0, self.places.shape).flatten(1, 2)


def quadratic(A: Matrix, V: Matrix) -> Vector:
    """The diagonal of VᵀAV."""
    return (V * (A @ V)).sum(0)
