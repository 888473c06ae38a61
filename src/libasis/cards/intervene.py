"""What a feature does: the rest of the model is run with the feature moved up, and with it held at its mean."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..basis import SiteBasis
from ..cut import Record
from ..cut.layout import layout_of_tensor
from ..errors import BatchError
from ..intervene import Metric
from ..intervene.metrics import IGNORED
from ..numerics import half_width, two_sided_t
from ..types import Activations, Matrix, Plain, Vector
from .means import Mean, Pairs

AT_ONCE = 2048
"""At most so many samples go through the model together."""


@dataclass
class Directions:
    """Directions of one site, given as unit vectors u of its standardised features y = (f̂ − mean) / std.

    Holding direction u at its mean takes (y·u) (u std) C⁺ from the activation. For u = e_i that is feature i; for a
    random u it is a control: a direction of the same variance, 1 in y, in the space that the features span.

    Attributes:
        reading: ``[d, m]``: (f − μ) reading − offset is y·u.
        offset: ``[m]``.
        writing: ``[m, d]``: the change of the activation when y·u goes up by 1, one standard deviation.
    """

    reading: Matrix
    offset: Vector
    writing: Matrix

    @classmethod
    def of(cls, site: SiteBasis, units: Matrix, mean: Vector, deviation: Vector) -> Directions:
        """Directions of unit vectors ``[m, k]``; a feature that does not vary takes no part."""
        scaled = torch.where(deviation > 0, units / deviation, torch.zeros_like(units))
        return cls(site.C @ scaled.T, scaled @ mean, (units * deviation) @ site.C_pinv)

    def amounts(self, x: Activations, site_mean: Vector) -> Tensor:
        """y·u of activations, ``[batch, position, m]``."""
        return (x - site_mean.to(x)) @ self.reading.to(x) - self.offset.to(x)


@dataclass
class Site:
    """What is measured at one site: effects of some features, and ablations of some directions."""

    index: int
    basis: SiteBasis
    moved: Matrix
    """``[e, d]``: the change of the activation for each effect."""
    held: Directions | None
    effect: Mean = field(default_factory=Mean)
    change: Pairs = field(default_factory=Pairs)

    def measure(self, record: Record, metric: Metric | None, memory: int) -> None:
        """Add one batch."""
        x = record.activations[self.index]
        counted = record.counted[self.index]
        weight = None if counted is None else counted.to(x)[..., None]
        base = outputs_of(record.output)
        moved = self.moved.to(x)
        runs = (x + (row if weight is None else weight * row) for row in moved)
        found = [per_sample(outputs_of(out) - base, record) for out in run_many(record, self.index, runs, memory)]
        self.effect.add(torch.stack(found, 1))
        if self.held is None or metric is None:
            return
        amounts, writing = self.held.amounts(x, self.basis.mean), self.held.writing.to(x)
        amounts = amounts if weight is None else amounts * weight
        targets = record.output if metric.name == OUTPUT_CHANGE else record.targets
        scored = scores_per_sample(metric, record.output, targets, record.size)
        runs = (x - amounts[..., j, None] * writing[j] for j in range(len(writing)))
        changes = [
            scores_per_sample(metric, out, targets, record.size)[0] - scored[0]
            for out in run_many(record, self.index, runs, memory)
        ]
        self.change.add(torch.stack(changes, 1), *scored)


OUTPUT_CHANGE = "output_mse"
"""The metric where there are no targets: the mean squared change of the model's output."""


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


def run_many(record: Record, site: int, runs: Iterator[Activations], memory: int) -> Iterator[Tensor]:
    """The model's output for each activation at a site, in its own layout; several go through the model together."""
    held = 2 * (record.workspace(site, len(record.contexts)) + record.output.numel())
    at_once = max(1, min(memory // max(8 * held, 1), AT_ONCE // max(record.size, 1)))
    waiting: list[Activations] = []
    for x in runs:
        waiting.append(x)
        if len(waiting) == at_once:
            yield from record.rest(site, torch.cat(waiting), at_once).chunk(at_once)
            waiting = []
    if waiting:
        yield from record.rest(site, torch.cat(waiting), len(waiting)).chunk(len(waiting))


def scores_per_sample(metric: Metric, output: Tensor, targets: object, size: int) -> tuple[Vector, Vector]:
    """Sum and number of the scores of each sample.

    Raises:
        BatchError: it cannot be told which score belongs to which sample.
    """
    scores = metric.scores(output, targets).to(torch.float64)
    if scores.numel() % size == 0 and not _ignored(targets):
        return scores.view(size, -1).sum(1), torch.full_like(scores[:size], scores.numel() / size)
    counts = (targets != IGNORED).flatten(1).sum(1) if isinstance(targets, Tensor) and targets.ndim > 1 else None
    if counts is None and isinstance(targets, Tensor) and targets.ndim == 1:
        counts = (targets != IGNORED).long()
    if counts is None or int(counts.sum()) != scores.numel():
        raise BatchError(
            f"metric {metric.name!r} gave {scores.numel()} scores for {size} samples; a change per sample needs as "
            "many scores for each of them, or targets of -100 where none counts."
        )
    owner = torch.repeat_interleave(torch.arange(size, device=scores.device), counts)
    sums = torch.zeros(size, dtype=torch.float64, device=scores.device).index_add_(0, owner, scores)
    return sums, counts.to(torch.float64)


def _ignored(targets: object) -> bool:
    return isinstance(targets, Tensor) and not targets.is_floating_point() and bool((targets == IGNORED).any())


def random_units(count: int, k: int, seed: int, site: int) -> Matrix:
    """Random unit vectors ``[count, k]``, uniform on the sphere; the same for the same seed and site."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + site)
    drawn = torch.randn(count, k, dtype=torch.float64, generator=generator)
    return drawn / drawn.norm(dim=1, keepdim=True)


def ablation_facts(pairs: Pairs, metric: str, tested: int) -> list[Plain]:
    """For each tested feature its change beside the controls, which follow the features in ``pairs``.

    ``p`` is the larger of two p-values, so that both must be small for it to be: that of the paired change being 0
    (Student's t over samples), and that of the change being one more of the controls' (the t of a new value from a
    normal distribution of which the controls are a sample). The correction for the number of features comes later.
    """
    change, error = (x.tolist() for x in pairs.changes())
    controls = torch.tensor(change[tested:], dtype=torch.float64)
    mean, spread = float(controls.mean()), float(controls.std())
    low, high = (float(q) for q in torch.quantile(controls, torch.tensor([0.025, 0.975], dtype=torch.float64)))
    out = []
    for c, e in zip(change[:tested], error[:tested], strict=True):
        width = half_width(pairs.n - 1) * e if pairs.n > 1 else 0.0
        beyond = abs(c) > max(abs(low), abs(high))
        unlike = _p(abs(c) - abs(mean), spread * math.sqrt(1 + 1 / len(controls)), len(controls) - 1)
        p = max(_p(c, e, pairs.n - 1), unlike) if beyond else 1.0
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
