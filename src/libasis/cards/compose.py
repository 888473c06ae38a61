"""From what was gathered and measured to cards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..types import Plain
from ..verify import Claimed, decide
from .effects import CardEffects, ablation_facts, effect_facts
from .gather import Gathered, Limits
from .independent import Independent
from .reads import Reads
from .site_features import SiteFeatures
from .suggest import LEVEL, single_output, strongest

DIRECTION = 64
"""At most so many coordinates of a direction are listed."""

PASSED = 0.05
"""The corrected p-value up to which an ablation has passed."""


@dataclass(frozen=True, eq=False)
class KnownOfSamples:
    """What is known of the samples beside what was gathered.

    Attributes:
        last: number of the last site.
        reads: by site what its features read, or None.
        times: of each sample, or None.
        independent: which samples belong together.
        drawn: the same of those that effects were measured on.
    """

    last: int
    reads: Sequence[Reads] | None
    times: Sequence[str] | None
    independent: Independent
    drawn: Independent


def cards(
    gathered: Gathered, effects: CardEffects, limits: Limits, names: Mapping[str, Sequence[str]], beside: KnownOfSamples
) -> tuple[dict[str, Plain], set[int]]:
    """The cards by feature, and the outputs that they speak of."""
    last = beside.last
    ablations = _ablations(gathered, effects, limits, beside.drawn)
    tests = sum(len(site.chosen) for site in gathered.sites)
    out: dict[str, Plain] = {}
    used: set[int] = set()
    for number, (site, measured) in enumerate(zip(gathered.sites, effects.sites, strict=True)):
        reads = None if beside.reads is None else beside.reads[number]
        read, name = None if reads is None else reads.read, gathered.answers.class_name
        found = gathered.evidence.found(number, tests, name, read, beside.independent)
        if site.index < last and (one := single_output(measured.effect.mean, measured.effect.n)):
            found.append(one.suggestions("output", "share of squared effect", tests, gathered.answers.name))
        coordinates = names.get(site.site.name) or _named(gathered, site, last)
        deviation = site.all.deviation()[site.columns]
        of_columns = site.index in gathered.input_sites and gathered.contents.kind == "table"
        scale = gathered.contents.usual()[1] if of_columns else None
        for place, i in enumerate(site.chosen):
            key = f"{site.site.name}:{i}"
            listed = effect_facts(measured, place, limits.effects, beside.drawn)
            used.update(e["output"] for e in listed)
            columns, usual = gathered.contents.columns or (), gathered.contents.usual
            out[key] = {
                "reads": [] if reads is None else reads.plain(place, columns, usual()),
                "suggestions": strongest(found, place, named=gathered.contents.kind == "table"),
                **_timed(site.card(place, gathered.contents, gathered.answers), beside.times),
                "effects": [{**e, "output": gathered.answers.name(e["output"])} for e in listed],
                "direction": _direction(site.site.C_pinv[i] * deviation[place], coordinates, scale),
                "ablation": ablations.get(key),
            }
    return out, used


def _timed(card: Plain, times: Sequence[str] | None) -> Plain:
    """The card, with the time of each example where it is known."""
    if times is not None:
        for example in [*card["top"], *card["bottom"]]:
            example["time"] = times[example["sample"]]
    return card


def _ablations(gathered: Gathered, effects: CardEffects, limits: Limits, independent: Independent) -> dict[str, Plain]:
    """Ablations by feature, decided together as `libasis.verify` decides."""
    constant = effects.constant.facts()
    poor = constant is not None and constant["no_better"]
    found: dict[str, tuple[Plain, Claimed]] = {}
    for site, measured in zip(gathered.sites, effects.sites, strict=True):
        if measured.held is not None:
            own = site.chosen[: limits.tested]
            facts = ablation_facts(measured, effects.metric.name, independent, poor=poor)
            found.update({f"{site.site.name}:{i}": fact for i, fact in zip(own, facts, strict=True)})
    verdicts = decide([claim for _, claim in found.values()], PASSED)
    needed = math.ceil(len(found) / PASSED) - 1
    out = {}
    for (key, (fact, claim)), verdict in zip(found.items(), verdicts, strict=True):
        run, reason = fact["controls"], verdict.reason
        few = claim.untested is None and run < needed and claim.p <= 1 / (run + 1)
        if few and verdict.word != "supported":
            reason = (
                f"could not be tested here, because {run} random directions were run, none of which did as much, and "
                f"{len(found)} tests need {needed}"
            )
        passed = verdict.word == "supported"
        why = fact["untested"] or ("few_controls" if few and not passed else None)
        out[key] = {**fact, "p": verdict.p, "passed": passed, "tested": why is None, "untested": why, "reason": reason}
    return out


def _named(gathered: Gathered, site: SiteFeatures, last: int) -> Sequence[str] | None:
    if site.index in gathered.input_sites:
        return gathered.contents.coordinates()
    answers = gathered.answers
    if site.index == last and site.site.d == answers.count and site.site.name == "output":
        return [answers.name(o) for o in range(answers.count)]
    return None


def _direction(change: Tensor, names: Sequence[str] | None, scale: Tensor | None) -> list[Plain]:
    """The coordinates that change most, strongest first; those that stay are left out.

    Columns of a table have units of their own, and are compared in their deviations (``scale``).
    """
    size = change.abs() if scale is None else torch.where(scale > 0, change.abs() / scale, torch.zeros_like(scale))
    order = torch.sort(size, descending=True, stable=True).indices[:DIRECTION].tolist()
    return [
        {"coordinate": str(c) if names is None else names[c], "weight": float(change[c])} for c in order if change[c]
    ]


def facts(
    gathered: Gathered, effects: CardEffects, limits: Limits, independent: Independent, reference: str | None = None
) -> Plain:
    """How the cards were made, for the record."""
    drawn = len(gathered.rows.draw)
    whose = "the fit" if reference is None else f"the group {reference!r}"
    return {
        "samples": gathered.samples,
        "rows": independent.facts(),
        "features": {site.site.name: [len(site.chosen), site.site.k] for site in gathered.sites},
        "content": gathered.contents.facts(),
        "effects": {"samples": drawn, "step": "one standard deviation on these data, at all counted positions"},
        "ablation": {
            "samples": drawn,
            "metric": effects.metric.name,
            "why": gathered.why,
            "higher_is_better": effects.metric.higher_is_better,
            "held": f"at the mean of {whose}, at all counted positions",
            "reference": reference,
            "one_answer": effects.constant.facts(),
            "tested_per_site": limits.tested,
            "controls": "random directions of the standardised features of the site; ended after ten that did as much",
            "level": PASSED,
            "correction": "Holm, over all features tested",
        },
        "suggestions": {
            "samples": len(gathered.evidence.draw),
            "level": LEVEL,
            "correction": "Bonferroni, over the candidates of one kind and all features",
        },
    }
