"""A new kind of result is one class: the one that CONTRIBUTING.md shows, word for word."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

import libasis
from libasis.store import Stored
from libasis.types import Plain

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"


def test_the_class_of_the_guide_is_saved_loaded_and_shown(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if "(Stored, kind=" in block]
    names = {"dataclass": dataclass, "field": field, "Stored": Stored, "Tensor": Tensor, "Plain": Plain}
    exec(code, names | {"__name__": __name__}, made := {})  # noqa: S102 - our own guide
    (kind,) = made.values()
    result = kind({"fc1:in": torch.tensor([1.0, 2.0])}, {"seed": 0})
    back = libasis.load(result.save(tmp_path / "result"))
    assert type(back) is kind
    assert torch.equal(back.widths["fc1:in"], result.widths["fc1:in"])
    assert back.info == {"seed": 0}
    assert back.to_dataframe().to_dict("records") == [{"site": "fc1:in", "widest": 2.0}]
    assert "tensor" not in repr(back)
