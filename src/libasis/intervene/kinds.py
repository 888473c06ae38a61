"""The kinds of intervention: each is one function from a place to the activation to go on with."""

from __future__ import annotations

from ..types import Activations
from .place import Place
from .registry import kind


@kind("mean")
def mean(place: Place) -> Activations:
    """The mean of the fit, where every feature is 0."""
    return place.write(0.0)


@kind("zero")
def zero(place: Place) -> Activations:
    """The value at a zero activation."""
    return place.write(place.amounts(place.zero))


@kind("resample", needs="donors")
@kind("swap", needs="given")
def resample(place: Place) -> Activations:
    """The value in another sample."""
    return place.write(place.amounts(place.donated))


@kind("set", takes='a number, one for each, or a quantile such as "q0.9"')
def fixed(place: Place) -> Activations:
    """A value."""
    return place.write(place.value)


@kind("shift", takes="a number or one for each", needs="deviation")
def shift(place: Place) -> Activations:
    """So many standard deviations more."""
    return place.add(place.value * place.deviation)


@kind("keep_only", takes='no value, "mean", "zero" or "resample"')
def keep_only(place: Place) -> Activations:
    """Everything else is replaced; what the basis leaves out stands at its mean."""
    filler = {"zero": place.zero, "resample": place.donated}.get(str(place.asked.value)) or place.mean
    return place.add(place.now - place.amounts(filler), to=filler.decoded)
