"""Moments of one section by a rule."""

from libasis.importance import Span, choose, parse
from libasis.measure import measure


def span_of(records, source=0, target=1):
    """A section, as the fit asks for it."""
    return Span.of(records.first(), records.traced, source, target, records.positions[target])


def chosen(span, moments="auto", columns=1):
    """The rule and the reasons against those before it."""
    return choose(parse(moments, 0), span, columns)


def moment_by(rule, records, readout, memory=2**30, weigh=None, span=None):
    """A rule, or the one that a name chooses, for the first section."""
    span = span or span_of(records)
    rule = chosen(span, rule, readout.shape[1])[0] if isinstance(rule, str) else rule
    return measure(records, rule.start(span, readout, memory, weigh), rule.name)
