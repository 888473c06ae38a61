"""A new importance rule is one class: the one that CONTRIBUTING.md shows, word for word."""

import re
from pathlib import Path

import torch

import libasis
from chains import chain, data, mlp_sections
from libasis import rules

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"
IMPORTS = """
import torch

from libasis.cut import Record
from libasis.importance.rules import BatchRule, Span
from libasis.types import Matrix
"""


def test_the_guide_s_rule_is_the_exact_rule():
    blocks = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [block for block in blocks if "class OnePass" in block]
    found = {"__name__": "guide"}
    exec(IMPORTS + block, found)
    traced, batches = chain(mlp_sections()), list(data("mlp", positions=1).split(15))
    truth = libasis.fit(traced, batches, moments="exact", progress=False)
    for moments in (found["OnePass"](), rules.Auto(own=(found["OnePass"](),))):
        basis = libasis.fit(traced, batches, moments=moments, progress=False)
        assert {rule["rule"] for rule in basis.info["rules"]} == {"one pass"}
        for ours, theirs in zip(basis, truth, strict=True):
            torch.testing.assert_close(ours.importances, theirs.importances, rtol=1e-9, atol=1e-12)
