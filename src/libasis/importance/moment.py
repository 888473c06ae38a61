"""What every importance rule takes and returns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from ..anatomy import Anatomy, Mixing, read, read_mixing, why_not_affine
from ..cut import Context, Record, Traced, shorter
from ..errors import OptionError
from ..measure import Accumulator
from ..types import Activations, Matrix, Plain


@dataclass(frozen=True, eq=False)
class Moment:
    r"""The pulled-back importance :math:`M'` of a section.

    Attributes:
        value: ``[d_in, d_in]``, float64.
        stderr: relative standard error of the sum of the importances, or None where it is exact.
        rule: the rule that computed it.
        n: number of counted (sample, position) pairs at the section's input.
        facts: what else the rule reports, as plain data.
        root: ``[d_in, r]``, of which :math:`M'` is the product with its transpose, where r is known to be below d_in.
    """

    value: Matrix
    stderr: float | None
    rule: str
    n: int
    facts: Plain = field(default_factory=dict)
    root: Matrix | None = None


@dataclass(frozen=True)
class Cost:
    """What a rule takes for a span beyond a few forward passes.

    Attributes:
        products: multiplications per position.
        passes: backward passes per batch.
        of: what the multiplications are for, where not for all of it.
    """

    products: float = 0.0
    passes: int = 0
    of: str = ""

    def beyond(self, most: Cost) -> str | None:
        """None if it is at most ``most``, otherwise what it comes to, as a reason."""
        if self.passes > most.passes:
            return f"would take {self.passes} backward passes per batch"
        if self.products > most.products:
            what = f" for {self.of}" if self.of else ""
            return f"would take {self.products / 1e6:.0f} million multiplications per position{what}"
        return None


@dataclass(frozen=True)
class Span:
    """The part of a traced model from site ``source`` to site ``target`` (one section, or several in a row).

    Attributes:
        traced: the model.
        source: number of the input site.
        target: number of the output site.
        anatomy: what the section is made of, or why that is not known.
        positions: at the input, in the first batch.
        outputs: positions at the output, in the first batch.
        longest: positions at the output, in the longest batch.
        not_affine: why the section is not one affine map of all positions, empty if it is.
        context: of the first batch, None where several sections are spanned.
        like: the activation at the input in the first batch, of no samples.
    """

    traced: Traced
    source: int
    target: int
    anatomy: Anatomy | str = "was not read"
    positions: int = 1
    outputs: int = 1
    longest: int = 1
    not_affine: str = "was not read"
    context: Context | None = None
    like: Activations | None = None

    @classmethod
    def of(cls, record: Record, traced: Traced, source: int, target: int, longest: int = 0) -> Span:
        """With its anatomy, as in one batch; ``longest`` is known from all of them."""
        several = "spans several sections"
        anatomy = read(record.contexts[source]) if target == source + 1 else several
        not_affine = why_not_affine(record.contexts[source]) if target == source + 1 else several
        context = record.contexts[source] if target == source + 1 else None
        like, outputs = record.activations[source][:0], record.activations[target].shape[1]
        longest = max(longest, outputs)
        return cls(traced, source, target, anatomy, like.shape[1], outputs, longest, not_affine, context, like)

    def shorter(self) -> Iterator[tuple[str, int, Span]]:
        """From the same site to the sites inside, the nearest first: the name, features and span of each."""
        for name, context in () if self.context is None else shorter(self.context):
            (end,) = context.subgraph.target.layouts  # pyright: ignore - it has a graph
            made_of = {"anatomy": read(context), "not_affine": why_not_affine(context), "context": context}
            yield name, end.features, replace(self, outputs=end.positions, **made_of)

    def anatomy_of(self, record: Record) -> Anatomy:
        """The anatomy in another batch, whose graph may be another one (another number of positions).

        Raises:
            OptionError: in that graph it cannot be read.
        """
        found = read(record.contexts[self.source])
        if isinstance(found, str):
            raise OptionError(
                f"The section at {self.name!r} {found} in batch {record.index}, though not in the first batch; use "
                'moments="exact".'
            )
        return found

    @property
    def mixing(self) -> Mixing | str:
        """The section as functions of each position, or why it is not; read when it is asked for."""
        return "spans several sections" if self.context is None else read_mixing(self.context)

    @property
    def name(self) -> str:
        """The name of the input site."""
        return self.traced.sites[self.source].name


@runtime_checkable
class Rule(Protocol):
    """One way to compute `Moment`; a new kind of layer is one new class in one new file."""

    @property
    def name(self) -> str:
        """What results are said to come from; a variant of a rule has that rule's name, a comma and more."""
        ...

    def matches(self, span: Span) -> str | None:
        """None if the rule holds for this span, otherwise the reason why not: "the section at 'x:in' ..."."""
        ...

    def cost(self, span: Span, columns: int) -> Cost:
        """What it would take for a readout of so many columns."""
        ...

    def start(self, span: Span, readout: Matrix, memory: int, weigh: Matrix | None) -> Accumulator[Moment]:
        """What sums up the moment.

        Args:
            span: the section, which matches.
            readout: C' ``[d_out, k_out]``, float64.
            memory: bound in bytes for what is worked on at once.
            weigh: W ``[d, r]``, the importances being eigenvalues of WᵀM'W; for a rule that estimates, and then asks
                whether their error is small enough. None for the identity.
        """
        ...
