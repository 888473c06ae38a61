"""What a section is made of, read off its graph: affine maps, a norm, pointwise branches, attention."""

from .affine import why_not_affine
from .attention import Attended, AttentionMaps, PlacedAttention, Turn
from .components import Anatomy, Attention, Norm, Pointwise, Values, at_rows, spread
from .last_map import last_map
from .mixing import Mixing, read_mixing
from .read import read

__all__ = [
    "Anatomy",
    "Attended",
    "Attention",
    "AttentionMaps",
    "Mixing",
    "Norm",
    "PlacedAttention",
    "Pointwise",
    "Turn",
    "Values",
    "at_rows",
    "last_map",
    "read",
    "read_mixing",
    "spread",
    "why_not_affine",
]
