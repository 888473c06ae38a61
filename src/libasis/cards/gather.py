"""What is gathered of features in the pass over the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..basis import Basis
from ..cut import Record
from ..errors import OptionError
from ..measure import Accumulator
from ..measure.draw import Item
from .answers import Answers
from .contents import Contents, Naming
from .effects import outputs_of
from .evidence import Evidence
from .rows import Rows
from .site_features import SiteFeatures


@dataclass(frozen=True)
class Limits:
    """How much is collected, see `collect`."""

    examples: int
    effects: int
    samples: int
    tested: int
    controls: int

    def __post_init__(self) -> None:
        least = {"examples": 0, "effects": 0, "samples": 2, "tested": 0, "controls": 20}
        for name, low in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise OptionError(f"{name} is {value!r}; give a whole number from {low}.")


class Gathered(Accumulator["Gathered"]):
    """Statistics and examples of the chosen features, and the samples drawn for suggestions and for interventions.

    Args:
        first: the first batch, which decides how samples are shown.
        basis: whose features.
        chosen: numbers of features by the number of their site.
        limits: how much.
        naming: how the user wants samples to be shown.
        names: of outputs, or None.
        seed: of the draws.

    Attributes:
        contents: reads samples.
        answers: names outputs, targets and predictions.
        sites: those with cards.
        samples: how many there were.
    """

    sums = ("contents", "sites", "evidence", "rows", "samples")

    def __init__(  # noqa: PLR0913 - all that decides what is gathered
        self,
        first: Record,
        basis: Basis,
        chosen: Mapping[int, list[int]],
        limits: Limits,
        naming: Naming,
        names: Sequence[str] | None,
        *,
        seed: int,
    ) -> None:
        self.contents = Contents(first.batch, first.size, naming)
        self.answers = Answers(outputs_of(first.output), first.targets, self.contents, names)
        shown = self.contents.of(first.batch)
        length = shown.shape[1] if self.contents.kind == "text" and shown.ndim > 1 else 1
        self.evidence = Evidence(self.contents, length, seed)
        self.rows = Rows(first.batch, first.size, limits.samples, seed)
        last = len(basis) - 1
        self.sites = [
            SiteFeatures(l, basis.sites[l], own, every=l < last, examples=limits.examples) for l, own in chosen.items()
        ]
        self.input_sites = [l for l, x in enumerate(first.activations) if _holds(x, shown)]
        self.samples = 0

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
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
        self.samples += record.size

    def finish(self) -> Gathered:
        """See `Accumulator`."""
        return self


def _holds(x: Tensor, shown: Tensor) -> bool:
    """Whether an activation is the shown input itself, a number for each coordinate."""
    flat = shown.reshape(len(shown), -1)
    same = shown.is_floating_point() and x.shape[1] == 1 and x.shape[2] == flat.shape[1]
    return same and torch.equal(x[:, 0], flat.to(x))
