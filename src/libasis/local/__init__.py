"""Around one input or a group: what a result hangs on, what adds to it, what would turn it."""

from .contributions import contributions
from .counterfactual import counterfactual
from .group import Show
from .results import Contributions, Counterfactuals, InputSensitivity
from .sensitivity import sensitivity

__all__ = [
    "Contributions",
    "Counterfactuals",
    "InputSensitivity",
    "Show",
    "contributions",
    "counterfactual",
    "sensitivity",
]
