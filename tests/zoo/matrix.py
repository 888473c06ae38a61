"""All rows: ways of writing a network, with what must come of each."""

from . import attentions, convolutions, families, perceptrons, sequences, writing
from .row import ROWS

TABLES = (perceptrons, convolutions, sequences, attentions, writing, families)

__all__ = ["ROWS", "TABLES"]
