"""All rows: ways of writing a network, with what must come of each, and which are known to fail."""

import json
from dataclasses import replace
from pathlib import Path

from . import attentions, convolutions, families, others, perceptrons, row, sequences, timm_models, unusual, writing

KNOWN = Path(__file__).with_name("known.json")
"""Rows that are not yet as they should be, with what is said instead; `python -m tests.zoo --mark` writes it."""

TABLES = (perceptrons, convolutions, sequences, attentions, writing, unusual, others, families, timm_models)
_failing = json.loads(KNOWN.read_text(encoding="utf-8")) if KNOWN.exists() else {}
ROWS = [replace(each, wrong=_failing.get(f"{each.kind}: {each.name}", "")) for each in row.ROWS]
