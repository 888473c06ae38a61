"""What every importance rule takes and returns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from ..cut import Traced
from ..types import Matrix


@dataclass(frozen=True, eq=False)
class Moment:
    r"""The pulled-back importance :math:`M'` of a section.

    Attributes:
        value: ``[d_in, d_in]``, float64.
        stderr: relative standard error of its trace, or None where it is exact.
        rule: the rule that computed it.
        n: number of counted (sample, position) pairs at the section's input.
    """

    value: Matrix
    stderr: float | None
    rule: str
    n: int


@dataclass(frozen=True)
class Span:
    """The part of a traced model from site ``source`` to site ``target`` (one section, or several in a row)."""

    traced: Traced
    source: int
    target: int

    @property
    def name(self) -> str:
        """The name of the input site."""
        return self.traced.sites[self.source].name


class Rule(Protocol):
    """One way to compute `Moment`; a new kind of layer is one new class in one new file."""

    name: str

    def matches(self, span: Span) -> str | None:
        """None if the rule holds for this span, otherwise the reason why not."""
        ...

    def second_moment(
        self, span: Span, batches: Iterable[Any], readout: Matrix, *, memory: int, progress: bool | None
    ) -> Moment:
        """The moment for a readout C' ``[d_out, k_out]``, working within ``memory`` bytes."""
        ...
