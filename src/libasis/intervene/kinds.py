"""The kinds of intervention: each is one function from a place to the activation to go on with."""

from __future__ import annotations

from ..types import Activations
from .intervention import Intervention
from .place import Place
from .registry import is_quantile, kind


@kind("mean")
def mean(place: Place) -> Activations:
    """The mean of the fit, where every feature is 0."""
    return place.write(0.0)


@kind("zero")
def zero(place: Place) -> Activations:
    """The value at a zero activation."""
    return place.write(place.amounts(place.other("zero")))


@kind("resample", needs="donors")
@kind("swap", takes="donors", needs="donors")
def resample(place: Place) -> Activations:
    """The value in another sample."""
    return place.write(place.amounts(place.other("resample")))


@kind("set", takes="numbers or a quantile", needs=lambda asked: "quantile" if is_quantile(asked.value) else None)
def fixed(place: Place) -> Activations:
    """A value."""
    return place.write(place.value)


@kind("shift", takes="numbers", needs="deviation")
def shift(place: Place) -> Activations:
    """So many standard deviations more."""
    return place.add(place.value * place.deviation)


def _needs_of_filler(intervention: Intervention) -> str | None:
    return "donors" if intervention.value == "resample" else None


@kind("keep_only", takes="a filler", needs=_needs_of_filler)
def keep_only(place: Place) -> Activations:
    """Everything else is replaced; what the basis leaves out stands at its mean."""
    filler = place.filler()
    return place.add(place.now - place.amounts(filler), to=filler.decoded)
