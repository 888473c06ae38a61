"""The pulled-back importance M' of a section: a file per rule, and the choice between them."""

from __future__ import annotations

from ..errors import OptionError
from .attention import AttentionForm
from .exact import Exact, one_hot, pull_back
from .moment import Moment, Rule, Span
from .parts import Units
from .pointwise import PointwiseForm

RULES: tuple[Rule, ...] = (PointwiseForm(), AttentionForm(), Exact())
"""Cheapest first; the last one holds for every section."""


MOMENTS = ("auto", "closed_form", "exact")


def choose(span: Span, moments: str = "auto") -> tuple[Rule, dict[str, str]]:
    """The rule for a span, and why each cheaper one was passed over (rule to reason).

    Args:
        span: the section.
        moments: ``"auto"``: the first rule that matches; ``"closed_form"``: the same, but never the exact rule;
            ``"exact"``.

    Raises:
        OptionError: ``moments`` is unknown, or no closed form holds for this span.
    """
    if moments not in MOMENTS:
        raise OptionError(f"moments is {moments!r}; use one of {list(MOMENTS)}.")
    if moments == "exact":
        return RULES[-1], {}
    passed: dict[str, str] = {}
    for rule in RULES if moments == "auto" else RULES[:-1]:
        reason = rule.matches(span)
        if reason is None:
            return rule, passed
        passed[rule.name] = reason
    reasons = "; ".join(dict.fromkeys(passed.values()))
    raise OptionError(f'moments is "closed_form", but the section at {span.name!r} {reasons}; use "auto".')


__all__ = ["RULES", "MOMENTS", "Moment", "Rule", "Span", "Units", "choose", "one_hot", "pull_back"]
