"""Closed forms for sections with attention."""

from .form import AttentionForm
from .probed import ProbedAttention

__all__ = ["AttentionForm", "ProbedAttention"]
