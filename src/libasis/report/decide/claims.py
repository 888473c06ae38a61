"""Claims: sentences made of facts, each with its mark and its interval. Without the fact there is no sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..finding import finding
from ..series import percent
from .facts import Ablated, Estimate, Facts, Feature, Groups
from .numbers import bounds, fixed, places, signed
from .words import Words

if TYPE_CHECKING:
    from ...ablation.results import EdgeAblation
    from ...graphs.graph import InteractionGraph


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


def findings(
    facts: Facts, graphs: Sequence[InteractionGraph], edge_ablations: Sequence[EdgeAblation], words: Words
) -> list[Claim]:
    """The main claims, the most telling first: groups, the feature verified with the largest change, interactions."""
    claims = []
    if facts.groups and facts.groups.outputs:
        claims += group_claims(facts, facts.groups, words)
    leading = next((f for f in facts.features if f.verified), None)
    if leading and leading.ablated:
        claims.append(verified_claim(leading, leading.ablated, words))
    return [*claims, *(Claim(text) for text in finding(graphs, edge_ablations, words.lang))]


def group_claims(facts: Facts, groups: Groups, words: Words) -> list[Claim]:
    """What differs most between the groups: one output and one feature."""
    output, contrast = groups.outputs[0]
    digits = places(contrast.difference)
    first, second = (words.quote(name) for name in groups.names)
    claims = [
        Claim(
            words(
                "find_groups",
                first=first,
                second=second,
                output=words.quote(output),
                before=fixed(contrast.first.value, digits),
                after=fixed(contrast.second.value, digits),
                change=signed(contrast.difference.value, digits),
            ),
            interval=interval(contrast.difference, words, sign=True),
        )
    ]
    most = differs_most(facts)
    if most and most.contrast and most.contrast.size:
        size = fixed(abs(most.contrast.size), 2)
        text = words("find_groups_feature", name=words.reference(most), size=size)
        claims.append(Claim(text, interval=interval(_scaled(most), words)))
    return claims


def differs_most(facts: Facts) -> Feature | None:
    """The feature shown whose groups differ most, in standard deviations."""
    able = [f for f in facts.features if f.contrast and f.contrast.size]
    return max(able, key=lambda f: abs(f.contrast.size or 0.0) if f.contrast else 0.0, default=None)


def _scaled(feature: Feature) -> Estimate:
    """The difference of the groups in standard deviations, without its sign."""
    contrast = feature.contrast
    if contrast is None or not contrast.size:
        return Estimate(0.0)
    difference, unit = contrast.difference, contrast.difference.value / abs(contrast.size)
    if difference.low is None or difference.high is None:
        return Estimate(abs(contrast.size))
    ends = sorted((difference.low / unit, difference.high / unit))
    return Estimate(abs(contrast.size), *ends)


def verified_claim(feature: Feature, ablated: Ablated, words: Words) -> Claim:
    """What the score does without a feature, beside its controls."""
    digits = places(ablated.change)
    text = words(
        "find_verified",
        name=words.reference(feature),
        metric=words.metric(ablated.metric),
        base=fixed(ablated.base, digits),
        without=fixed(ablated.without, digits),
        change=signed(ablated.change.value, digits),
        control=signed(ablated.control.value, digits),
    )
    return Claim(text, feature.verified, interval(ablated.change, words, sign=True))


def feature_claims(feature: Feature, groups: Groups | None, words: Words) -> list[Claim]:
    """What was measured of one feature: its ablation, then its groups, or its effect, or its share of importance."""
    claims = []
    if feature.ablated:
        claims.append(_ablation_line(feature, feature.ablated, words))
    if feature.contrast and groups:
        digits = places(feature.contrast.difference)
        first, second = (words.quote(name) for name in groups.names)
        text = words(
            "feature_contrast",
            first=first,
            second=second,
            before=fixed(feature.contrast.first.value, digits),
            after=fixed(feature.contrast.second.value, digits),
            change=signed(feature.contrast.difference.value, digits),
        )
        claims.append(Claim(text, interval=interval(feature.contrast.difference, words, sign=True)))
    elif feature.effect:
        output, effect = feature.effect
        change = signed(effect.value, places(effect))
        text = words("feature_effect", output=words.quote(output), effect=change)
        claims.append(Claim(text, interval=interval(effect, words, sign=True)))
    if len(claims) < 2:
        claims.append(Claim(words("feature_share", share=percent(feature.share), site=feature.site)))
    return claims


def _ablation_line(feature: Feature, ablated: Ablated, words: Words) -> Claim:
    digits = places(ablated.change)
    text = words(
        "feature_ablated",
        metric=words.metric(ablated.metric),
        base=fixed(ablated.base, digits),
        without=fixed(ablated.without, digits),
        change=signed(ablated.change.value, digits),
        controls=f"{ablated.controls:,}",
        control=signed(ablated.control.value, digits),
    )
    return Claim(text, feature.verified, interval(ablated.change, words, sign=True))


def interval(estimate: Estimate, words: Words, *, sign: bool = False) -> str:
    """The interval in words, empty where none was measured."""
    ends = bounds(estimate, sign=sign)
    return words("interval", low=ends[0], high=ends[1]) if ends else ""
