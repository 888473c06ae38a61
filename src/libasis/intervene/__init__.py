"""What is replaced at a site and by what, and how each sample scores then."""

from . import kinds as _kinds  # noqa: F401 - which it makes known
from .allowance import Allowance, stable, stable_counts
from .intervention import Intervention
from .lines import Lines, most_important
from .metrics import OUTPUT_CHANGE, Metric, MetricSpec, parse_metric
from .place import Place, Prepared
from .preparation import Preparation, SiteRuns
from .registry import kind
from .result import InterventionResult
from .run import intervene
from .scores import BySample, Scores

__all__ = [
    "OUTPUT_CHANGE",
    "Allowance",
    "BySample",
    "Intervention",
    "InterventionResult",
    "Lines",
    "Metric",
    "MetricSpec",
    "Place",
    "Preparation",
    "Prepared",
    "Scores",
    "SiteRuns",
    "intervene",
    "kind",
    "most_important",
    "parse_metric",
    "stable",
    "stable_counts",
]
