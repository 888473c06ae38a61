"""A small nonlinear process whose sensors fail in twelve ways, for models that are trained on it.

Three slow causes drive twelve sensors, straight, bent or saturated; two more sensors repeat the first one, and two
follow a cause of their own with a large variance that nothing else depends on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SHAPES: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda v: v,
    np.tanh,
    lambda v: v + 0.3 * v**2,
    lambda v: np.exp(0.5 * v),
)
OWN, COPIES, DECOYS = 12, 2, 2
NAMES = [*(f"S{i:02d}" for i in range(OWN)), *(f"copy{i}" for i in range(COPIES)), *(f"drum{i}" for i in range(DECOYS))]


@dataclass(frozen=True)
class Process:
    """How sensors follow their causes; the same for all stretches of one plant.

    Attributes:
        mix: by cause and sensor, ``[3, 12]``.
        shape: of each sensor, the number of one of `SHAPES`.
        mean: of each sensor in normal operation, before its units.
        spread: likewise.
        scale: the units of each sensor.
    """

    mix: np.ndarray
    shape: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    scale: np.ndarray

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Process:
        """A random one."""
        width = len(NAMES)
        mix = rng.normal(size=(3, OWN)) + 2 * np.eye(3, OWN)
        one = cls(
            mix / np.linalg.norm(mix, axis=0),
            rng.permutation(np.arange(OWN) % len(SHAPES)),
            np.zeros(width),
            np.ones(width),
            10 ** rng.uniform(-2, 3, width),
        )
        x, _ = one.stretch(rng, 4000)
        return cls(one.mix, one.shape, x.mean(0), x.std(0), one.scale)

    def stretch(self, rng: np.random.Generator, rows: int, load: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Sensors ``[rows, 16]`` in standard deviations, and the quality that the causes make; ``load`` moves one."""
        causes = slow(rng, rows, 3)
        causes[:, 0] += load
        drive = causes @ self.mix
        own = np.stack([SHAPES[kind](drive[:, i]) for i, kind in enumerate(self.shape)], 1)
        drum = 20 * slow(rng, rows, 1, 0.95)
        x = np.concatenate([own, own[:, [0]].repeat(COPIES, 1), drum.repeat(DECOYS, 1)], 1)
        z = (x - self.mean) / self.spread + 0.2 * rng.normal(size=x.shape)
        quality = causes[:, 0] + np.tanh(causes[:, 1]) + 0.3 * causes[:, 0] * causes[:, 2]
        return z, quality + 0.05 * rng.normal(size=rows)

    def units(self, z: np.ndarray) -> np.ndarray:
        """Sensors in units of their own."""
        return (z + 10) * self.scale


def slow(rng: np.random.Generator, rows: int, width: int, memory: float = 0.8) -> np.ndarray:
    """Series of variance 1 whose neighbours correlate by ``memory``."""
    out = rng.normal(size=(rows, width))
    for t in range(1, rows):
        out[t] = memory * out[t - 1] + np.sqrt(1 - memory**2) * out[t]
    return out


FAULTS = (
    "offset", "drift", "stuck", "noise", "gain", "lag", "swapped", "one of three copies", "beside a load change",
    "beside decoys", "two at once", "only together",
)  # fmt: skip


def failed(kind: str, process: Process, rng: np.random.Generator, rows: int, s: int, t: int) -> tuple[
    np.ndarray, np.ndarray, tuple[str, ...]
]:  # fmt: skip
    """A stretch in which sensor s (and t) fail as said: sensors, quality and the names of those that failed."""
    z, quality = process.stretch(rng, rows, 1.5 if kind == "beside a load change" else 0.0)
    truth = (NAMES[s],)
    match kind:
        case "offset" | "beside a load change":
            z[:, s] += 5
        case "drift":
            z[:, s] += np.linspace(0, 8, rows)
        case "stuck":
            z[:, s] = 1.5
        case "noise":
            z[:, s] += 4 * rng.normal(size=rows)
        case "gain":
            z[:, s] *= 3
        case "lag":
            z[:, s] = np.roll(z[:, s], 15)
        case "swapped":
            z[:, [s, t]], truth = z[:, [t, s]], (NAMES[s], NAMES[t])
        case "one of three copies":
            z[:, OWN] += 4
            truth = (NAMES[OWN],)
        case "beside decoys":
            z[:, s] += 4
            z[:, OWN + COPIES :] = 1.5 * z[:, OWN + COPIES :] + 1
        case "two at once":
            z[:, s] += 5
            z[:, t] -= np.linspace(0, 8, rows)
            truth = (NAMES[s], NAMES[t])
        case "only together":
            z[:, [s, t]] += 4
            truth = (NAMES[s], NAMES[t])
    return z, quality, truth


def normal(kind: str, process: Process, rng: np.random.Generator, rows: int, s: int, t: int) -> tuple[
    np.ndarray, np.ndarray
]:  # fmt: skip
    """A normal stretch; where the fault is that two are high together, one of them is high in parts of it."""
    z, quality = process.stretch(rng, rows)
    if kind == "only together":
        regime = np.repeat(rng.integers(0, 3, rows // 20 + 1), 20)[:rows]
        z[regime == 1, s] += 4
        z[regime == 2, t] += 4
    return z, quality
