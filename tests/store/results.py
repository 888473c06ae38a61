"""Results to store, and manifests changed with a right checksum."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from libasis.store import Stored

DIGEST = "0" * 64


class Steps(Mapping[int, float]):
    """A mapping of its own class, as `libasis.Curve` is one."""

    def __init__(self, points):
        self.points = dict(points)

    def __getitem__(self, key):
        return self.points[key]

    def __iter__(self):
        return iter(self.points)

    def __len__(self):
        return len(self.points)


@dataclass(frozen=True)
class Point:
    name: str
    place: tuple[int, float]
    weights: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Sample(Stored, kind="test-sample"):
    """A bit of everything."""

    title: str
    points: tuple[Point, ...] = ()
    matrix: Tensor | None = None
    array: NDArray[Any] | None = None
    steps: Steps = field(default_factory=lambda: Steps({}))
    counts: dict[str, int | None] = field(default_factory=dict)
    by_number: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    side: Literal["left", "right"] = "left"
    share: float = 0.5
    info: dict[str, Any] = field(default_factory=dict)

    def rows(self):
        return [{"name": point.name, "place": point.place[1]} for point in self.points]

    def flaw(self):
        return "its title is empty" if not self.title else None

    def __repr__(self):
        return f"Sample({self.title!r})"


def sample(title="first", **changes):
    facts = {
        "points": (Point("a", (1, float("nan")), torch.rand(2, 3)), Point("値\ud800", (2, 2.0))),
        "matrix": torch.eye(3, 5, dtype=torch.float64).to_sparse(),
        "array": np.arange(6, dtype=np.int32).reshape(2, 3),
        "steps": Steps({0: 0.5, 12: float("inf")}),
        "counts": {"x": 3, "y": None},
        "by_number": {7: {"a.b": torch.ones(2, dtype=torch.bool), "a": torch.zeros(0, 4)}},
        "info": {"seed": 2**64, "$odd": (1, 2), "nested": {3: [True, None, -float("inf")]}, "float": np.float32(0.1)},
    }
    return Sample(title, **{**facts, **changes})


def forge(path, change):
    """Change the manifest of a result, and make its checksum right again, from the description alone."""
    file = path / "manifest.json"
    plain = json.loads(file.read_text(encoding="utf-8"))
    change(plain)
    head = ("format", "format_version", "sha256", "kind", "tensors_sha256")
    plain = {**{key: plain[key] for key in head}, **plain, "sha256": DIGEST}
    seal(file, json.dumps(plain))


def seal(file, text):
    """Write the text of a manifest, with its checksum in the place of the first zeros."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    file.write_text(text.replace(DIGEST, digest, 1), encoding="utf-8")
