"""The basis: plain data, the rank decision, the fit."""

from .basis import Basis, SiteBasis, check_same_sites
from .fit import METHODS, fit_basis

__all__ = ["METHODS", "Basis", "SiteBasis", "check_same_sites", "fit_basis"]
