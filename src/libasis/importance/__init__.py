"""The pulled-back importance M' of a section: a file per rule, and the choice between them."""

from . import rules
from .exact import one_hot
from .fisher import Fisher, FisherSums
from .moment import Cost, Moment, Rule, Span
from .probes import random_integers, signs, uniform
from .rules import Choice, Moments, choose, parse
from .units import PointwiseUnits

__all__ = [
    "Choice",
    "Cost",
    "Fisher",
    "FisherSums",
    "Moment",
    "Moments",
    "Rule",
    "Span",
    "PointwiseUnits",
    "choose",
    "one_hot",
    "parse",
    "random_integers",
    "rules",
    "signs",
    "uniform",
]
