"""Numbers without models: blocks, eigen-decompositions, moments, quadrature, tails of distributions."""

from .blocks import clamp, even, slices
from .eigen import RankDecision, Truncation, eigh_descending, fix_signs
from .moments import StreamingMoments, add_gram, mirrored
from .quadrature import gauss_legendre
from .sums import State, Sums
from .tails import half_width, holm, two_sided_normal, two_sided_t, upper_f

__all__ = [
    "RankDecision",
    "State",
    "StreamingMoments",
    "Sums",
    "Truncation",
    "add_gram",
    "clamp",
    "eigh_descending",
    "even",
    "fix_signs",
    "gauss_legendre",
    "half_width",
    "holm",
    "mirrored",
    "slices",
    "two_sided_normal",
    "two_sided_t",
    "upper_f",
]
