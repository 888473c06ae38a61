"""From a result to what is done about it: an A/B test that is designed and read, what it is worth, and the stages.

It needs the extra ``libasis[practice]``.
"""

from .analyse import SampleRatioError, ab_analyse
from .design import ABDesign, PlannedMetric, ab_design
from .metrics import ABMetric
from .outcome import ABOutcome, Look, MetricOutcome
from .plan import PracticePlan, practice_plan
from .sequences import exact_rate
from .stages import PlanStage
from .value import ValueEstimate, ValueInput, value

__all__ = [
    "ABDesign",
    "ABMetric",
    "ABOutcome",
    "Look",
    "MetricOutcome",
    "PlanStage",
    "PlannedMetric",
    "PracticePlan",
    "SampleRatioError",
    "ValueEstimate",
    "ValueInput",
    "ab_analyse",
    "ab_design",
    "exact_rate",
    "practice_plan",
    "value",
]
