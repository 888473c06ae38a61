"""Numbers without models: blocks, eigen-decompositions, moments, quadrature, significance, estimates."""

from .blocks import Blocks, clamp, even, slices
from .eigen import RankDecision, Truncation, eigh_descending, fix_signs
from .estimates import Estimate, paired
from .independence import hsic
from .moments import StreamingMoments, add_gram, mirrored
from .quadrature import gauss_legendre
from .ratios import ratio
from .resampling import Bootstrap
from .significance import half_width, holm, sign_flips, two_sided_normal, two_sided_t, upper_f
from .sums import State, Sums

__all__ = [
    "Blocks",
    "Bootstrap",
    "Estimate",
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
    "hsic",
    "mirrored",
    "paired",
    "ratio",
    "sign_flips",
    "slices",
    "two_sided_normal",
    "two_sided_t",
    "upper_f",
]
