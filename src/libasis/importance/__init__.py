"""The pulled-back importance M' of a section: a file per rule, and the choice between them."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import OptionError
from .affine import AffineForm
from .attention.form import AttentionForm
from .attention.probed import ProbedAttention
from .exact import Exact, one_hot, pull_back
from .moment import Moment, Rule, Span
from .pointwise import PointwiseForm
from .sketch import Sketch
from .units import Units

RULES: tuple[Rule, ...] = (PointwiseForm(), AttentionForm(), AffineForm(), Exact())
"""Cheapest first; the last one holds for every section."""

Moments = str | Rule
"""A name of `MOMENTS`, or a rule."""


@dataclass(frozen=True)
class Choice:
    """How the rule of each section is chosen, and the seed of those that draw."""

    moments: Moments
    seed: int

    @classmethod
    def parse(cls, moments: Moments, seed: int) -> Choice:
        return cls(moments, seed)


MOMENTS = ("auto", "closed_form", "probes", "exact", "sketch")

EXACT_PASSES = 512
"""``"auto"`` takes the exact rule up to so many backward passes per batch, and the sketch beyond."""

EXACT_PRODUCTS = 10**9
"""``"auto"`` takes exact key and query terms of rotary attention up to so many multiplications per position, and probes
beyond. 16 heads of width 128 take 0.9e9 with 256 positions, 32 heads 2.2e9 with 128."""


def choose(
    span: Span, moments: str = "auto", sketch: Sketch | None = None, passes: int = 0
) -> tuple[Rule, dict[str, str]]:
    """The rule for a span, and why each cheaper one was passed over (rule to reason).

    Args:
        span: the section.
        moments: ``"auto"``: the first closed form that matches, its dear terms by probes if they take more than
            `EXACT_PRODUCTS` multiplications per position, otherwise the exact rule if it takes at most `EXACT_PASSES`
            passes, otherwise the sketch; ``"probes"``: the same with probes for dear terms however few there are;
            ``"closed_form"``, ``"exact"``, ``"sketch"``: that.
        sketch: the sketch with its options, which are also those of other probes, or one with the defaults.
        passes: backward passes that the exact rule would take per batch, columns times output positions.

    Raises:
        OptionError: ``moments`` is unknown, or no closed form holds for this span.
    """
    if moments not in MOMENTS:
        raise OptionError(f"moments is {moments!r}; use one of {list(MOMENTS)}.")
    *closed, exact = RULES
    sketch = sketch or Sketch()
    if moments in ("exact", "sketch"):
        return exact if moments == "exact" else sketch, {}
    passed: dict[str, str] = {}
    for rule in closed:
        reason = rule.matches(span)
        if reason is None:
            return _probed(span, moments, sketch, rule, passed) if isinstance(rule, AttentionForm) else (rule, passed)
        passed[rule.name] = reason
    if moments != "closed_form":
        if passes <= EXACT_PASSES:
            return exact, passed
        return sketch, {**passed, exact.name: f"would take {passes} backward passes per batch"}
    reasons = "; ".join(dict.fromkeys(passed.values()))
    raise OptionError(f'moments is "closed_form", but the section at {span.name!r} {reasons}; use "auto".')


def _probed(
    span: Span, moments: str, sketch: Sketch, rule: Rule, passed: dict[str, str]
) -> tuple[Rule, dict[str, str]]:
    """The closed form for attention, or that with probes."""
    probed = ProbedAttention(sketch.weigh, sketch.seed, sketch.relative_error)
    reason, cost = probed.matches(span), probed.exact_cost(span)
    if moments == "probes":
        return (probed, passed) if reason is None else (rule, {**passed, probed.name: reason})
    if moments == "closed_form" or cost <= EXACT_PRODUCTS:
        return rule, passed
    much = f"would take {cost / 1e6:.0f} million multiplications per position for its key and query terms"
    return probed, {**passed, rule.name: much}


__all__ = [
    "RULES",
    "MOMENTS",
    "Choice",
    "Moments",
    "Moment",
    "ProbedAttention",
    "Rule",
    "Sketch",
    "Span",
    "Units",
    "choose",
    "one_hot",
    "pull_back",
]
