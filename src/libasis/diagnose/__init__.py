"""From a model and two groups of rows to the inputs that mediate its alarm, tested, beside plain methods."""

from .alarm import AnomalyScore
from .diagnose import diagnose
from .result import Diagnosis

__all__ = ["AnomalyScore", "Diagnosis", "diagnose"]
