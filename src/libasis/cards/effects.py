"""What a feature does: the rest of the model is run with the feature moved up, and with it held at its mean."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..basis import SiteBasis
from ..cut import Record
from ..intervene import Intervention, Lines, Metric, Prepared, SiteRuns
from ..intervene.lines import AtSite
from ..intervene.scores import BySample
from ..measure import Accumulator
from ..numerics import Sums, half_width, rank_p
from ..numerics.means import Mean
from ..types import Matrix, Plain, Vector
from ..verify import (
    FEW,
    STOP,
    Claimed,
    Frames,
    OneKind,
    Readout,
    control_runs,
    frames_of,
    outputs_of,
    per_sample,
    why_none,
)
from .constant import Constant
from .independent import Independent

FIRST = 64
"""Random directions in the first round; each round has as many as all before it together."""
POOR = ("no_better", "the model is no better on these samples than one answer for all")
DEAR = 2**36
"""At one site no more random directions are run by default than hold so many numbers, but for `LEAST`."""
LEAST = 20
MOVES = 2**13
"""Effects of a sample, of features on outputs, up to which samples that depend on each other are told apart."""


@dataclass
class SiteEffects(Sums):
    """What is measured at one site: effects of some features, their ablations, and those of random directions.

    Attributes:
        moved: features moved up by one standard deviation.
        held: features held at their mean; None where there are none.
        frames: random directions, as many as are needed.
        most: at most so many of them are run; None for as many as are not dear.
        samples: about how many samples will be run.
        reference: the activation ``[d]`` whose amounts stand in; None for the mean of the fit.
        dependent: whether samples may depend on each other.
        effect: of each feature moved on each output, over samples.
        moves: the same by sample, one after the other, where samples may depend on each other and these are few.
        rows: by sample the number of its scores, their sum, and the change of that sum by each feature held.
        total: the change of the summed score by each random direction of this round.
        known: the same of all rounds before it.
    """

    sums: ClassVar[tuple[str, ...]] = ("effect", "moves", "rows", "total")
    plan: ClassVar[tuple[str, ...]] = ("known",)

    moved: SiteRuns
    held: SiteRuns | None
    frames: Frames | None = None
    most: int | None = None
    samples: int = 1
    reference: Vector | None = None
    effect: Mean = field(default_factory=Mean)
    moves: BySample = field(default_factory=BySample)
    dependent: bool = False
    rows: BySample = field(default_factory=BySample)
    total: Vector | None = None
    known: Vector = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))

    def add(self, record: Record, readout: Readout, which: Tensor) -> None:
        """Add the samples ``which`` of a batch."""
        first = not len(self.known)
        if first:
            base = outputs_of(record.output)
            found = [per_sample(outputs_of(out) - base, record) for out in self.moved.outputs(record)]
            moves = torch.stack(found, 1)[which].cpu().double()
            self.effect.add(moves)
            if self.dependent and moves.shape[1:].numel() <= MOVES:
                self.moves.add(record.numbers[which.cpu()], moves.flatten(1))
        if self.held is None or self.frames is None or readout.metric is None:
            return
        metric, index = readout.metric, self.held.index
        targets = metric.targets(record)
        scored, counts = metric.scores(record.output, targets)
        if first:
            changes = [metric.scores(out, targets)[0] - scored for out in self.held.outputs(record)]
            self.rows.add(record.numbers[which.cpu()], torch.stack([counts, scored, *changes], 1)[which].cpu())
        instead = self.frames.site.mean if self.reference is None else self.reference
        change = instead.to(record.activations[index]) - record.activations[index]
        if (counted := record.counted[index]) is not None:
            change = change.masked_fill(~counted[..., None], 0)
        own = self._this_round(record)
        total = torch.zeros(len(own), dtype=torch.float64)
        for start, end, result in control_runs(record, index, own, change, self.held.memory):
            means = readout.of(record, result, end - start) * counts.cpu()
            total[start:end] = (means.nan_to_num() - scored.cpu())[:, which.cpu()].sum(1)
        self.total = total if self.total is None else self.total + total

    def _this_round(self, record: Record) -> Frames:
        assert self.frames is not None  # noqa: S101 - `add` asked
        done = len(self.known)
        if self.most is None:
            assert self.held is not None  # noqa: S101
            index = self.held.index
            held = 2 * (record.workspace(index, len(record.contexts)) + record.output.numel()) / record.size
            self.most = max(LEAST, int(DEAR // (held * self.samples)))
        return self.frames.some(done, min(len(self.frames), self.most, max(FIRST, 2 * done)))

    def another_round(self) -> bool:
        """Whether more random directions are to be run."""
        if self.total is None or self.frames is None or self.held is None:
            return False
        self.known, self.total = torch.cat([self.known, self.total]), None
        table = self.rows.table()[1]
        changes = table[:, 2:].sum(0).abs()
        reached = (self.known.abs() >= (1 - 1e-9) * changes[:, None]).sum(1)
        return len(self.known) < min(len(self.frames), self.most or 0) and bool((reached < STOP).any())


class CardEffects(Accumulator["CardEffects"]):
    """Effects and ablations at all sites, on some samples."""

    sums = ("sites", "constant")

    def __init__(self, sites: list[SiteEffects], metric: Metric, numbers: Tensor | None) -> None:
        self.sites, self.metric, self.numbers = sites, metric, numbers
        self.constant, self.again = Constant(metric), False
        self.readout = Readout(metric.name, metric.higher_is_better, metric)

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
            site.add(record, self.readout, which.to(record.activations[0].device))
        if not self.again:
            targets = self.metric.targets(record)
            scores, counts = self.metric.scores(record.output, targets)
            self.constant.add(record.numbers[which], scores / counts, targets, which)

    def another_round(self) -> bool:
        """See `Accumulator`: until there are enough random directions at each site."""
        self.again = True
        return any([site.another_round() for site in self.sites])

    def finish(self) -> CardEffects:
        """See `Accumulator`."""
        return self


def moved_and_held(  # noqa: PLR0913 - all that is measured at a site
    index: int,
    site: SiteBasis,
    chosen: list[int],
    tested: list[int],
    controls: Matrix,
    spread: Vector,
    memory: int,
    reference: Vector | None = None,
    *,
    most: int | None = None,
    samples: int = 1,
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
        most: at most so many of the controls are run; None for as many as are not dear.
        samples: about how many samples will be run.
    """

    def prepared(one: Intervention) -> Prepared:
        lines = Lines.of(site, one)
        return Prepared(one, lines, None if reference is None else lines.amounts(AtSite(site, reference)))

    up = torch.ones(1, dtype=torch.float64)
    moved = [
        Prepared(one, Lines.of(site, one), up, spread[[i]])
        for i in chosen
        for one in [Intervention(site.name, [i], "shift", 1.0)]
    ]
    to, value = ("mean", None) if reference is None else ("set", 0.0)  # the amounts are given to what is prepared
    held = [prepared(Intervention(site.name, [i], to, value)) for i in tested]
    varies = spread if bool((spread > 0).any()) else site.variances.clamp(min=0).sqrt()
    which = varies > 0
    found = SiteEffects(
        SiteRuns(index, moved, memory), SiteRuns(index, held, memory) if held else None, most=most, samples=samples,
        reference=reference,
    )  # fmt: skip
    if held and bool(which.any()):
        drawn = controls[:, which] / controls[:, which].norm(dim=1, keepdim=True)
        found.frames = frames_of(site, drawn[:, None], varies, which)
    return found


def random_units(count: int, k: int, seed: int, site: int) -> Matrix:
    """Random unit vectors ``[count, k]``, uniform on the sphere; the same for the same seed and site."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + site) % 2**63)
    drawn = torch.randn(count, k, dtype=torch.float64, generator=generator)
    return drawn / drawn.norm(dim=1, keepdim=True)


def ablation_facts(
    found: SiteEffects, metric: str, independent: Independent, *, poor: bool = False
) -> list[tuple[Plain, Claimed]]:
    """For each tested feature its change beside the random directions, and the claim that it is more than theirs.

    Args:
        found: what was measured at the site.
        metric: its name.
        independent: which samples belong together.
        poor: whether the model is no better than one answer for all, so that nothing can be told.
    """
    table = independent.sums(*found.rows.table()).numpy()
    table = table[table[:, 0] > 0]
    sizes, base = table[:, 0], float(table[:, 1].sum() / max(table[:, 0].sum(), 1))
    controls = found.known.numpy() / max(sizes.sum(), 1)
    low, high = (float(q) for q in np.quantile(controls, [0.025, 0.975])) if len(controls) else (math.nan, math.nan)
    samples = (len(found.rows.table()[0]), len(sizes))
    out, why = [], POOR if poor else _untested(found, *samples, bool(table[:, 2:].any() or controls.any()))
    for changes in table[:, 2:].T:
        value = float(changes.sum() / max(sizes.sum(), 1))
        p, _ = rank_p(abs(value), np.abs(controls), STOP)
        one = OneKind.of_sums(changes, sizes, p_specific=p)
        fact = {
            "metric": metric,
            "base": base,
            "without": base + value,
            "change": value,
            "low": one.effect.low,
            "high": one.effect.high,
            "control": float(controls.mean()) if len(controls) else math.nan,
            "control_low": low,
            "control_high": high,
            "controls": len(controls),
            "untested": why and why[0],
        }
        out.append((fact, Claimed("any", None, [one], why and why[1], least=1)))
    return out


def _untested(found: SiteEffects, samples: int, units: int, moved: bool) -> tuple[str, str] | None:
    """Why features of a site cannot be told from random directions, as a kind and in words; None if they can."""
    site = found.moved.prepared[0].lines.site
    if samples < FEW:
        return "few_samples", f"{samples} samples have a score, and {FEW} are needed"
    if units < FEW:
        return "few_units", f"the samples depend on each other and count as {units} units, and {FEW} are needed"
    if why := why_none(site, 1):
        return "few_features", why
    return None if moved else ("no_change", "neither features nor random directions change the score of these samples")


def effect_facts(found: SiteEffects, place: int, count: int, independent: Independent) -> list[Plain]:
    """The strongest effects of one feature, with 95% intervals; outputs by number, equal effects in their order."""
    mean, error, units = found.effect.mean[place], found.effect.error()[place], found.effect.n
    numbers, moves = found.moves.table()
    if len(numbers):
        errors, units = independent.error(numbers, moves)
        error = errors.view_as(found.effect.mean)[place]
    width = half_width(units - 1) if found.effect.n > 1 else 0.0
    order = torch.sort(mean.abs(), descending=True, stable=True).indices[:count].tolist()
    low, high = mean - width * error, mean + width * error
    return [{"output": o, "effect": float(mean[o]), "low": float(low[o]), "high": float(high[o])} for o in order]
