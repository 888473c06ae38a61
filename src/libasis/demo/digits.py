"""A small classifier of scikit-learn's handwritten digits: the model, its data and its shipped weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from libasis.demo import _common

TRAIN_FRACTION = 0.8
NAME = "digits"


class DigitsMLP(nn.Module):
    """An MLP 64-32-32-10 with ReLU.

    Sites worth cutting at: `"fc1:in"` [batch, 64], `"fc2:in"` [batch, 32], `"fc3:in"` [batch, 32],
    `"output"` [batch, 10].
    """

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.fc1 = nn.Linear(64, hidden)
        self.relu1 = nn.ReLU()
        self.fc2 = nn.Linear(hidden, hidden)
        self.relu2 = nn.ReLU()
        self.fc3 = nn.Linear(hidden, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        """Give the logits [batch, 10] of the images `pixels` [batch, 64], whose values lie in 0..1."""
        x = self.relu1(self.fc1(pixels))
        x = self.relu2(self.fc2(x))
        return self.fc3(x)


def load() -> DigitsMLP:
    """Load the trained model: float32, in evaluation mode."""
    return _common.load(DigitsMLP(), NAME)


def content() -> dict[str, Any]:
    """Give the keyword arguments of `libasis.collect` that say how a digit is shown."""
    return {"image_shape": (8, 8)}


def images() -> tuple[Tensor, Tensor]:
    """Give all 1,797 images, float32 [1797, 64] in 0..1, and the digits they show, int64 [1797]."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("The digits come from scikit-learn, which is missing: install libasis[demo].") from error
    pixels, digits = load_digits(return_X_y=True)
    return torch.as_tensor(pixels, dtype=torch.float32) / 16, torch.as_tensor(digits, dtype=torch.int64)


def split(seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Split images and digits at random: train ([1437, 64], [1437]) and test ([360, 64], [360])."""
    pixels, digits = images()
    train, test = _common.shuffled_split(torch.arange(len(digits)), TRAIN_FRACTION, seed)
    return (pixels[train], digits[train]), (pixels[test], digits[test])


def splits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Give the train ([1437, 64], [1437]) and test ([360, 64], [360]) images and digits of the shipped model."""
    return split(_common.card(NAME)["seed"])


def batches(inputs: Tensor, targets: Tensor, batch_size: int = 512) -> list[tuple[Tensor, Tensor]]:
    """Cut images [n, 64] and digits [n] into pairs of at most `batch_size` rows."""
    return _common.batches(inputs, targets, batch_size)


def batches_train() -> list[tuple[Tensor, Tensor]]:
    """Give the train split as batches; takes no argument, so that a settings file can name it."""
    return batches(*splits()[0])


def batches_test() -> list[tuple[Tensor, Tensor]]:
    """Give the test split as batches; takes no argument, so that a settings file can name it."""
    return batches(*splits()[1])
