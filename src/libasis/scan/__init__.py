"""Before a cut is chosen: which sites a model has, what a section from each would cost, and what the data do there."""

from .outliers import Outlier
from .scan import Scan, SiteScan, scan
from .sites import find_sites

__all__ = ["Outlier", "Scan", "SiteScan", "find_sites", "scan"]
