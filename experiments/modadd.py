"""Modular addition: the embedded model (seed 0), models trained from other seeds, and one in a user's own file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from experiments.train_modadd import Settings, train
from safetensors.torch import load_file
from torch import Tensor

from libasis.basis import Basis
from libasis.cut import Traced
from libasis.demo import _common, modadd
from libasis.evaluate.fourier import label_by_frequency
from libasis.run.errors import MissingDataError

CACHE = Path("build/models")


def model(seed: int = 0) -> modadd.ModularAdditionTransformer:
    """The embedded model for seed 0; others are trained on the first call (six minutes each) and kept under build/."""
    if seed == 0:
        return modadd.load()
    folder = CACHE / f"modadd-{seed}"
    if not (folder / f"{modadd.NAME}.json").exists():
        train(seed, Settings(), folder)
    return _common.load(modadd.ModularAdditionTransformer(), modadd.NAME, folder)


def data(seed: int = 0) -> tuple[Any, Any]:
    """Training prompts of a seed's model, and those it was not trained on, in batches."""
    return tuple(modadd.batches(part) for part in modadd.split(seed))


def frequencies(traced: Traced, basis: Basis) -> dict[str, Any]:
    """Which frequency of a and b each feature carries, over all prompts."""
    return label_by_frequency(traced, basis, modadd.prompts(), modadd.PRIME)


def published_model(file: str) -> modadd.ModularAdditionTransformer:
    """A model of the paper's authors, with their names of the weights, from a safetensors file."""
    path = Path(file)
    if not path.is_file():
        raise MissingDataError(f"There is no {path}; set model.arguments.file to a model of the paper's authors.")
    loaded = modadd.ModularAdditionTransformer()
    loaded.load_state_dict({name: tensor.contiguous() for name, tensor in _renamed(load_file(path)).items()})
    return loaded.eval()


def published_data(file: str) -> tuple[Any, Any]:
    """The split of that model: the arrays "train" and "test" of 113 a + b in a .npz file."""
    path = Path(file)
    if not path.is_file():
        raise MissingDataError(f"There is no {path}; set data.arguments.file to the split of that model.")
    with np.load(path) as arrays:
        train, test = (torch.from_numpy(arrays[name].astype(np.int64)) for name in ("train", "test"))
    return tuple(modadd.batches(modadd.prompts()[rows]) for rows in (train, test))


def _renamed(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    attention, mlp = "blocks.0.attn.", "blocks.0.mlp."
    weights = {
        "embed.weight": theirs["embed.W_E"],
        "pos_embed": theirs["pos_embed.W_pos"],
        attention + "out.weight": theirs[attention + "W_O"].flatten(0, 1).T,
        attention + "out.bias": theirs[attention + "b_O"],
        mlp + "linear_in.weight": theirs[mlp + "W_in"].T,
        mlp + "linear_in.bias": theirs[mlp + "b_in"],
        mlp + "linear_out.weight": theirs[mlp + "W_out"].T,
        mlp + "linear_out.bias": theirs[mlp + "b_out"],
        "unembed.weight": theirs["unembed.W_U"].T,
        "unembed.bias": theirs["unembed.b_U"],
    }
    for ours, letter in (("query", "Q"), ("key", "K"), ("value", "V")):
        weights[f"{attention}{ours}.weight"] = theirs[f"{attention}W_{letter}"].transpose(1, 2).flatten(0, 1)
        weights[f"{attention}{ours}.bias"] = theirs[f"{attention}b_{letter}"].flatten()
    return weights
