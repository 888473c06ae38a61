"""The user's model is never changed: what is touched for a moment is put back, also after an error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from ..errors import ModelStateError


def check_eval(model: nn.Module) -> None:
    """Refuse a model with any module in training mode.

    Raises:
        ModelStateError: names the first such module.
    """
    for name, module in model.named_modules():
        if module.training:
            where = f"its module {name!r} is" if name else "it is"
            raise ModelStateError(
                f"The model ({type(model).__name__}) cannot be measured: {where} in training mode, where dropout and "
                "batch statistics make it random; call model.eval() first."
            )


@contextlib.contextmanager
def rng_kept() -> Iterator[None]:
    """Restore the random state of torch (CPU and CUDA) on leaving."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        yield


@contextlib.contextmanager
def cache_off(model: nn.Module) -> Iterator[None]:
    """Switch Hugging Face key/value caches off for the export: their objects are no graph outputs. Restored after."""
    changed = []
    try:
        for config in _configs(model):
            if getattr(config, "use_cache", False):
                changed.append(config)
                config.use_cache = False
        yield
    finally:
        for config in changed:
            config.use_cache = True


def _configs(model: nn.Module) -> list[object]:
    found: dict[int, object] = {}
    for module in model.modules():
        config = getattr(module, "config", None)
        for candidate in (config, getattr(config, "text_config", None), getattr(config, "decoder", None)):
            if candidate is not None and not isinstance(candidate, (nn.Module, dict)):
                found[id(candidate)] = candidate
    return list(found.values())
