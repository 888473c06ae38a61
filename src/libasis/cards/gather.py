"""What is gathered of features in the pass over the data."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from ..basis import Basis
from ..cut import Record
from ..errors import BatchError, OptionError, short
from ..intervene import OUTPUT_CHANGE, Metric, parse_metric
from ..measure import Accumulator
from ..measure.draw import Item
from ..numerics import State
from ..verify import outputs_of
from .answers import Answers
from .contents import Contents, Naming
from .drawn import DrawnSamples
from .evidence import Evidence
from .independent import FirstRows
from .site_features import SiteFeatures

CONTROLS = 100_000
"""Random directions of a site, at most."""


@dataclass(frozen=True)
class Limits:
    """How much is collected, see `collect`."""

    examples: int
    effects: int
    samples: int
    tested: int
    controls: int | None

    def __post_init__(self) -> None:
        least = {"examples": 0, "effects": 0, "samples": 2, "tested": 0, "controls": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if name == "controls" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise OptionError(f"{name} is {value!r}; give a whole number from {low}.")
        if self.controls is not None and self.controls > CONTROLS:
            raise OptionError(f"controls is {short(self.controls)}; give a whole number from 1 to {CONTROLS:,}.")


@dataclass(frozen=True)
class Asked:
    """What the user said of samples, outputs and the score; the first batch decides the rest.

    Attributes:
        naming: how samples are to be shown.
        outputs: names of outputs, or None.
        metric: of the ablations, or None.
    """

    naming: Naming
    outputs: Sequence[str] | None = None
    metric: Metric | None = None


class Gathered(Accumulator["Gathered"]):
    """Statistics and examples of the chosen features, and the samples drawn for suggestions and for interventions.

    The first batch decides how they are shown; it is given beforehand (``first``) only to go on from a state.

    Attributes:
        sites: those with cards.
        samples: how many there were.
        contents: reads samples.
        answers: names outputs, targets and predictions.
        metric: of the ablations.
        why: it is that one.
    """

    sums = ("contents", "sites", "evidence", "rows", "series", "samples")

    def __init__(  # noqa: PLR0913 - all that decides what is gathered
        self,
        basis: Basis,
        chosen: Mapping[int, list[int]],
        limits: Limits,
        asked: Asked,
        seed: int,
        first: Record | None = None,
    ) -> None:
        self.limits, self.asked, self.seed = limits, asked, seed
        last = len(basis) - 1
        self.sites = [
            SiteFeatures(l, basis.sites[l], own, every=l < last, examples=limits.examples) for l, own in chosen.items()
        ]
        self.samples = 0
        self.begun = False
        if first is not None:
            self._begin(first)

    def _begin(self, first: Record) -> None:
        """Decide by the first batch how samples are shown and scored."""
        self.begun = True
        self.contents = Contents(first.batch, first.size, self.asked.naming)
        self.answers = Answers(outputs_of(first.output), first.targets, self.contents, self.asked.outputs)
        self.metric, self.why = (self.asked.metric, "asked for") if self.asked.metric else _metric_for(first)
        shown = self.contents.of(first.batch)
        length = shown.shape[1] if self.contents.kind == "text" and shown.ndim > 1 else 1
        self.evidence, self.series = Evidence(self.contents, length, self.seed), FirstRows()
        self.rows = DrawnSamples(first.batch, first.size, self.limits.samples, self.seed)
        self.input_sites = [l for l, x in enumerate(first.activations) if _holds(x, shown)]
        self.fixed = any(context.fixed_batch is not None for context in first.contexts)

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        if not self.begun:
            self._begin(record)
        outputs, inputs = outputs_of(record.output), self.contents.of(record.batch)
        self.contents.look(inputs)
        raws: dict[int, Tensor] = {}

        def made(row: int, at: int, positions: int) -> Item:
            raws[row] = raws[row] if row in raws else self.contents.raw(inputs, row)
            item: Item = {"raw": raws[row]}
            said = {
                "target": self.answers.target(record.targets, row, at, positions),
                "prediction": self.answers.prediction(outputs, row, at, positions),
            }
            return {**item, **{name: numbers for name, numbers in said.items() if numbers is not None}}

        features = [site.add(record, made, text=self.contents.kind == "text") for site in self.sites]
        counted = [site.counted(record) for site in self.sites]
        self.evidence.add(record.numbers, features, counted, inputs, record.targets)
        self.rows.add(record)
        if self.contents.kind in ("table", "number"):
            self.series.add(record.numbers, torch.cat([z.mean(1) for z in features], 1), record.targets)
        self.samples += record.size

    def emptied(self) -> Self:
        """See `Sums`."""
        if self.begun:
            return super().emptied()
        found = copy.copy(self)
        found.sites = [site.emptied() for site in self.sites]
        return found

    def merge(self, other: Self) -> None:
        """See `Sums`; the one that has seen nothing takes over what the other's first batch decided."""
        if not self.begun:
            vars(self).update(vars(other))
        elif other.begun:
            super().merge(other)

    def state(self) -> State:
        """See `Sums`."""
        return super().state() if self.begun else {}

    def load(self, state: Mapping[str, Any]) -> None:
        """See `Sums`."""
        if state:
            super().load(state)

    def finish(self) -> Gathered:
        """See `Accumulator`."""
        return self


def _metric_for(record: Record) -> tuple[Metric, str]:
    """The metric where none was asked for, and why it is that one."""
    change = parse_metric(OUTPUT_CHANGE)
    if not isinstance(record.targets, Tensor):
        return change, "there are no targets"
    found = parse_metric("mse" if record.targets.is_floating_point() else "accuracy")
    try:
        found.scores(record.output, record.targets)
    except BatchError as error:
        return change, f"the targets do not fit: {error}"
    return found, "by the kind of the targets"


def _holds(x: Tensor, shown: Tensor) -> bool:
    """Whether an activation is the shown input itself, a number for each coordinate."""
    flat = shown.reshape(len(shown), -1)
    same = shown.is_floating_point() and x.shape[1] == 1 and x.shape[2] == flat.shape[1]
    return same and torch.equal(x[:, 0], flat.to(x))
