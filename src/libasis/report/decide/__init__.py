"""The first screen, for someone who decides: every sentence follows from the results, with a mark that says how."""

from __future__ import annotations

from .screen import first_screen

__all__ = ["first_screen"]
