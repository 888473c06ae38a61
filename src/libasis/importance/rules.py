"""Importance rules as values, for ``moments=`` of `libasis.fit`: a choice between rules, or one rule with its options.

``moments="auto"`` is ``rules.Auto(seed=seed)``, and so on; an object with the methods of `Rule` is a rule of your own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ..errors import OptionError
from ..measure import Accumulator
from .affine import AffineForm
from .attention import AttentionForm, ProbedAttention
from .estimate import ProbeOptions
from .exact import Exact
from .fisher import Fisher
from .mixing import PositionForm
from .moment import Cost, Moment, Rule, Span
from .pointwise import PointwiseForm
from .sketch import Sketch
from .totals import BatchRule, BatchTotal

AFFORDABLE = Cost(products=10**9, passes=512)
"""Up to so much ``"auto"`` takes what is exact, and an estimate beyond. Key and query terms of rotary attention take
0.9e9 multiplications per position for 16 heads of width 128 and 256 positions, 2.2e9 for 32 heads and 128 positions."""

CLOSED = "closed form"

LOOKED_AT = 8
"""So many sites inside a section are tried as a better cut."""

WHATEVER = Cost(math.inf, 2**63)


@runtime_checkable
class Choice(Protocol):
    """Rules in the order in which they are asked: the first that matches, and is not too dear, is taken."""

    @property
    def name(self) -> str:
        """As it is written for ``moments``."""
        ...

    @property
    def rules(self) -> tuple[Rule, ...]:
        """In their order."""
        ...

    @property
    def most(self) -> Cost:
        """What a rule may cost."""
        ...


Moments = str | Rule | Choice
"""A name of `NAMES`, a rule, or a choice between rules."""


@dataclass(frozen=True)
class Auto(ProbeOptions):
    """The first closed form that matches; otherwise the exact rule where it is cheap, and the sketch where it is not.

    Attributes:
        relative_error: where estimates stop, between 0 and 1.
        seed: of their probes.
        most: what the exact rule, or the dear terms of attention with rotary embedding, may cost; beyond, the sketch or
            probes are taken.
        own: rules of your own, asked before all others.
    """

    most: Cost = AFFORDABLE
    own: tuple[Rule, ...] = ()
    name = "auto"

    @property
    def rules(self) -> tuple[Rule, ...]:
        """See `Choice`."""
        return self._with(AttentionForm(), ProbedAttention(self.relative_error, self.seed))

    def _with(self, *attention: Rule) -> tuple[Rule, ...]:
        last = Exact(), Sketch(self.relative_error, self.seed)
        own = self.own if isinstance(self.own, (list, tuple)) else (self.own,)
        return (*own, PointwiseForm(), *attention, AffineForm(), PositionForm(), *last)


@dataclass(frozen=True)
class Probes(Auto):
    """As `Auto`, with probes for the dear terms of attention with rotary embedding wherever these cost less."""

    name = "probes"

    @property
    def rules(self) -> tuple[Rule, ...]:
        """See `Choice`."""
        return self._with(ProbedAttention(self.relative_error, self.seed), AttentionForm())


@dataclass(frozen=True)
class ClosedForm:
    """The first closed form that matches, whatever it costs."""

    name = "closed_form"
    rules = (PointwiseForm(), AttentionForm(), AffineForm(), PositionForm())
    most = WHATEVER


@dataclass(frozen=True)
class _Alone:
    name: str
    rules: tuple[Rule, ...]
    most: Cost = WHATEVER


NAMES: dict[str, Callable[[int], Choice | Rule]] = {
    "auto": lambda seed: Auto(seed=seed),
    "closed_form": lambda _: ClosedForm(),
    "probes": lambda seed: Probes(seed=seed),
    "exact": lambda _: Exact(),
    "sketch": lambda seed: Sketch(seed=seed),
}
"""What a name stands for, with the seed of a call."""


def parse(moments: Any, seed: int) -> Choice:
    """The choice that ``moments`` says.

    Raises:
        OptionError: it is no name, no rule and no choice.
    """
    found = NAMES[moments](seed) if isinstance(moments, str) and moments in NAMES else moments
    if isinstance(found, Choice) and not isinstance(found, type):
        return found
    if isinstance(found, Rule) and not isinstance(found, type):
        return _Alone(found.name, (found,))
    raise OptionError(
        f"moments is {moments!r}; use one of {list(NAMES)}, a rule of libasis.rules such as Auto(relative_error=0.05), "
        "or an object with name, matches, cost and start."
    )


def choose(choice: Choice, span: Span, columns: int) -> tuple[Rule, dict[str, str]]:
    """The rule for a span and a readout of so many columns, and why those before it were passed over, by name.

    Raises:
        OptionError: no rule of the choice holds for this span.
    """
    passed: dict[str, str] = {}
    for rule in choice.rules:
        reason = rule.matches(span) or rule.cost(span, columns).beyond(choice.most)
        if not reason:
            passed = _without_variants(passed)
            closed = [name for name in passed if name.startswith(CLOSED)]
            if closed and isinstance(rule, (Exact, Sketch)) and (better := _better_cut(choice, span)):
                passed[closed[-1]] += better
            return rule, passed
        passed[rule.name] = reason
    reasons = "; ".join(dict.fromkeys(passed.values()))
    raise OptionError(f'moments is "{choice.name}", but the section at {span.name!r} {reasons}; use "auto".')


def _better_cut(choice: Choice, span: Span) -> str:
    """Up to which site inside a section of several positions it would have a closed form, as the end of a reason."""
    found = ""
    closed = [rule for rule in choice.rules if rule.name.startswith(CLOSED)]
    some = itertools.islice(span.shorter(), LOOKED_AT) if span.longest > 1 else ()
    for name, features, part in some:
        fit = (r for r in closed if not (r.matches(part) or r.cost(part, features).beyond(choice.most)))
        rule = next(fit, None)
        if rule is None and found:
            break
        found = found if rule is None else f"; up to {name!r} it has one ({rule.name}), so cut there"
    return found


def _without_variants(passed: dict[str, str]) -> dict[str, str]:
    """Without variants of rules that were passed over for the same reason."""

    def variant(name: str) -> bool:
        return any(name.startswith(f"{other},") and passed[other] == passed[name] for other in passed)

    return {name: reason for name, reason in passed.items() if not variant(name)}


__all__ = [
    "AFFORDABLE",
    "Accumulator",
    "Auto",
    "BatchRule",
    "BatchTotal",
    "ClosedForm",
    "Cost",
    "Exact",
    "Fisher",
    "Moment",
    "Probes",
    "ProbedAttention",
    "Rule",
    "Sketch",
    "Span",
]
