"""From a model and two groups of rows to the inputs that mediate its alarm, tested, beside plain methods."""

from .alarm import AnomalyScore
from .check import check
from .diagnose import diagnose
from .labelled import findings_of
from .result import Diagnosis
from .sentences import say, spoken

__all__ = ["AnomalyScore", "Diagnosis", "check", "diagnose", "findings_of", "say", "spoken"]
