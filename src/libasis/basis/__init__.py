"""The basis: plain data, the rank decision, the fit."""

from .basis import Basis, SiteBasis, check_fits, other_model
from .fit import METHODS, fit_basis
from .outliers import say as outliers_said

__all__ = ["METHODS", "Basis", "SiteBasis", "check_fits", "fit_basis", "other_model", "outliers_said"]
