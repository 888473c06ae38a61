"""Feature cards: what a person needs to understand one feature, and suggestions of what to call it."""

from .collect import collect
from .result import FeatureCards

__all__ = ["FeatureCards", "collect"]
