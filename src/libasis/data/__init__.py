"""The user's data: files read as batches, batches read in one way, samples that keep their identity, digests."""

from .batches import (
    Batch,
    Structure,
    by_sample,
    check_reiterable,
    describe,
    first_inputs,
    joined,
    read_batches,
    select,
    structure_of_example,
    to_device,
)
from .facts import data_facts, size_of
from .file_batches import FileBatches
from .files import read
from .hugging_face import tokenizer_beside
from .identity import Roll, sample_digests
from .language import language, without_first
from .replay import Replayed, from_seed, replayed
from .separated import Written
from .tables import column_names, read_columns

__all__ = [
    "Batch",
    "FileBatches",
    "Replayed",
    "Roll",
    "Structure",
    "Written",
    "by_sample",
    "check_reiterable",
    "column_names",
    "data_facts",
    "describe",
    "first_inputs",
    "from_seed",
    "joined",
    "language",
    "read",
    "read_batches",
    "read_columns",
    "replayed",
    "sample_digests",
    "select",
    "size_of",
    "structure_of_example",
    "to_device",
    "tokenizer_beside",
    "without_first",
]
