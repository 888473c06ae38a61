"""What a model must be to be measured, and how it is run without a trace."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import BaseTorchFunctionMode, TorchFunctionMode
from torch.utils import _pytree as pytree

from ..ambient import ALONE, as_outside
from ..errors import ModelStateError
from .hooks import Heard, any_hooks
from .other_words import SPELLED
from .twin import Twin

WRAPPERS = ("DataParallel", "DistributedDataParallel", "FullyShardedDataParallel")


def check_eval(model: nn.Module) -> None:
    """Refuse a model with any module in training mode, or that cannot be differentiated as it stands.

    Raises:
        ModelStateError: names the first such module or weight, and says what to do.
    """
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


def run_model(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], heard: Heard, times: int = 1
) -> list[Any]:
    """The model's outputs in several calls, without gradients: its twin is called, with copies of the inputs."""
    with ALONE, rng_kept(), torch.no_grad(), as_outside(), BaseTorchFunctionMode():  # no fused kernels
        twin = Twin(model, heard).model
        return [twin(*own[0], **own[1]) for own in (_copied((args, kwargs)) for _ in range(times))]


def hear(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], only: set[int] | None = None
) -> tuple[list[Any], Heard]:
    """Call the user's hooks on real values: the model's output with them, and what they did.

    Nothing is called where there are no hooks. ``only`` names those that are known to act.
    """
    heard = Heard(only)
    answers = run_model(model, args, kwargs, heard) if any_hooks(model) and only != set() else []
    heard.listens = False
    return answers, heard


def _copied(inputs: Any) -> Any:
    return pytree.tree_map_only(Tensor, torch.clone, inputs)
