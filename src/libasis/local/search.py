r"""The smallest change of few features that flips a decision, found by running the model.

One feature is tried in steps over its range, both ways, so that what one feature can do is found whatever the model
does in between. Several are found by steps on the linearised margin m: with the derivatives g the change c of least
:math:`\sum (c_i/\sigma_i)^2` within the range that reaches :math:`g \cdot c \ge -m` is :math:`c_i = \lambda g_i
\sigma_i^2`, cut off at the range; the model is run there and linearised again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..basis import SiteBasis
from ..cut import Record
from ..types import Activations, Matrix, Vector
from .decision import Decision
from .points import Points
from .target import Target

STEPS = 24
"""Of a feature's range on either side."""
TRIED = 64
"""Of more features those with the largest derivative times range are tried alone."""
ROUNDS, WAYS = 6, 16
"""A crossing is narrowed to one part in WAYS so many times."""
LINEAR, POLISH = 10, 4


@dataclass(frozen=True, eq=False)
class Reach:
    """How far features may go.

    Attributes:
        site: their basis.
        deviation: standard deviation of each, as observed ``[k]``.
        low: smallest value observed ``[k]``.
        high: largest ``[k]``.
        allowed: which may be changed, bool ``[k]``.
    """

    site: SiteBasis
    deviation: Vector
    low: Vector
    high: Vector
    allowed: Tensor


class Flipping:
    """The search for one sample.

    Args:
        points: the rest of the model; its ``which`` are the decisions.
        row: the sample's place in the batch.
        reach: of the features.
        decision: what is to flip.
    """

    def __init__(self, points: Points, row: int, reach: Reach, decision: Decision) -> None:
        self.points, self.row, self.reach, self.decision = points, row, reach, decision
        self.x = points.record.activations[points.site][row]
        counted = points.record.counted[points.site]
        self.counted = torch.ones(len(self.x), dtype=torch.bool) if counted is None else counted[row].cpu()
        C = reach.site.C.to(self.x.device)
        self.back = reach.site.C_pinv.to(self.x.device)
        self.z = (self.x.double() - reach.site.mean.to(self.x.device)) @ C  # [s, k]
        own = self.z[self.counted.to(self.x.device)].cpu()
        self.empty = not len(own)
        if self.empty:
            return
        self.floor, self.ceiling = (  # a value beyond what was observed may stay where it is
            torch.minimum(reach.low, own.amin(0)).to(self.x.device),
            torch.maximum(reach.high, own.amax(0)).to(self.x.device),
        )
        room = (reach.deviation > 0) & reach.allowed
        self.down = torch.where(room, (reach.low - own.amax(0)).clamp(max=0), 0.0)
        self.up = torch.where(room, (reach.high - own.amin(0)).clamp(min=0), 0.0)

    def at(self, changes: Matrix) -> Activations:
        """Activations with features moved by ``[m, k]`` at the counted positions, held within the range."""
        moved = self.z + changes.to(self.x.device)[:, None]
        moved = torch.minimum(torch.maximum(moved, self.floor), self.ceiling) - self.z
        moved = moved * self.counted.to(moved)[:, None]
        return (self.x + moved @ self.back).to(self.x)

    def margins(self, changes: Matrix) -> Vector:
        """Of the decision; above 0 where it flips ``[m]``."""
        decision, site = self.decision, self.points.site
        rows = torch.full((len(changes),), self.row)

        def make(record: Record, x: Activations, which: Tensor | None) -> Vector:
            assert which is not None  # noqa: S101 - the decisions
            return decision.margin(decision.numbers(record, site, x), which)

        return self.points.outputs(rows, self.at(changes), make).double().cpu()

    def distance(self, change: Vector) -> float:
        """In standard deviations."""
        scaled = torch.where(change != 0, change / self.reach.deviation, torch.zeros_like(change))
        return float(scaled.norm())

    def run(self, most: int) -> Vector | None:
        """The change ``[k]`` of the fewest features, and of these the smallest one found; None where none flips."""
        if self.empty or not bool((self.up > self.down).any()):
            return None
        leads = [self.decision.over(rival) for rival in self._rivals()]
        slopes = [self._slope(lead, torch.zeros_like(self.up)) for lead in leads]
        found = self._alone(torch.stack(slopes).abs().amax(0))
        size = 2
        while found is None and size <= min(most, int((self.up > self.down).sum())):
            tried = [self._several(lead, size) for lead in leads]
            found = min((one for one in tried if one is not None), key=self.distance, default=None)
            size += 1
        return None if found is None else self._sure(found)

    def _sure(self, change: Vector) -> Vector | None:
        """The change, longer by rounding where the model does not flip when it is run with this one alone."""
        for more in (0.0, *(10.0**-power for power in range(6, 1, -1))):
            longer = torch.minimum(torch.maximum(change * (1 + more), self.down), self.up)
            if float(self.margins(longer[None])) > 0:
                return longer
        return None

    def _rivals(self) -> list[int]:
        here = self.points.outputs(
            torch.tensor([self.row]),
            self.x[None],
            lambda record, x, _: self.decision.numbers(record, self.points.site, x),
        )
        return self.decision.rivals(here, int(self.decision.before[self.row]))

    def _slope(self, lead: Target, change: Vector) -> Vector:
        """The derivative of a lead by a change of each feature at all counted positions ``[k]``."""
        points = replace(self.points, target=lead)
        gradient = points.gradients(torch.tensor([self.row]), self.at(change[None]))[0]
        return (gradient[self.counted.to(gradient.device)].sum(0) @ self.back.T.double()).cpu()

    def _alone(self, slope: Vector) -> Vector | None:
        """The smallest change of one feature that flips."""
        room = torch.maximum(self.up, -self.down)
        which = torch.sort(slope * room, descending=True, stable=True).indices[:TRIED]
        which = which[room[which] > 0]
        sides = [(i, end) for i in which.tolist() for end in (float(self.down[i]), float(self.up[i])) if end]
        rays = torch.zeros(len(sides), len(self.up), dtype=torch.float64)
        for ray, (i, end) in zip(rays, sides, strict=True):
            ray[i] = end
        return self._nearest(rays)

    def _nearest(self, rays: Matrix) -> Vector | None:
        """The shortest change along some rays ``[r, k]`` that flips, no longer than they are; None where none does."""
        low = torch.zeros(len(rays), dtype=torch.float64)
        high = torch.ones_like(low)
        open_ = torch.arange(len(rays))
        for turn in range(ROUNDS):
            ways = STEPS if turn == 0 else WAYS
            shares = torch.arange(1, ways + 1, dtype=torch.float64) / ways
            at = low[open_, None] + shares * (high - low)[open_, None]  # [r, ways]
            flips = self.margins((at[..., None] * rays[open_, None]).flatten(0, 1)).view(at.shape) > 0
            if turn:
                flips[:, -1] = True
            some = flips.any(1)
            first = flips.int().argmax(1)
            step = (high - low)[open_] / ways
            base = low[open_]
            low[open_] = base + first * step
            high[open_] = torch.where(some, at.gather(1, first[:, None])[:, 0], high[open_])
            open_ = open_[some]
            if not len(open_):
                return None
        return min((high[r] * rays[r] for r in open_.tolist()), key=self.distance)

    def _several(self, lead: Target, size: int) -> Vector | None:
        """A change of at most so many features that flips, small near where it was found; None where none was."""
        change, best = torch.zeros_like(self.up), None
        polish = 0
        for _ in range(LINEAR):
            slope = self._slope(lead, change)
            margin = self._lead(lead, change)
            further = self._step(slope, -margin + float(slope @ change), size)
            if further is None or torch.equal(further, change):
                break
            change = further
            longer = torch.stack([change * (1 + 1e-6), change * 1.1])
            found = self._nearest(torch.minimum(torch.maximum(longer, self.down), self.up))
            if found is None:
                if best is not None:
                    break
                continue
            if best is not None and self.distance(found) >= self.distance(best) * (1 - 1e-6):
                break
            best, change = found, found
            polish += 1
            if polish > POLISH:
                break
        return best

    def _lead(self, lead: Target, change: Vector) -> float:
        points = replace(self.points, target=lead)
        return float(points.scores(torch.tensor([self.row]), self.at(change[None])))

    def _step(self, slope: Vector, wanted: float, size: int) -> Vector | None:
        """The least change of ``size`` features with ``slope @ change >= wanted``, or as near as the range lets."""
        ends = torch.where(slope > 0, self.up, self.down)
        gain = slope * ends  # at most
        steep = (slope.abs() * self.reach.deviation * (gain > 0)).argsort(descending=True, stable=True)[:size]
        far = gain.argsort(descending=True, stable=True)[:size]
        options = [self._within(slope, ends, which, wanted) for which in (steep, far)]
        reached = [one for one in options if float(slope @ one) >= wanted * (1 - 1e-9) or wanted <= 0]
        found = min(reached, key=self.distance) if reached else options[1]
        return found if bool(found.any()) else None

    def _within(self, slope: Vector, ends: Vector, which: Tensor, wanted: float) -> Vector:
        """``c = λ g σ²`` on some features, cut off at the ends of the range, with the λ that gives what is wanted."""
        chosen = torch.zeros_like(slope)
        chosen[which] = 1.0
        pull = slope * self.reach.deviation.square() * chosen
        limits = torch.where(pull != 0, ends / pull, torch.zeros_like(pull)).clamp(min=0)
        factor = 0.0
        for limit in [*sorted(set(limits[limits > 0].tolist()))]:
            gain = float((slope * pull * limits.clamp(max=limit)).sum())
            if gain >= wanted:
                free = (limits >= limit) & (pull != 0)
                rest = wanted - float((slope * pull * limits)[~free].sum())
                factor = rest / float((slope * pull)[free].sum())
                break
            factor = limit
        return pull * limits.clamp(max=max(factor, 0.0))
