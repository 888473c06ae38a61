"""Numbers without models: eigen-decompositions, moments, quadrature."""

from .eigen import RankDecision, Truncation, eigh_descending, fix_signs
from .moments import StreamingMoments, add_gram, mirrored
from .quadrature import gauss_legendre

__all__ = [
    "RankDecision",
    "StreamingMoments",
    "add_gram",
    "Truncation",
    "eigh_descending",
    "fix_signs",
    "gauss_legendre",
    "mirrored",
]
