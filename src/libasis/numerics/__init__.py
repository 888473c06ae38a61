"""Numbers without models: eigen-decompositions, moments, quadrature, tails of distributions."""

from .eigen import RankDecision, Truncation, eigh_descending, fix_signs
from .moments import StreamingMoments, add_gram, mirrored
from .quadrature import gauss_legendre
from .tails import half_width, holm, two_sided_normal, two_sided_t, upper_f

__all__ = [
    "RankDecision",
    "StreamingMoments",
    "add_gram",
    "Truncation",
    "eigh_descending",
    "fix_signs",
    "gauss_legendre",
    "half_width",
    "holm",
    "mirrored",
    "two_sided_normal",
    "two_sided_t",
    "upper_f",
]
