"""What a section is made of, read off its graph: affine maps, a norm, pointwise branches, attention."""

from .parts import Anatomy, Attention, Norm, Pointwise, Rotation, Values
from .read import read

__all__ = ["Anatomy", "Attention", "Norm", "Pointwise", "Rotation", "Values", "read"]
