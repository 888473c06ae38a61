"""The pulled-back importance M' of a section: a file per rule, and the choice between them."""

from __future__ import annotations

from ..errors import OptionError
from .exact import Exact, one_hot, pull_back
from .moment import Moment, Rule, Span

RULES: tuple[Rule, ...] = (Exact(),)
"""Cheapest first; the last one holds for every section."""


def choose(span: Span, moments: str = "auto") -> Rule:
    """The rule for a span: the first that matches, or the one asked for.

    Raises:
        OptionError: the rule asked for is unknown or does not hold for this span.
    """
    names = [rule.name for rule in RULES]
    if moments == "auto":
        return next(rule for rule in RULES if rule.matches(span) is None)
    if moments not in names:
        raise OptionError(f'moments is {moments!r}; use "auto" or one of {names}.')
    rule = RULES[names.index(moments)]
    if (reason := rule.matches(span)) is not None:
        raise OptionError(f'moments is {moments!r}, but the section at {span.name!r} {reason}; use "auto".')
    return rule


__all__ = ["RULES", "Moment", "Rule", "Span", "choose", "one_hot", "pull_back"]
