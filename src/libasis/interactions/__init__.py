"""Interactions: how strongly each feature of a site acts on each feature of the next."""

from .edges import interactions

__all__ = ["interactions"]
