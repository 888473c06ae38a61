"""Claims: sentences made of facts, each with its mark and its interval. Without the fact there is no sentence."""

from __future__ import annotations

from dataclasses import dataclass

from ..numbers import Bounded, bounds, fixed, percent, places, signed
from ..results import Results
from ..words import Words
from .facts import Ablated, Contrast, Feature, KnownFacts, TwoGroups
from .finding import finding


@dataclass(frozen=True)
class Claim:
    """A sentence that claims something.

    Attributes:
        text: the sentence.
        verified: whether an intervention on this feature alone passed against its controls.
        interval: the 95% interval of what the sentence says, as text; empty where none was measured.
    """

    text: str
    verified: bool = False
    interval: str = ""


def findings(facts: KnownFacts, results: Results, words: Words) -> list[Claim]:
    """The main claims, the most telling first: groups, the feature verified with the largest change, interactions."""
    claims = group_claims(facts, facts.groups, words) if facts.groups and facts.groups.outputs else []
    leading = next((f for f in facts.features if f.verified), None)
    if leading and leading.ablated:
        claims.append(_without("find_verified", leading, leading.ablated, words))
    return [*claims, *map(Claim, finding(results, words))]


def group_claims(facts: KnownFacts, groups: TwoGroups, words: Words) -> list[Claim]:
    """What differs most between the groups: one output and one feature."""
    output, contrast = groups.outputs[0]
    claims = [_between("find_groups", contrast, groups, words, output=words.quote(output))]
    most = differs_most(facts)
    if most and most.contrast and most.contrast.size:
        text = words("find_groups_feature", name=most.reference(words), size=fixed(abs(most.contrast.size), 2))
        claims.append(Claim(text, interval=interval(_scaled(most.contrast, most.contrast.size), words)))
    return claims


def differs_most(facts: KnownFacts) -> Feature | None:
    """The feature shown whose groups differ most, in standard deviations."""
    able = [f for f in facts.features if f.contrast and f.contrast.size]
    return max(able, key=lambda f: abs(f.contrast.size or 0.0) if f.contrast else 0.0, default=None)


def _scaled(contrast: Contrast, size: float) -> Bounded:
    """The difference of the groups in standard deviations, without its sign."""
    difference, unit = contrast.difference, contrast.difference.value / abs(size)
    if difference.low is None or difference.high is None:
        return Bounded(abs(size))
    return Bounded(abs(size), *sorted((difference.low / unit, difference.high / unit)))


def feature_claims(feature: Feature, groups: TwoGroups | None, words: Words) -> list[Claim]:
    """What was measured of one feature: its ablation, then its groups, or its effect, or its share of importance."""
    claims = []
    if feature.ablated:
        claims.append(_without("feature_ablated", feature, feature.ablated, words))
    if feature.contrast and groups:
        claims.append(_between("feature_contrast", feature.contrast, groups, words))
    elif feature.effect:
        output, effect = feature.effect
        text = words("feature_effect", output=words.quote(output), effect=signed(effect.value, places(effect)))
        claims.append(Claim(text, interval=interval(effect, words, sign=True)))
    if len(claims) < 2:
        claims.append(Claim(words("feature_share", share=percent(feature.share), site=feature.site)))
    return claims


def _between(key: str, contrast: Contrast, groups: TwoGroups, words: Words, **blanks: str) -> Claim:
    """A mean in the two groups, and their difference."""
    text = words(key, **groups.blanks(contrast, words), **blanks)
    return Claim(text, interval=interval(contrast.difference, words, sign=True))


def _without(key: str, feature: Feature, ablated: Ablated, words: Words) -> Claim:
    """What the score does without a feature, beside its controls."""
    digits = places(ablated.change)
    text = words(
        key,
        name=feature.reference(words),
        metric=words.named("metric", ablated.metric),
        base=fixed(ablated.base, digits),
        without=fixed(ablated.without, digits),
        change=signed(ablated.change.value, digits),
        controls=ablated.controls,
        control=signed(ablated.control.value, digits),
    )
    return Claim(text, feature.verified, interval(ablated.change, words, sign=True))


def interval(estimate: Bounded, words: Words, *, sign: bool = False) -> str:
    """The interval in words, empty where none was measured."""
    ends = bounds(estimate, sign=sign)
    return words("interval", low=ends[0], high=ends[1]) if ends else ""
