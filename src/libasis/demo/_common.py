"""What the demo models share: their files, splits, batches and accuracy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

FOLDER = Path(__file__).parent

Model = TypeVar("Model", bound=nn.Module)


def load(model: Model, name: str, folder: Path = FOLDER) -> Model:
    """Fill `model` with the weights of `name`.safetensors and put it in evaluation mode."""
    model.load_state_dict(load_file(folder / f"{name}.safetensors"))
    return model.eval()


def card(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """Read the card of a trained model: its seed, settings, accuracies and the torch version."""
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def shuffled_split(rows: Tensor, train_fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Shuffle `rows` [n, ...] with `seed` and cut them in two, the first part `train_fraction` of them."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    cut = int(len(rows) * train_fraction)
    return rows[order[:cut]], rows[order[cut:]]


def batches(inputs: Tensor, targets: Tensor, batch_size: int) -> list[tuple[Tensor, Tensor]]:
    """Cut inputs [n, ...] and targets [n] into pairs of at most `batch_size` rows."""
    return list(zip(inputs.split(batch_size), targets.split(batch_size), strict=True))


@torch.no_grad()
def accuracy(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """Give the share of `inputs` [n, ...] whose largest logit is that of their target [n]."""
    return (model(inputs).argmax(-1) == targets).double().mean().item()
