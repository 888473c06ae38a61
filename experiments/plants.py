"""Random plants with planted causes, decoys and confounders, and models set by hand that see the causes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

KINDS = ("one", "sum", "either", "both")
"""One cause; two that add up; two each of which alone would do; two that do only together."""


@dataclass(frozen=True)
class Plant:
    """Two groups of rows and a model whose alarm depends on the causes, and on inputs that the fault does not move.

    Attributes:
        kind: one of `KINDS`.
        normal: rows ``[n, sensors]`` in time.
        anomalous: the same under the fault.
        model: two logits for each row: normal, fault.
        names: of the sensors.
        causes: those that the fault moves and the model uses.
        decoys: those that the fault moves and the model does not use, used ones that the fault does not move, and
            sensors downstream of a cause.
    """

    kind: str
    normal: np.ndarray
    anomalous: np.ndarray
    model: nn.Module
    names: list[str]
    causes: list[str]
    decoys: list[str]


class Planted(nn.Module):
    """The margin of the fault: a function of two standardised inputs, and a small sum of others."""

    def __init__(self, kind: str, mean: np.ndarray, deviation: np.ndarray, causes: list[int], used: list[int]) -> None:
        super().__init__()
        self.kind, self.causes = kind, causes
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))
        weight = torch.zeros(len(mean), dtype=torch.float64)
        weight[used] = 0.2
        self.register_buffer("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[n, 2]``."""
        z = (x.double() - self.mean) / self.deviation
        a, b = z[:, self.causes[0]], z[:, self.causes[-1]]
        margin = {
            "one": a - 3.5,
            "sum": 0.7 * (a + b) - 4.5,
            "either": torch.maximum(a, b) - 3.8,
            "both": torch.minimum(a, b) - 2.8,
        }[self.kind] + z @ self.weight
        return torch.stack([torch.zeros_like(margin), 2 * margin], 1)


def plant(seed: int, kind: str, rows: int = 400, sensors: int = 20, memory: float = 0.6, fault: bool = True) -> Plant:
    """A plant; without its fault both groups are alike."""
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(4, sensors)) * (rng.random((4, sensors)) < 0.5)
    chosen = rng.permutation(sensors)
    count = 1 if kind == "one" else 2
    causes, moved, used, downstream = (list(map(int, chosen[a:b])) for a, b in ((0, count), (2, 5), (5, 8), (8, 10)))
    gains = rng.uniform(0.6, 1.0, len(downstream))

    def stretch(active: bool) -> np.ndarray:
        z = _series(rng, rows, 4, memory) @ loadings * 0.5 + _series(rng, rows, sensors, memory)
        z /= np.sqrt(1 + 0.25 * (loadings**2).sum(0))
        shift = np.zeros(sensors)
        if active:
            shift[causes], shift[moved] = rng.uniform(5, 7, count), rng.choice([-1, 1], 3) * rng.uniform(6, 12, 3)
        z += shift * (1 + 0.1 * rng.normal(size=(rows, 1)))
        for sensor, gain in zip(downstream, gains, strict=True):
            z[:, sensor] = gain * z[:, causes[0]] + 0.5 * z[:, sensor]
        return z

    normal, anomalous = stretch(False), stretch(fault)
    scale, offset = 10 ** rng.uniform(-2, 3, sensors), rng.uniform(-5, 50, sensors)
    names = [f"S{i:02d}" for i in range(sensors)]
    model = Planted(kind, offset * scale, scale, causes, used).eval()
    named = [[names[i] for i in some] for some in (causes, [*moved, *used, *downstream])]
    return Plant(kind, (normal + offset) * scale, (anomalous + offset) * scale, model, names, *named)


def _series(rng: np.random.Generator, rows: int, width: int, memory: float) -> np.ndarray:
    """Gaussian series of variance 1 whose neighbours correlate by ``memory``."""
    out = rng.normal(size=(rows, width))
    for t in range(1, rows):
        out[t] = memory * out[t - 1] + np.sqrt(1 - memory**2) * out[t]
    return out
