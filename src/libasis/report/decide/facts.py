"""What the results say, as plain facts: names and numbers, no sentence yet, nothing that was not measured."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...cards import FeatureCards
from ..numbers import Bounded, fixed, places, signed
from ..results import Results
from ..words import Words, clean

SHOWN, PER_SITE = 4, 2
"""Features on the first screen, and of one site where nothing but importance ranks them."""
OUTPUTS = 5
"""Outputs in the bar list."""
NORMAL_95 = 1.96
"""Half the width of a 95% interval, in standard errors."""


@dataclass(frozen=True)
class Ablated:
    """The score with one feature held at its mean, beside random directions held at theirs."""

    metric: str
    base: float
    without: float
    change: Bounded
    control: Bounded
    controls: int
    passed: bool


@dataclass(frozen=True)
class Contrast:
    """A mean in two groups; ``size`` is the difference in standard deviations, where a deviation is known."""

    first: Bounded
    second: Bounded
    difference: Bounded
    size: float | None = None


@dataclass(frozen=True)
class Feature:
    """One feature and what was measured of it.

    Attributes:
        id: ``site:index``.
        site: the site's name.
        label: the user's name for it; empty where there is none.
        suggestion: the first suggestion of its card.
        share: of the summed importance of its site.
        ablated: what happened without it, where that was measured and could tell it from the controls.
        untested: why that could not be told, as the end of a key of the words, or None.
        effect: the output that it moves most, and by how much.
        contrast: its mean in the two groups.
        tied: whether only the span that it shares with others is determined.
        low: whether the name is a suggestion that speaks of the feature's low values.
        reads: the columns that it reads, the strongest first, see `libasis.collect`.
        examples: contents with the largest values, or where ``low``, with the smallest; the most extreme first.
    """

    id: str
    site: str
    label: str = ""
    suggestion: Mapping[str, Any] | None = None
    share: float = 0.0
    ablated: Ablated | None = None
    untested: str | None = None
    effect: tuple[str, Bounded] | None = None
    contrast: Contrast | None = None
    tied: bool = False
    low: bool = False
    reads: tuple[Mapping[str, Any], ...] = ()
    examples: tuple[Mapping[str, Any], ...] = ()

    @property
    def verified(self) -> bool:
        """Whether an intervention on it alone did more than its controls."""
        return self.ablated is not None and self.ablated.passed

    def name(self, words: Words) -> str:
        """The user's label, else the suggestion, else the id."""
        if self.label:
            return clean(self.label)
        if not self.suggestion:
            return self.id
        kind, value = self.suggestion.get("kind"), clean(self.suggestion["value"])
        wave = re.fullmatch(r"(\d+) of (\d+)", value) if kind == "frequency" else None
        if wave:
            name = words("wave", value=wave[1], modulus=wave[2])
        else:
            name = words(f"suggests_{kind}", value=value) if f"suggests_{kind}" in words.all else value
        return words("low_end", name=name) if self.low else name

    def reference(self, words: Words) -> str:
        """The name with the id beside it, for sentences where several features may have one name."""
        name = self.name(words)
        quoted = words.quote(name)
        return quoted if name == self.id else words("reference", name=quoted, id=self.id)


@dataclass(frozen=True)
class TwoGroups:
    """Two groups of samples side by side: the first two of the cards.

    Attributes:
        names: of the two.
        samples: in the two.
        outputs: name and means of each output, the largest difference first.
        more: groups beside these two.
        columns: of a table, the mean of each column in the two, by name.
    """

    names: tuple[str, str]
    samples: tuple[int, int]
    outputs: tuple[tuple[str, Contrast], ...]
    more: int
    columns: Mapping[str, tuple[float, float]]

    def blanks(self, contrast: Contrast, words: Words) -> dict[str, str]:
        """The two names, means and their difference, for a sentence."""
        digits, (first, second) = places(contrast.difference), map(words.quote, self.names)
        before, after = fixed(contrast.first.value, digits), fixed(contrast.second.value, digits)
        change = signed(contrast.difference.value, digits)
        return {"first": first, "second": second, "before": before, "after": after, "change": change}


@dataclass(frozen=True)
class KnownFacts:
    """What the first screen knows.

    Attributes:
        features: those shown, the most important first.
        total: features that could have been shown, those of the last site apart.
        cards: cards given; None where there are none at all.
        tested: features that were taken out alone.
        groups: two groups of samples, if the cards have them.
        findings: what was found wrong with model and data, see `libasis.check`.
    """

    features: tuple[Feature, ...]
    total: int
    cards: int | None = None
    tested: tuple[Feature, ...] = ()
    groups: TwoGroups | None = None
    findings: tuple[Mapping[str, Any], ...] = ()

    @property
    def passed(self) -> tuple[Feature, ...]:
        """Features verified by intervention, among all that were tested."""
        return tuple(f for f in self.tested if f.verified)


def facts_of(results: Results) -> KnownFacts:
    """The facts of the first graph and its cards.

    Shown first are the features verified by intervention, the largest change of the score leading. Then comes the
    difference between two groups, in standard deviations, or, without groups, the share of the importance of a site.
    Features of the last site are the outputs themselves and are shown only where there is no other site.
    """
    graph, cards = results.graph, results.cards
    groups = _groups(cards) if cards else None
    features = []
    for site in graph.basis.sites[:-1] or graph.basis.sites:
        total = float(site.importances.sum())
        for index, importance in enumerate(site.importances.tolist()):
            share = importance / total if total > 0 else 0.0
            features.append(_feature(results, site.name, index, share))
    return KnownFacts(
        features=_shown(features, bool(groups)),
        total=len(features),
        cards=sum(f.id in cards.cards for f in features) if cards else None,
        tested=tuple(f for f in features if f.ablated),
        groups=groups,
        findings=tuple(graph.info.get("findings") or ()),
    )


def _feature(results: Results, site: str, index: int, share: float) -> Feature:
    key, cards = f"{site}:{index}", results.cards
    card = cards.cards.get(key, {}) if cards else {}
    effects, suggestions, ablation = card.get("effects"), card.get("suggestions"), card.get("ablation")
    means = [group.get("features", {}).get(key) for group in cards.groups[:2]] if cards else []
    suggestion, named = suggestions[0] if suggestions else None, results.graph.labels.get(key)
    label = named.label if named else ""
    low = suggestion is not None and not label and _low(suggestion)
    return Feature(
        id=key,
        site=site,
        label=label,
        suggestion=suggestion,
        share=share,
        ablated=_ablated(ablation) if ablation and not ablation.get("untested") else None,
        untested=str(ablation["untested"]) if ablation and ablation.get("untested") else None,
        effect=(str(effects[0]["output"]), _bounded(effects[0], "effect", "low", "high")) if effects else None,
        contrast=_contrast(means[0], means[1], card.get("std")) if len(means) == 2 and all(means) else None,
        tied=bool(results.graph.basis[site].tied(index)),
        low=low,
        reads=tuple(card.get("reads") or ()),
        examples=tuple(card.get("bottom" if low else "top") or ()),
    )


def _low(suggestion: Mapping[str, Any]) -> bool:
    """Whether the thing suggested goes with low values: an AUC below one half, a negative correlation."""
    middle = {"AUC": 0.5, "correlation": 0.0}.get(str(suggestion.get("statistic")))
    return middle is not None and suggestion.get("effect", middle) < middle


def _ablated(entry: Mapping[str, Any]) -> Ablated:
    return Ablated(
        metric=str(entry["metric"]),
        base=entry["base"],
        without=entry["without"],
        change=_bounded(entry, "change", "low", "high"),
        control=_bounded(entry, "control", "control_low", "control_high"),
        controls=int(entry["controls"]),
        passed=entry["passed"] is True,
    )


def _bounded(entry: Mapping[str, Any], value: str, low: str, high: str) -> Bounded:
    return Bounded(entry[value], _finite(entry.get(low)), _finite(entry.get(high)))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _around(mean: float, stderr: float | None) -> Bounded:
    error = _finite(stderr)
    return Bounded(mean) if error is None else Bounded(mean, mean - NORMAL_95 * error, mean + NORMAL_95 * error)


def _contrast(first: Sequence[Any], second: Sequence[Any], std: float | None = None) -> Contrast:
    """Two means with their standard errors; the groups are separate samples, so the variances add up."""
    errors = [_finite(pair[1] if len(pair) > 1 else None) for pair in (first, second)]
    difference = second[0] - first[0]
    error = math.hypot(*(e for e in errors if e is not None)) if None not in errors else None
    size = difference / std if std and math.isfinite(std) else None
    return Contrast(_around(first[0], errors[0]), _around(second[0], errors[1]), _around(difference, error), size)


def _groups(cards: FeatureCards) -> TwoGroups | None:
    if len(cards.groups) < 2:
        return None
    first, second = cards.groups[:2]
    columns = zip(cards.outputs, first.get("outputs") or [], second.get("outputs") or [], strict=False)
    outputs = [(str(name), _contrast(a, b)) for name, a, b in columns]
    means, others = first.get("columns") or {}, second.get("columns") or {}
    outputs.sort(key=lambda pair: -abs(pair[1].difference.value))
    return TwoGroups(
        names=(str(first["name"]), str(second["name"])),
        samples=(int(first["samples"]), int(second["samples"])),
        outputs=tuple(outputs),
        more=len(cards.groups) - 2,
        columns={name: (means[name][0], others[name][0]) for name in means if name in others},
    )


def _shown(features: Sequence[Feature], groups: bool) -> tuple[Feature, ...]:
    def differs(feature: Feature) -> float:
        return abs(feature.contrast.size or 0.0) if feature.contrast else 0.0

    verified = [f for f in features if f.ablated and f.verified]
    verified.sort(key=lambda f: -abs(f.ablated.change.value) if f.ablated else 0.0)
    others = sorted((f for f in features if not f.verified), key=lambda f: -f.share)
    if groups:
        others.sort(key=lambda f: -differs(f))
    chosen = verified[:SHOWN]
    for feature in others:
        same = sum(f.site == feature.site and not f.verified for f in chosen)
        if len(chosen) < SHOWN and (groups or same < PER_SITE):
            chosen.append(feature)
    return tuple(chosen)
