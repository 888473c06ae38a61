"""The user's data: batches read in one way, samples that keep their identity, digests."""

from .batches import (
    Batch,
    Structure,
    check_reiterable,
    describe,
    first_inputs,
    read_batches,
    structure_of_example,
    to_device,
)
from .identity import Roll, sample_digests
from .replay import replayed

__all__ = [
    "Batch",
    "Roll",
    "Structure",
    "check_reiterable",
    "describe",
    "first_inputs",
    "read_batches",
    "replayed",
    "sample_digests",
    "structure_of_example",
    "to_device",
]
