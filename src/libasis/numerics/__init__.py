"""Numbers without models: eigen-decompositions, moments, quadrature."""

from .eigen import RankDecision, Truncation, eigh_descending, fix_signs
from .moments import StreamingMoments
from .quadrature import gauss_legendre

__all__ = ["RankDecision", "StreamingMoments", "Truncation", "eigh_descending", "fix_signs", "gauss_legendre"]
