"""The user's model is never changed: what is touched for a moment is put back, also after an error."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ..ambient import as_outside
from ..errors import ModelStateError


def check_eval(model: nn.Module) -> None:
    """Refuse a model with any module in training mode, or with weights that cannot be differentiated.

    Raises:
        ModelStateError: names the first such module or weight.
    """
    made = next((name for name, weight in model.named_parameters() if weight.is_inference()), None)
    if made is not None:
        raise ModelStateError(
            f"The model ({type(model).__name__}) cannot be measured: its weight {made!r} was made in inference mode; "
            "make or load the model outside torch.inference_mode()."
        )
    if isinstance(model, fx.GraphModule) and "eval" in vars(model):
        return  # made by torch.export: its mode is written in its graph and its training flag means nothing
    for name, module in model.named_modules():
        if module.training and not _only_holds_others(module):
            where = f"its module {name!r} is" if name else "it is"
            raise ModelStateError(
                f"The model ({type(model).__name__}) cannot be measured: {where} in training mode, where dropout and "
                "batch statistics make it random; call model.eval() first."
            )


def _only_holds_others(module: nn.Module) -> bool:
    """Containers are in training mode when made, also around modules in eval mode, and do nothing themselves."""
    return type(module) in (nn.Sequential, nn.ModuleList, nn.ModuleDict) and next(module.children(), None) is not None


@contextlib.contextmanager
def rng_kept() -> Iterator[None]:
    """Restore the random state of torch (CPU and CUDA) on leaving."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        yield


def run_model(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], times: int = 1) -> list[Any]:
    """The model's outputs in several calls, without gradients, as if it had never been called.

    Inputs and buffers are copies, so that a model which writes to them leaves no trace; attributes are put back.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    outputs = []
    with torch.no_grad(), rng_kept(), attributes_kept(model), as_outside():
        for _ in range(times):
            own_args, own_kwargs = pytree.tree_map_only(Tensor, torch.clone, (args, kwargs))
            outputs.append(torch.func.functional_call(model, buffers, own_args, own_kwargs))
    return outputs


@contextlib.contextmanager
def attributes_kept(model: nn.Module) -> Iterator[None]:
    """Put every module's attributes back: the same objects, with the same contents in lists, dicts and sets."""
    saved = [(vars(module), dict(vars(module))) for module in model.modules()]
    plain = [v for _, attributes in saved for v in attributes.values() if type(v) in (list, dict, set)]
    contents = [copy.copy(value) for value in plain]
    try:
        yield
    finally:
        for now, before in saved:
            now.clear()
            now.update(before)
        for value, content in zip(plain, contents, strict=True):
            if isinstance(value, list):
                value[:] = content
            else:
                value.clear()
                value.update(content)  # pyright: ignore


@contextlib.contextmanager
def cache_off(model: nn.Module) -> Iterator[None]:
    """Switch Hugging Face key/value caches off for the export: their objects are no graph outputs. Restored after."""
    changed: list[tuple[Any, Any]] = []
    try:
        for config in _configs(model):
            if getattr(config, "use_cache", False):
                changed.append((config, config.use_cache))
                config.use_cache = False
        yield
    finally:
        for config, before in changed:
            config.use_cache = before


def _configs(model: nn.Module) -> list[Any]:
    found: dict[int, Any] = {}
    for module in model.modules():
        config = getattr(module, "config", None)
        for candidate in (config, getattr(config, "text_config", None), getattr(config, "decoder", None)):
            if candidate is not None and not isinstance(candidate, (nn.Module, dict)):
                found[id(candidate)] = candidate
    return list(found.values())
