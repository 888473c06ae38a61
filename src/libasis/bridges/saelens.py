"""Sparse dictionaries from the folders that SAELens writes."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from ..arguments import typed
from ..errors import OptionError, StoreError, first_line, short
from ..files import DESCRIPTION, parse_json, read_bytes
from ..types import Plain
from .autoencoder import Autoencoder

SETTINGS, WEIGHTS = "cfg.json", "sae_weights.safetensors"
OLD = {"activation_fn_str": "activation_fn", "hook_point": "hook_name", "hook_point_head_index": "hook_head_index"}


@typed
def from_saelens(folder: str | Path) -> Autoencoder:
    """The dictionary in a folder with cfg.json and sae_weights.safetensors, as SAELens writes it (also before its 6.0).

    Its activations are those of the hook ``settings["metadata"]["hook_name"]`` of a TransformerLens model, which may
    have folded norms and centred weights: in the same model of another package they can be others.

    Args:
        folder: on this machine; nothing is downloaded.

    Raises:
        StoreError: a file is missing or damaged, or the dictionary is of a kind that is not known here (transcoders and
            other architectures, norms whose numbers are not in the files, the heads' own dictionaries).
    """
    folder = Path(folder)
    settings = parse_json(read_bytes(folder / SETTINGS, DESCRIPTION), folder / SETTINGS)
    data = read_bytes(folder / WEIGHTS)
    try:
        weights = {name: _single(one) for name, one in load(data).items()}
    except SafetensorError as error:
        raise StoreError(f"{folder / WEIGHTS} is damaged: {first_line(error)}.") from None
    if not isinstance(settings, dict):
        raise StoreError(f"{folder / SETTINGS} is {short(settings)}, but the settings of a dictionary are a mapping.")
    try:
        settings = _today(settings)
        if (scale := weights.get("scaling_factor")) is not None and not bool((scale == 1).all()):
            raise OptionError("scaling_factor is not 1; libasis knows no dictionaries that were scaled afterwards.")
        if settings.get("rescale_acts_by_decoder_norm") and {"W_enc", "b_enc", "W_dec"} <= weights.keys():
            norm = weights["W_dec"].norm(dim=-1)
            changed = {"W_enc": weights["W_enc"] * norm, "b_enc": weights["b_enc"] * norm}
            weights |= {**changed, "W_dec": weights["W_dec"] / norm[:, None]}
        return Autoencoder(weights, settings)
    except (OptionError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise StoreError(f"{folder} holds no dictionary that libasis reads: {first_line(error)}.") from error


def _single(weight: Tensor) -> Tensor:
    """In float32 where it is of fewer bits."""
    return weight.float() if weight.is_floating_point() and weight.dtype != torch.float64 else weight


def _today(settings: Plain) -> Plain:
    """Settings as SAELens writes them since 6.0.

    Raises:
        OptionError: they ask for something that is not known here.
    """
    new = {OLD.get(key, key): value for key, value in settings.items()}
    new.setdefault("metadata", {"hook_name": new.get("hook_name")})
    for name in ("metadata", "activation_fn_kwargs"):
        if name in new and not isinstance(new[name], dict):
            raise OptionError(f"{name} is {short(new[name])}, but it is a mapping from names to values")
    hook = new["metadata"].get("hook_name")
    if isinstance(new.get("normalize_activations"), bool):
        new["normalize_activations"] = "expected_average_only_in" if new["normalize_activations"] else "none"
    if new.get("normalize_activations") is None:
        new["normalize_activations"] = "none"
    if "reshape_activations" not in new and "hook_z" in str(hook):
        new["reshape_activations"] = "hook_z"
    if new.get("activation_fn") == "topk":
        new |= {"architecture": "topk", "k": new.get("activation_fn_kwargs", {}).get("k", new.get("k"))}
    elif new.get("activation_fn", "relu") != "relu":
        raise OptionError(f"activation_fn is {short(new['activation_fn'])}; known are relu and topk")
    if new.get("hook_head_index") is not None or new["metadata"].get("hook_head_index") is not None:
        raise OptionError("hook_head_index names one head; known are dictionaries of whole hook points")
    return new
