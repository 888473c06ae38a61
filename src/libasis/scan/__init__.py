"""Before a cut is chosen: which sites a model has, what a section from each would cost, and what the data do there."""

from .sites import find_sites

__all__ = ["find_sites"]
