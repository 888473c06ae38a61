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


def _offset(z: np.ndarray, s: int, t: int, rng: np.random.Generator) -> None:
    z[:, s] += 5


def _drift(z: np.ndarray, s: int, t: int, rng: np.random.Generator) -> None:
    z[:, s] += np.linspace(0, 8, len(z))


def _stuck(z: np.ndarray, s: int, t: int, rng: np.random.Generator) -> None:
    z[:, s] = 1.5


def _noise(z: np.ndarray, s: int, t: int, rng: np.random.Generator) -> None:
    z[:, s] += 4 * rng.normal(size=len(z))


def _gain(z: np.ndarray, s: int, t: int, rng: np.random.Generator) -> None:
    z[:, s] *= 3


def _lag(z: np.ndarray, s: int, t: int, rng: np.random.Generator) -> None:
    z[:, s] = np.roll(z[:, s], 15)


def _swapped(z: np.ndarray, s: int, t: int, rng: np.random.Generator) -> None:
    z[:, [s, t]] = z[:, [t, s]]


def _decoys(z: np.ndarray, s: int, t: int, rng: np.random.Generator) -> None:
    z[:, s] += 4
    z[:, OWN + COPIES :] += 1


def _both(z: np.ndarray, s: int, t: int, rng: np.random.Generator) -> None:
    z[:, s] += 5
    z[:, t] -= np.linspace(0, 8, len(z))


def _together(z: np.ndarray, s: int, t: int, rng: np.random.Generator) -> None:
    z[:, [s, t]] += 4


FAULTS: dict[str, Callable[[np.ndarray, int, int, np.random.Generator], None]] = {
    "offset": _offset,
    "drift": _drift,
    "stuck": _stuck,
    "noise": _noise,
    "gain": _gain,
    "lag": _lag,
    "swapped": _swapped,
    "one of three copies": _offset,
    "beside a load change": _offset,
    "beside decoys": _decoys,
    "two at once": _both,
    "only together": _together,
}
"""How the sensors s and t fail, in standard deviations."""


class Plant:
    """A process of which some sensors fail.

    Args:
        kind: one of `FAULTS`.
        rng: draws the process, what fails, and every stretch.
    """

    def __init__(self, kind: str, rng: np.random.Generator) -> None:
        self.kind, self.rng, self.process = kind, rng, Process.drawn(rng)
        self.s, self.t = (int(i) for i in 1 + rng.permutation(OWN - 1)[:2])
        if kind == "one of three copies":
            self.s = OWN
        two = kind in ("swapped", "two at once", "only together")
        self.truth = tuple(NAMES[i] for i in ((self.s, self.t) if two else (self.s,)))

    def normal(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Sensors in their units and quality; where two fail only together, one of them is high in parts of it."""
        z, quality = self.process.stretch(self.rng, rows)
        if self.kind == "only together":
            regime = np.repeat(self.rng.integers(0, 3, rows // 20 + 1), 20)[:rows]
            for number, sensor in ((1, self.s), (2, self.t)):
                z[regime == number, sensor] += 4
        return self.process.units(z), quality

    def failed(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """The same while the sensors fail."""
        z, quality = self.process.stretch(self.rng, rows, 1.5 if self.kind == "beside a load change" else 0.0)
        FAULTS[self.kind](z, self.s, self.t, self.rng)
        return self.process.units(z), quality
