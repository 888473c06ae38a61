"""Evaluation: bases compared by what they need, with intervals over samples and models; how sure the numbers are."""

from .compare import METHODS, Study, compare
from .resample import Bootstrap
from .rotation import random_rotation

__all__ = ["METHODS", "Bootstrap", "Study", "compare", "random_rotation"]
