"""The digits of scikit-learn with the MLP of libasis.demo: the embedded model and others from their seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.train_digits import Settings, train

from libasis.demo import _common, digits

CACHE = Path("build/models")


def model(seed: int = 0) -> digits.DigitsMLP:
    """The embedded model for seed 0; others are trained on the first call and kept under build/."""
    if seed == 0:
        return digits.load()
    folder = CACHE / f"digits-mlp-{seed}"
    if not (folder / f"{digits.NAME}.json").exists():
        train(seed, Settings(), folder)
    return _common.load(digits.DigitsMLP(), digits.NAME, folder)


def data(seed: int = 0) -> tuple[Any, Any]:
    """Training and test batches of the split of a seed."""
    return tuple(digits.batches(*part) for part in digits.split(seed))
