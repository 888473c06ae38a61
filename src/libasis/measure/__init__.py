"""Passes over the data: records kept between them, and what is summed over them."""

from .accumulator import Accumulator
from .checkpoints import checkpoints
from .driver import measure, measure_all
from .outliers import without_outliers
from .processes import distributed, is_first, speaks, started
from .progress import expect, listening
from .records import DEFAULT_MEMORY, Records, check_memory, keep, shares
from .shards import shared

__all__ = [
    "DEFAULT_MEMORY",
    "Accumulator",
    "Records",
    "check_memory",
    "checkpoints",
    "distributed",
    "expect",
    "is_first",
    "keep",
    "listening",
    "measure",
    "measure_all",
    "shared",
    "shares",
    "speaks",
    "started",
    "without_outliers",
]
