"""Train the digits classifier: `python -m experiments.train_digits --seed 0 --out DIR`.

The number of steps is fixed beforehand; nothing is chosen by the test images.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from experiments import weights
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from libasis.demo import _common
from libasis.demo.digits import NAME, DigitsMLP, split


@dataclass(frozen=True)
class Settings:
    """How to train: `steps` steps of AdamW on random batches, with a learning rate falling to 0 along a cosine."""

    lr: float = 3e-3
    weight_decay: float = 0.1
    batch_size: int = 128
    steps: int = 3_000


def descend(model: nn.Module, inputs: Tensor, classes: Tensor, settings: Settings, name: str) -> None:
    """Train a classifier of `inputs` [n, ...] into `classes` [n], on rows that torch's own generator draws."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    for _ in tqdm(range(settings.steps), desc=name, mininterval=1):
        rows = torch.randint(len(classes), (settings.batch_size,))
        loss = F.cross_entropy(model(inputs[rows]), classes[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def train(seed: int, settings: Settings, out: Path) -> dict[str, Any]:
    """Train a model from `seed`, write its two files into the folder `out` and give its card."""
    start = time.perf_counter()
    torch.manual_seed(seed)
    model = DigitsMLP()
    (pixels, digits), test = split(seed)
    descend(model, pixels, digits, settings, "digits")
    card: dict[str, Any] = {
        "task": "scikit-learn's 8x8 digits",
        "seed": seed,
        "settings": asdict(settings),
        "train_images": len(digits),
        "test_images": len(test[1]),
        "seconds": round(time.perf_counter() - start),
        "train_accuracy": _common.accuracy(model, pixels, digits),
        "test_accuracy": _common.accuracy(model, *test),
        "torch": torch.__version__,
    }
    weights.write(model, NAME, card, out)
    return card


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, train, and print the accuracies."""
    parser = argparse.ArgumentParser(description="Train the digits classifier.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder for the two files")
    parser.add_argument("--lr", type=float, default=Settings.lr)
    parser.add_argument("--weight-decay", type=float, default=Settings.weight_decay)
    parser.add_argument("--steps", type=int, default=Settings.steps)
    chosen = vars(parser.parse_args(arguments))
    seed, out, settings = chosen.pop("seed"), chosen.pop("out"), Settings(**chosen)
    torch.set_num_threads(1)
    card = train(seed, settings, out)
    print(f"test accuracy {card['test_accuracy']:.4f} after {card['seconds']} s")


if __name__ == "__main__":
    main()
