"""The user's model is never changed: what is touched for a moment is put back, also after an error."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ..ambient import ALONE, as_outside
from ..errors import ModelStateError
from .hooks import any_hooks, only, plain_modules, watch
from .other_words import SPELLED

WRAPPERS = ("DataParallel", "DistributedDataParallel", "FullyShardedDataParallel")


def check_eval(model: nn.Module) -> None:
    """Refuse a model with any module in training mode, or that cannot be differentiated as it stands.

    Raises:
        ModelStateError: names the first such module or weight, and says what to do.
    """
    with ALONE:
        flaw = next(_flaws(model), None)
    if flaw is not None:
        raise ModelStateError(f"The model ({type(model).__name__}) cannot be measured: {flaw[0]}; {flaw[1]}.")
    if isinstance(model, fx.GraphModule) and "eval" in vars(model):
        return  # made by torch.export: its mode is written in its graph and its training flag means nothing
    for name, module in model.named_modules():
        if module.training and not _only_holds_others(module):
            where = f"its module {name!r} is" if name else "it is"
            raise ModelStateError(
                f"The model ({type(model).__name__}) cannot be measured: {where} in training mode, where dropout and "
                "batch statistics make it random; call model.eval() first."
            )


def _flaws(model: nn.Module) -> Iterator[tuple[str, str]]:
    for name, module in model.named_modules():
        where = f"its module {name!r} is" if name else "it is"
        kind = type(module).__name__
        if kind in WRAPPERS:
            instead = f"the model with {name}.module in its place" if name else "model.module"
            yield f"{where} wrapped in {kind}", f"give {instead}"
        if isinstance(module, torch.jit.ScriptModule) and not (name and type(module).__name__.endswith("TracedModule")):
            yield (
                f"{where} a ScriptModule ({module.original_name}), which cannot be cut",
                ("give the torch.nn.Module from which it was made, with its weights (load_state_dict)"),
            )
        if ".quantized" in type(module).__module__:
            yield (
                f"{where} a quantized {kind}, which computes in whole numbers and has no derivative",
                ("give the model in floating point, before it was quantized"),
            )
    for name, weight in (*model.named_parameters(), *model.named_buffers()):
        if torch.nn.parameter.is_lazy(weight):
            yield f"its weight {name!r} has no shape yet", "run the model once on a batch before it is traced"
        elif weight.is_meta:
            yield f"its weight {name!r} is on the device meta and has no values", "load the weights first"
        elif weight.is_inference() and isinstance(weight, nn.Parameter):
            yield (
                f"its weight {name!r} was made in inference mode",
                ("make or load the model outside torch.inference_mode()"),
            )


def uncompiled(model: nn.Module) -> nn.Module:
    """The model inside what ``torch.compile`` returned, with which it shares all weights; any other model itself."""
    inner = getattr(model, "_orig_mod", None)
    return uncompiled(inner) if isinstance(inner, nn.Module) else model


def _only_holds_others(module: nn.Module) -> bool:
    """Containers are in training mode when made, also around modules in eval mode, and do nothing themselves."""
    return type(module) in (nn.Sequential, nn.ModuleList, nn.ModuleDict) and next(module.children(), None) is not None


_CUTS = (Tensor.detach, Tensor.detach_, Tensor.data.__get__, torch.detach, torch.detach_)  # pyright: ignore


class AsComputed(TorchFunctionMode):
    """What is computed counts, not what a training would see of it: ``detach`` and ``.data`` do nothing.

    What an export cannot express is computed in other words.

    Args:
        switches: whether ``no_grad`` and its like do nothing either (in an export they are never seen).
    """

    def __init__(self, *, switches: bool = False) -> None:
        super().__init__()
        self.switches = switches

    def __enter__(self) -> Any:
        self.before = torch.is_grad_enabled()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.set_grad_enabled(self.before)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See `TorchFunctionMode`."""
        if func in _CUTS:
            return args[0]
        if func in SPELLED and (found := SPELLED[func](*args, **(kwargs or {}))) is not None:
            return found
        if self.switches and torch.is_inference_mode_enabled():
            raise ModelStateError(
                "A section of the Chain works in torch.inference_mode, where nothing is differentiated; leave it out."
            )
        if self.switches and func is torch._C._set_grad_enabled and not args[0]:
            return None
        if func is Tensor.requires_grad_ and False in (*args[1:], *(kwargs or {}).values()):
            return args[0]
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def rng_kept() -> Iterator[None]:
    """Restore the random state of torch (CPU and CUDA) on leaving."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        yield


@contextlib.contextmanager
def as_written(model: nn.Module, acting: Collection[int]) -> Iterator[None]:
    """The model to oneself, not compiled, with those of the user's hooks that act; afterwards all is as before."""
    with contextlib.ExitStack() as stack:
        for held in (ALONE, attributes_kept(model), rng_kept(), plain_modules(model), only(model, acting)):
            stack.enter_context(held)
        yield


def run_model(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], times: int = 1) -> list[Any]:
    """The model's outputs in several calls, without gradients, as if it had never been called.

    To be called within `as_written`. Inputs and buffers are copies, so that a model which writes to them leaves no
    trace; attributes are put back.
    """
    buffers = _copies(model)
    with attributes_kept(model):
        return [_call(model, args, kwargs, buffers) for _ in range(times)]


def acting_hooks(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], set[int]]:
    """Which of the user's hooks take part in what the model computes, and the model's output with all of them.

    Where there are hooks, they are called once, on the example's own values. Those that only look on are called in no
    other run; none of them ever sees the stand-ins of an export, but those that take part.
    """
    if not any_hooks(model):
        return [], set()
    with ALONE, attributes_kept(model), rng_kept(), plain_modules(model):
        acting = watch(model)
        return [_call(model, args, kwargs, _copies(model))], acting


def _copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def _call(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], buffers: dict[str, Tensor]) -> Any:
    own_args, own_kwargs = pytree.tree_map_only(Tensor, torch.clone, (args, kwargs))
    with torch.no_grad(), as_outside():
        return torch.func.functional_call(model, buffers, own_args, own_kwargs)


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
