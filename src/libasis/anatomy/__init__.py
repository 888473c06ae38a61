"""What a section is made of, read off its graph: affine maps, a norm, pointwise branches, attention."""

from .affine import why_not_affine
from .attention import Attended, AttentionMaps, PlacedAttention, Turn
from .components import Anatomy, Attention, Norm, Pointwise, Values, spread
from .read import read

__all__ = [
    "Anatomy",
    "Attended",
    "Attention",
    "AttentionMaps",
    "Norm",
    "PlacedAttention",
    "Pointwise",
    "Turn",
    "Values",
    "read",
    "spread",
    "why_not_affine",
]
