"""From a hypothesis to a verdict: explore, plan, verify."""

from .explore import Exploration, explore
from .groups import units_in
from .hypothesis import Hypothesis
from .parts import DataParts, parts
from .plan import Plan, plan
from .run import verify
from .verdict import Claimed, Noise, OneKind, Verdict, decide
from .verification import Outcome, Verification

__all__ = [
    "Claimed",
    "OneKind",
    "Exploration",
    "Hypothesis",
    "Noise",
    "Outcome",
    "DataParts",
    "Plan",
    "Verdict",
    "Verification",
    "decide",
    "explore",
    "parts",
    "plan",
    "units_in",
    "verify",
]
