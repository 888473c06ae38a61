"""What a feature does: the rest of the model is run with the feature moved up, and with it held at its mean."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ..basis import SiteBasis
from ..cut import Record
from ..cut.layout import layout_of_tensor
from ..intervene import Intervention, Lines, Metric, Prepared, SiteRuns
from ..intervene.lines import AtSite
from ..measure import Accumulator
from ..numerics import Sums, half_width, two_sided_t
from ..numerics.means import Mean
from ..types import Activations, Matrix, Plain, Vector

FEWEST = 3
"""Features of a site of which random directions are other directions."""


class Pairs(Sums):
    """Changes of a score, each sample beside itself: the ratio of summed changes to counted scores."""

    sums = ("n", "changed", "counts", "counts_squared", "base")

    def __init__(self) -> None:
        self.n = 0
        self.changed: Matrix | None = None
        self.counts = self.counts_squared = self.base = 0.0

    def add(self, changes: Matrix, base: Vector, counts: Vector) -> None:
        """Add summed changes ``[sample, direction]``, summed scores and the numbers of scores ``[sample]``."""
        c = counts[:, None]
        sums = torch.stack([changes.sum(0), changes.square().sum(0), (changes * c).sum(0)]).cpu()
        self.changed = sums if self.changed is None else self.changed + sums
        self.n += int((counts > 0).sum())
        self.base += float(base.sum())
        self.counts += float(counts.sum())
        self.counts_squared += float(counts.square().sum())

    @property
    def score(self) -> float:
        """The score without any change."""
        return self.base / max(self.counts, 1)

    def changes(self) -> tuple[Vector, Vector]:
        """Change of the score and its standard error over samples (of a ratio, linearised)."""
        assert self.changed is not None  # noqa: S101 - samples were drawn
        ratio = self.changed[0] / max(self.counts, 1)
        squares = self.changed[1] - 2 * ratio * self.changed[2] + ratio.square() * self.counts_squared
        factor = self.n / max(self.n - 1, 1)
        return ratio, (factor * squares.clamp(min=0)).sqrt() / max(self.counts, 1)


@dataclass
class SiteEffects(Sums):
    """What is measured at one site: effects of some features, and ablations of some directions.

    Attributes:
        moved: features moved up by one standard deviation.
        held: features, then controls, held at their mean; None where there are none.
        effect: of each feature moved on each output, over samples.
        change: of the score.
    """

    sums: ClassVar[tuple[str, ...]] = ("effect", "change")

    moved: SiteRuns
    held: SiteRuns | None
    effect: Mean = field(default_factory=Mean)
    change: Pairs = field(default_factory=Pairs)

    def add(self, record: Record, metric: Metric, which: Tensor) -> None:
        """Add the samples ``which`` of a batch."""
        base = outputs_of(record.output)
        found = [per_sample(outputs_of(out) - base, record) for out in self.moved.outputs(record)]
        self.effect.add(torch.stack(found, 1)[which])
        if self.held is None:
            return
        targets = metric.targets(record)
        scored, counts = metric.scores(record.output, targets)
        changes = [metric.scores(out, targets)[0] - scored for out in self.held.outputs(record)]
        self.change.add(torch.stack(changes, 1)[which], scored[which], counts[which])


class CardEffects(Accumulator["CardEffects"]):
    """Effects and ablations at all sites, on some samples."""

    sums = ("sites",)

    def __init__(self, sites: list[SiteEffects], metric: Metric, numbers: Tensor | None) -> None:
        self.sites, self.metric, self.numbers = sites, metric, numbers

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        if self.numbers is not None:
            drawn = torch.isin(record.numbers, self.numbers).nonzero()[:, 0]
            if not len(drawn):
                return
            record = record.select(drawn)  # of a model of fixed batch size the whole batch
        every = torch.ones(record.size, dtype=torch.bool)
        which = every if self.numbers is None else torch.isin(record.numbers, self.numbers)
        for site in self.sites:
            site.add(record, self.metric, which.to(record.activations[0].device))

    def finish(self) -> CardEffects:
        """See `Accumulator`."""
        return self


def moved_and_held(
    index: int,
    site: SiteBasis,
    chosen: list[int],
    tested: list[int],
    controls: Matrix,
    spread: Vector,
    memory: int,
    reference: Vector | None = None,
) -> SiteEffects:
    """What to measure at a site.

    Args:
        index: number of the site.
        site: its basis.
        chosen: features to move up.
        tested: features to hold.
        controls: unit vectors ``[m, k]`` of directions to hold, in features divided by their deviation.
        spread: the deviation of all features ``[k]`` (of others than the chosen ones only for controls).
        memory: bound in bytes for what goes through the model together.
        reference: the activation ``[d]`` whose amounts stand in; None takes the mean of the fit.
    """
    to = "mean" if reference is None else "set"

    def prepared(one: Intervention, lines: Lines) -> Prepared:
        return Prepared(one, lines, None if reference is None else lines.amounts(AtSite(site, reference)))

    up = torch.ones(1, dtype=torch.float64)
    moved = [
        Prepared(one, Lines.of(site, one), up, spread[[i]])
        for i in chosen
        for one in [Intervention(site.name, [i], "shift", 1.0)]
    ]
    value = None if reference is None else 0.0  # the amounts are given to what is prepared
    held = [prepared(one, Lines.of(site, one)) for i in tested for one in [Intervention(site.name, [i], to, value)]]
    varies = spread if bool((spread > 0).any()) else site.variances.clamp(min=0).sqrt()
    for unit in controls if tested else ():
        direction = ((unit * varies) @ site.C_pinv)[None]
        one = Intervention(site.name, directions=direction, to=to, value=value)
        held.append(prepared(one, Lines.along(site, direction, varies)))
    return SiteEffects(SiteRuns(index, moved, memory), SiteRuns(index, held, memory) if held else None)


def outputs_of(output: Tensor) -> Activations:
    """The model's output as ``[batch, position, output]``."""
    return layout_of_tensor(output).canonical(output)


def per_sample(changes: Activations, record: Record) -> Matrix:
    """The mean over the counted positions of each sample, float64 ``[batch, output]``; 0 where none counts."""
    counted = record.counted[-1]
    if counted is None or tuple(counted.shape) != tuple(changes.shape[:2]):
        return changes.mean(1, dtype=torch.float64)
    total = changes.masked_fill(~counted[..., None], 0).sum(1, dtype=torch.float64)
    return total / counted.sum(1, keepdim=True).clamp(min=1)


def random_units(count: int, k: int, seed: int, site: int) -> Matrix:
    """Random unit vectors ``[count, k]``, uniform on the sphere; the same for the same seed and site."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + site) % 2**63)
    drawn = torch.randn(count, k, dtype=torch.float64, generator=generator)
    return drawn / drawn.norm(dim=1, keepdim=True)


def untested(pairs: Pairs, k: int) -> str | None:
    """Why features of a site of k could not be tested on these samples, as the kind of a sentence; None if they could.

    A direction of one or two features is hardly another one than a feature; and where neither features nor controls
    change the score, there is nothing by which to tell them apart.
    """
    if k < FEWEST:
        return "few_features"
    return None if bool((pairs.changes()[0] != 0).any()) else "no_change"


def ablation_facts(pairs: Pairs, metric: str, tested: int, k: int) -> list[Plain]:
    """For each tested feature its change beside the controls, which follow the features in ``pairs``.

    ``p`` is the larger of two p-values, so that both must be small for it to be: that of the paired change being 0
    (Student's t over samples), and that of the change being one more of the controls' (the t of a new value from a
    normal distribution of which the controls are a sample). The correction for the number of features comes later.
    ``untested`` says why they could not be tested, see `untested`.
    """
    why = untested(pairs, k)
    change, error = (x.tolist() for x in pairs.changes())
    controls = torch.tensor(change[tested:], dtype=torch.float64)
    mean, spread = float(controls.mean()), float(controls.std())
    low, high = (float(q) for q in torch.quantile(controls, torch.tensor([0.025, 0.975], dtype=torch.float64)))
    out = []
    for c, e in zip(change[:tested], error[:tested], strict=True):
        width = half_width(pairs.n - 1) * e if pairs.n > 1 else 0.0
        beyond = abs(c) > max(abs(low), abs(high))
        unlike = _p(abs(c) - abs(mean), spread * math.sqrt(1 + 1 / len(controls)), len(controls) - 1)
        p = max(_p(c, e, pairs.n - 1), unlike) if beyond and why is None else 1.0
        out.append(
            {
                "metric": metric,
                "base": pairs.score,
                "without": pairs.score + c,
                "change": c,
                "low": c - width,
                "high": c + width,
                "control": mean,
                "control_low": low,
                "control_high": high,
                "controls": len(controls),
                "p": p,
                "untested": why,
            }
        )
    return out


def _p(difference: float, error: float, freedom: int) -> float:
    if error > 0:
        return two_sided_t(difference / error, freedom)
    return 1.0 if difference == 0 or freedom <= 0 else 0.0


def effect_facts(effect: Mean, place: int, count: int) -> list[Plain]:
    """The strongest effects of one feature, with 95% intervals; outputs by number, equal effects in their order."""
    mean, error = effect.mean[place], effect.error()[place]
    width = half_width(effect.n - 1) if effect.n > 1 else 0.0
    order = torch.sort(mean.abs(), descending=True, stable=True).indices[:count].tolist()
    low, high = mean - width * error, mean + width * error
    return [{"output": o, "effect": float(mean[o]), "low": float(low[o]), "high": float(high[o])} for o in order]
