"""Training of the experiments' classifiers: the same few lines for all, from a seed, kept under build/models."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from experiments import weights
from experiments.train_digits import Settings, descend
from safetensors.torch import load_file
from torch import nn

from libasis.demo import _common

CACHE = Path("build/models")


def trained(
    name: str, build: Callable[[], nn.Module], train: Any, test: Any, seed: int, settings: Settings
) -> nn.Module:
    """The model of a seed, trained if it is not yet under build/models with these settings; in evaluation mode.

    Args:
        name: of the files.
        build: makes the model.
        train: a pair of inputs and classes.
        test: another pair, for the accuracy on the card.
        seed: of weights and batches.
        settings: how to train.
    """
    card = CACHE / f"{name}.json"
    wanted = json.loads(json.dumps({"settings": asdict(settings), "train_images": len(train[1])}))
    if not card.exists() or any(json.loads(card.read_text(encoding="utf-8")).get(k) != v for k, v in wanted.items()):
        _train(name, build, train, test, seed, settings)
    model = build()
    model.load_state_dict(load_file(CACHE / f"{name}.safetensors"))
    return model.eval()


def _train(name: str, build: Callable[[], nn.Module], train: Any, test: Any, seed: int, settings: Settings) -> None:
    start = time.process_time()
    torch.manual_seed(seed)
    model, (inputs, classes) = build(), train
    descend(model, inputs, classes, settings, name)
    model.eval()
    card = {
        "seed": seed,
        "settings": asdict(settings),
        "train_images": len(classes),
        "test_images": len(test[1]),
        "cpu_seconds": round(time.process_time() - start, 1),
        "test_accuracy": _common.accuracy(model, *test),
        "torch": torch.__version__,
    }
    weights.write(model, name, card, CACHE)
