"""The basis: plain data, the rank decision, the fit."""

from .basis import Basis, SiteBasis
from .fit import DEFAULT_MEMORY, METHODS, fit

__all__ = ["DEFAULT_MEMORY", "METHODS", "Basis", "SiteBasis", "fit"]
