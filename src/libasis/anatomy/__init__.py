"""What a section is made of, read off its graph: affine maps, a norm, pointwise branches, attention."""

from .affine import why_not_affine
from .components import Anatomy, Attention, Norm, Pointwise, Rotation, Values, spread
from .read import read

__all__ = ["Anatomy", "Attention", "Norm", "Pointwise", "Rotation", "Values", "read", "spread", "why_not_affine"]
