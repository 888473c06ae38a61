"""From a hypothesis to a verdict: explore, plan, verify."""

from .compared import FEW
from .controls import STOP, frames_of, why_none
from .explore import Exploration, explore
from .groups import listed, units_in
from .hypothesis import Hypothesis
from .measure import Frames, control_runs
from .parts import DataParts, parts
from .plan import Plan, plan
from .readout import Readout, outputs_of, per_sample
from .run import verify
from .verdict import Claimed, Noise, OneKind, Verdict, decide
from .verification import Outcome, Verification

__all__ = [
    "FEW",
    "STOP",
    "Claimed",
    "DataParts",
    "Exploration",
    "Frames",
    "Hypothesis",
    "Noise",
    "OneKind",
    "Outcome",
    "Plan",
    "Readout",
    "Verdict",
    "Verification",
    "control_runs",
    "decide",
    "explore",
    "frames_of",
    "outputs_of",
    "parts",
    "per_sample",
    "plan",
    "listed",
    "units_in",
    "verify",
    "why_none",
]
