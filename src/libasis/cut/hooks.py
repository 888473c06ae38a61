"""The hooks that the user has put on a model: which of them take part in what it computes."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as shared
from torch.utils import _pytree as pytree

KINDS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")

Hook = Callable[..., Any]


def _modules(model: nn.Module) -> list[nn.Module]:
    """Those that run in Python."""
    return [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]


def any_hooks(model: nn.Module) -> bool:
    """Whether there is a hook on the model or, by torch's global registration, on all modules."""
    return any(vars(m).get(kind) for m in _modules(model) for kind in KINDS) or any(
        getattr(shared, f"_global{kind}", None) for kind in KINDS
    )


def watch(model: nn.Module) -> set[int]:
    """Ids of the hooks that took part in the model's next call, filled during it.

    A hook takes part if it returns a value, writes into a tensor that it was given, or sets anew a tensor of its module
    before the module runs (as ``weight_norm`` does). The hooks stay wrapped: for use within `attributes_kept`.
    """
    acting: set[int] = set()

    def watched(hook: Hook, *, before: bool) -> Hook:
        def called(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            tensors = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
            versions, own = [t._version for t in tensors], _tensors(module)
            result = hook(module, *args, **kwargs)
            written = versions != [t._version for t in tensors]
            made = before and any(_tensors(module).get(name) is not tensor for name, tensor in own.items())
            if result is not None or written or made:
                acting.add(id(hook))
            return result

        return called

    for module in _modules(model):
        own = vars(module)
        for kind in KINDS[:2]:
            hooks = own.get(kind) or {}
            own[kind] = OrderedDict((key, watched(hook, before=kind == KINDS[0])) for key, hook in hooks.items())
    return acting


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    own = vars(module)
    return {k: v for d in (own, own["_parameters"], own["_buffers"]) for k, v in d.items() if isinstance(v, Tensor)}


@contextlib.contextmanager
def only(model: nn.Module, acting: Collection[int]) -> Iterator[None]:
    """No other hooks than these: for use within `attributes_kept`, which puts all of them back."""
    for module in _modules(model):
        own = vars(module)
        for kind in KINDS:
            if own.get(kind):
                own[kind] = OrderedDict((key, hook) for key, hook in own[kind].items() if id(hook) in acting)
    names = [f"_global{kind}" for kind in KINDS]
    before = {name: getattr(shared, name) for name in names}
    try:
        for name in names:
            setattr(shared, name, OrderedDict())
        yield
    finally:
        for name, hooks in before.items():
            setattr(shared, name, hooks)


@contextlib.contextmanager
def plain_modules(model: nn.Module) -> Iterator[None]:
    """Modules run as they are written: neither compiled nor fused. For use within `attributes_kept`."""
    for module in _modules(model):
        own = vars(module)
        if own.get("_compiled_call_impl") is not None:
            own["_compiled_call_impl"] = None
        if isinstance(inner := own.get("_modules", {}).get("_orig_mod"), nn.Module):
            own["forward"] = inner.__call__
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it leaves zeros where a padding mask hides positions
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
