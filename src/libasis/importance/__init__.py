"""The pulled-back importance M' of a section: a file per rule, and the choice between them."""

from __future__ import annotations

from ..errors import OptionError
from .attention import AttentionForm
from .exact import Exact, one_hot, pull_back
from .moment import Moment, Rule, Span
from .parts import Units
from .pointwise import PointwiseForm
from .sketch import Sketch

RULES: tuple[Rule, ...] = (PointwiseForm(), AttentionForm(), Exact())
"""Cheapest first; the last one holds for every section."""


MOMENTS = ("auto", "closed_form", "exact", "sketch")

EXACT_PASSES = 512
"""``"auto"`` takes the exact rule up to so many backward passes per batch, and the sketch beyond."""


def choose(
    span: Span, moments: str = "auto", sketch: Sketch | None = None, passes: int = 0
) -> tuple[Rule, dict[str, str]]:
    """The rule for a span, and why each cheaper one was passed over (rule to reason).

    Args:
        span: the section.
        moments: ``"auto"``: the first closed form that matches, otherwise the exact rule if it takes at most
            `EXACT_PASSES` passes, otherwise the sketch; ``"closed_form"``, ``"exact"``, ``"sketch"``: that.
        sketch: the sketch with its options, or one with the defaults.
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
            return rule, passed
        passed[rule.name] = reason
    if moments == "auto":
        if passes <= EXACT_PASSES:
            return exact, passed
        return sketch, {**passed, exact.name: f"would take {passes} backward passes per batch"}
    reasons = "; ".join(dict.fromkeys(passed.values()))
    raise OptionError(f'moments is "closed_form", but the section at {span.name!r} {reasons}; use "auto".')


__all__ = ["RULES", "MOMENTS", "Moment", "Rule", "Sketch", "Span", "Units", "choose", "one_hot", "pull_back"]
