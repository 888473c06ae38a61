"""The effect of a feature or a process variable on an outcome, from data that nobody dealt out at random.

`effect` adjusts for other columns in three ways, after looking whether the groups overlap, tries to refute what it
found, and says how strong an unmeasured cause would have to be. It needs the extra ``libasis[causal]``.
"""

from .effect import effect
from .evalue import EValue, evalue
from .features import features
from .result import Adjusted, CausalEffect, Check

__all__ = ["Adjusted", "CausalEffect", "Check", "EValue", "effect", "evalue", "features"]
