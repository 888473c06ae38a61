"""From what was gathered and measured to cards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..types import Plain
from ..verify import Claimed, decide
from .effects import CardEffects, ablation_facts, effect_facts
from .gather import Gathered, Limits
from .site_features import SiteFeatures
from .suggest import LEVEL, single_output, strongest

DIRECTION = 64
"""At most so many coordinates of a direction are listed."""

PASSED = 0.05
"""The corrected p-value up to which an ablation has passed."""


def cards(
    gathered: Gathered, effects: CardEffects, limits: Limits, names: Mapping[str, Sequence[str]], last: int
) -> tuple[dict[str, Plain], set[int]]:
    """The cards by feature, and the outputs that they speak of."""
    ablations = _ablations(gathered, effects, limits)
    tests = sum(len(site.chosen) for site in gathered.sites)
    out: dict[str, Plain] = {}
    used: set[int] = set()
    for number, (site, measured) in enumerate(zip(gathered.sites, effects.sites, strict=True)):
        found = gathered.evidence.found(number, tests, gathered.answers.class_name)
        if site.index < last and (one := single_output(measured.effect.mean, measured.effect.n)):
            found.append(one.suggestions("output", "share of squared effect", tests, gathered.answers.name))
        coordinates = names.get(site.site.name) or _named(gathered, site, last)
        deviation = site.all.deviation()[site.columns]
        for place, i in enumerate(site.chosen):
            key = f"{site.site.name}:{i}"
            listed = effect_facts(measured.effect, place, limits.effects)
            used.update(e["output"] for e in listed)
            out[key] = {
                **site.card(place, gathered.contents, gathered.answers),
                "effects": [{**e, "output": gathered.answers.name(e["output"])} for e in listed],
                "direction": _direction(site.site.C_pinv[i] * deviation[place], coordinates),
                "ablation": ablations.get(key),
                "suggestions": strongest(found, place),
            }
    return out, used


def _ablations(gathered: Gathered, effects: CardEffects, limits: Limits) -> dict[str, Plain]:
    """Ablations by feature, decided together as `libasis.verify` decides."""
    found: dict[str, tuple[Plain, Claimed]] = {}
    for site, measured in zip(gathered.sites, effects.sites, strict=True):
        if measured.held is not None:
            own = site.chosen[: limits.tested]
            facts = ablation_facts(measured, effects.metric.name)
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


def _direction(change: Tensor, names: Sequence[str] | None) -> list[Plain]:
    """The coordinates that change most, strongest first; those that stay are left out."""
    order = torch.sort(change.abs(), descending=True, stable=True).indices[:DIRECTION].tolist()
    return [
        {"coordinate": str(c) if names is None else names[c], "weight": float(change[c])} for c in order if change[c]
    ]


def facts(gathered: Gathered, effects: CardEffects, limits: Limits, reference: str | None = None) -> Plain:
    """How the cards were made, for the record."""
    drawn = len(gathered.rows.draw)
    whose = "the fit" if reference is None else f"the group {reference!r}"
    return {
        "samples": gathered.samples,
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
