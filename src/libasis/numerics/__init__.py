"""Numbers without models: blocks, eigen-decompositions, moments, quadrature, significance, estimates."""

from .blocks import Blocks, clamp, even, slices
from .classes import are_probabilities, log_probabilities
from .donated import shared_error
from .eigen import RankDecision, Truncation, coarse, eigh_descending, fix_signs
from .estimates import Estimate, paired, paired_sums
from .independence import hsic
from .moments import StreamingMoments, add_gram, mirrored
from .quadrature import gauss_legendre
from .ratios import ratio
from .resampling import Bootstrap
from .significance import (
    benjamini,
    half_width,
    holm,
    normal_quantile,
    rank_p,
    sign_flips,
    two_sided_normal,
    two_sided_t,
    units_needed,
    upper_f,
)
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
    "are_probabilities",
    "benjamini",
    "clamp",
    "coarse",
    "eigh_descending",
    "even",
    "fix_signs",
    "gauss_legendre",
    "half_width",
    "holm",
    "hsic",
    "log_probabilities",
    "mirrored",
    "normal_quantile",
    "paired",
    "paired_sums",
    "ratio",
    "rank_p",
    "shared_error",
    "sign_flips",
    "slices",
    "two_sided_normal",
    "two_sided_t",
    "units_needed",
    "upper_f",
]
