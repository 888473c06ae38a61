"""What is gathered in one pass over the data, and measured after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..basis import Basis, SiteBasis
from ..cut import Record, Traced
from ..data.batches import Batch
from ..errors import BatchError, OptionError
from ..intervene import Metric, parse_metric
from ..numerics import holm
from ..types import Plain
from .answers import Answers
from .contents import Contents, Naming
from .evidence import Evidence
from .intervene import OUTPUT_CHANGE, Directions, Site, ablation_facts, effect_facts, outputs_of, random_units
from .sample import Drawn, Row, batches_of
from .suggest import LEVEL, single_output, strongest
from .tally import Tally

DIRECTION = 64
"""At most so many coordinates of a direction are listed."""

PASSED = 0.05
"""The corrected p-value up to which an ablation has passed."""


@dataclass(frozen=True)
class Limits:
    """How much is collected, see `collect`."""

    features: int | None
    examples: int
    effects: int
    samples: int
    tested: int
    controls: int

    def __post_init__(self) -> None:
        least = {"features": 1, "examples": 0, "effects": 0, "samples": 2, "tested": 0, "controls": 20}
        for name, low in least.items():
            value = getattr(self, name)
            if name == "features" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise OptionError(f"{name} is {value!r}; give a whole number from {low}.")


class Collection:
    """What is gathered in the pass, and measured after it."""

    contents: Contents
    answers: Answers
    evidence: Evidence

    def __init__(
        self, traced: Traced, basis: Basis, limits: Limits, *, seed: int, memory: int, progress: bool | None
    ) -> None:
        self.traced, self.basis, self.limits = traced, basis, limits
        self.seed, self.memory, self.progress = seed, memory, progress
        last = len(basis) - 1
        self.tallies = [
            Tally(l, site, most_important(site, limits.features), every=l < last, examples=limits.examples)
            for l, site in enumerate(basis)
        ]
        self.rows: Drawn[Row] = Drawn(limits.samples, seed)
        self.samples = 0
        self.batch_size = 0
        self.input_sites: list[int] = []
        self.metric: Metric | None = None
        self.why_metric = "asked for"
        self.sites: list[Site] = []

    def add(self, batch: Batch, record: Record, naming: Naming, names: Sequence[str] | None) -> None:
        """Add one batch; the first decides how samples are shown."""
        outputs = outputs_of(record.output)
        if not self.samples:
            self.contents = Contents(batch, record.size, naming)
            self.answers = Answers(outputs, record.targets, self.contents, names)
            shown = self.contents.of(batch)
            length = shown.shape[1] if self.contents.kind == "text" and shown.ndim > 1 else 1
            self.evidence = Evidence(self.contents, length, self.seed)
            self.input_sites = [l for l, x in enumerate(record.activations) if _holds(x, shown)]
        first, inputs = self.samples, self.contents.of(batch)
        self.contents.look(inputs)
        raws: dict[int, Tensor] = {}

        def made(row: int, at: int, positions: int) -> dict[str, Any]:
            raws[row] = raws[row] if row in raws else self.contents.raw(inputs, row)
            per_token = self.contents.kind == "text" and positions > 1 and raws[row].numel() == positions
            return {
                "raw": raws[row],
                "values": inputs.new_zeros(0) if per_token else None,
                "target": self.answers.target(record.targets, row, at, positions),
                "prediction": self.answers.prediction(outputs, row, at, positions),
            }

        features = [tally.add(record, first, made) for tally in self.tallies]
        self.evidence.add(first, features, [t.counted(record) for t in self.tallies], inputs, record.targets)
        self.rows.add(first, record.size, lambda row: Row.of(batch, row, record.size))
        self.samples += record.size
        self.batch_size = max(self.batch_size, record.size)

    def intervene(self, metric: Metric | None) -> None:
        """Run the rest of the model on the samples drawn, features moved and held."""
        self.sites = [self._site(tally) for tally in self.tallies]
        batches = list(batches_of([row for _, row in self.rows.items()], self.batch_size))
        disable = None if self.progress is None else not self.progress
        for batch in tqdm(batches, desc="effects", disable=disable, leave=False, unit="batch"):
            with torch.no_grad():
                record = self.traced.run_batch(batch)
                if self.metric is None:
                    self.metric = metric or self._choose(record)
                for site in self.sites:
                    site.measure(record, self.metric, self.memory)

    def _choose(self, record: Record) -> Metric:
        """The metric where none was asked for."""
        if isinstance(record.targets, Tensor):
            name = "mse" if record.targets.is_floating_point() else "accuracy"
            self.why_metric = "by the kind of the targets"
            try:
                parse_metric(name).scores(record.output, record.targets)
                return parse_metric(name)
            except BatchError as error:
                self.why_metric = f"the targets do not fit: {error}"
        else:
            self.why_metric = "there are no targets"
        return Metric(OUTPUT_CHANGE, False, parse_metric("mse").scores)

    def _site(self, tally: Tally) -> Site:
        if not tally.all.n:
            raise BatchError(f"No position counts at site {tally.site.name!r}; give a mask that leaves some.")
        mean, deviation = tally.all.mean, tally.all.deviation()
        site, chosen = tally.site, tally.chosen
        moved = site.C_pinv[chosen] * deviation[tally.columns][:, None]
        held = None
        if tally.index < len(self.tallies) - 1 and self.limits.tested:
            own = torch.eye(site.k, dtype=torch.float64)[chosen[: self.limits.tested]]
            controls = random_units(self.limits.controls, site.k, self.seed, tally.index)
            held = Directions.of(site, torch.cat([own, controls]), mean, deviation)
        return Site(tally.index, site, moved, held)

    def cards(self, names: Mapping[str, Sequence[str]]) -> tuple[dict[str, Plain], set[int]]:
        """The cards by feature, and the outputs that they speak of."""
        ablations = self._ablations()
        tests = sum(len(tally.chosen) for tally in self.tallies)
        out: dict[str, Plain] = {}
        used: set[int] = set()
        for tally, site in zip(self.tallies, self.sites, strict=True):
            effects = site.effect.mean
            found = self.evidence.found(tally.index, tests, self.answers.class_name)
            if tally.index < len(self.tallies) - 1 and (one := single_output(effects, site.effect.n)):
                found.append(one.suggestions("output", "share of squared effect", tests, self.answers.name))
            coordinates = names.get(site.basis.name) or self._named(tally)
            for place, i in enumerate(tally.chosen):
                key = f"{site.basis.name}:{i}"
                listed = effect_facts(site.effect, place, self.limits.effects)
                used.update(e["output"] for e in listed)
                out[key] = {
                    **tally.card(place, self.contents),
                    "effects": [{**e, "output": self.answers.name(e["output"])} for e in listed],
                    "direction": _direction(site.moved[place], coordinates),
                    "ablation": ablations.get(key),
                    "suggestions": strongest(found, place),
                }
        return out, used

    def _ablations(self) -> dict[str, Plain]:
        """Ablations by feature, corrected for their number."""
        found: dict[str, Plain] = {}
        assert self.metric is not None  # noqa: S101 - `intervene` chose one
        for tally, site in zip(self.tallies, self.sites, strict=True):
            if site.held is not None:
                own = tally.chosen[: self.limits.tested]
                facts = ablation_facts(site.change, self.metric.name, len(own))
                found.update({f"{site.basis.name}:{i}": fact for i, fact in zip(own, facts, strict=True)})
        for fact, p in zip(found.values(), holm([fact["p"] for fact in found.values()]), strict=True):
            fact["p"], fact["passed"] = p, p <= PASSED
        return found

    def _named(self, tally: Tally) -> Sequence[str] | None:
        if tally.index in self.input_sites:
            return self.contents.coordinates()
        last = tally.index == len(self.tallies) - 1
        if last and tally.site.d == self.answers.count and tally.site.name == "output":
            return [self.answers.name(o) for o in range(self.answers.count)]
        return None

    def facts(self) -> Plain:
        """How the cards were made, for the record."""
        assert self.metric is not None  # noqa: S101 - `intervene` chose one
        drawn = len(self.rows.items())
        return {
            "samples": self.samples,
            "features": {tally.site.name: [len(tally.chosen), tally.site.k] for tally in self.tallies},
            "content": self.contents.facts(),
            "effects": {"samples": drawn, "step": "one standard deviation on these data, at all counted positions"},
            "ablation": {
                "samples": drawn,
                "metric": self.metric.name,
                "why": self.why_metric,
                "higher_is_better": self.metric.higher_is_better,
                "tested_per_site": self.limits.tested,
                "controls": "random directions of the standardised features of the site",
                "level": PASSED,
                "correction": "Holm, over all features tested",
            },
            "suggestions": {
                "samples": len(self.evidence.drawn.items()),
                "level": LEVEL,
                "correction": "Bonferroni, over the candidates of one kind and all features",
            },
        }


def most_important(site: SiteBasis, count: int | None) -> list[int]:
    """The numbers of the most important features of a site, in order; equal ones in the order of their numbers."""
    return torch.sort(site.importances, descending=True, stable=True).indices[:count].tolist()


def _holds(x: Tensor, shown: Tensor) -> bool:
    """Whether an activation is the shown input itself, a number for each coordinate."""
    flat = shown.reshape(len(shown), -1)
    same = shown.is_floating_point() and x.shape[1] == 1 and x.shape[2] == flat.shape[1]
    return same and torch.equal(x[:, 0], flat.to(x))


def _direction(change: Tensor, names: Sequence[str] | None) -> list[Plain]:
    """The coordinates that change most, strongest first; those that stay are left out."""
    order = torch.sort(change.abs(), descending=True, stable=True).indices[:DIRECTION].tolist()
    return [
        {"coordinate": str(c) if names is None else names[c], "weight": float(change[c])} for c in order if change[c]
    ]
