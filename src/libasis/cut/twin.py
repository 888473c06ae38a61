"""A twin of the user's model: other modules with the same weights, which run in its place, so that it is left alone."""

from __future__ import annotations

import contextlib
import copy
import functools
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .behind import PLAIN, Behind, attributes, base_of, referent
from .hooks import KINDS, Heard, Hook, hooks_of
from .other_words import mask_as_given

HOOKS = tuple(name for name in vars(nn.Module()) if "_hooks" in name)

Hooks = list[tuple[Hook, bool]]

Watch = Callable[[str, nn.Module, Any], None]


class Twin:
    """The twin of a model, and what is called around its modules.

    Modules are found wherever a module keeps them: as children, in lists, tuples, dicts and sets, behind bound methods,
    partial calls, weak references, in objects of other classes and in what its functions close over. Nothing of torch's
    own calls is used: neither hooks, the global ones included, nor what ``torch.compile`` made. What a forward builds
    when it runs first, hooks too, it builds in the twin.

    Args:
        model: the user's.
        heard: what the user's hooks do.
        copies: whether tensors that are no parameters are copies, as the model may write to them; an export has the
            user's own, and Hugging Face's caches are switched off for it.
        watch: called with name, module and value before (``"name:in"``) and after (``"name:out"``) each named module.
    """

    def __init__(self, model: nn.Module, heard: Heard, *, copies: bool = True, watch: Watch | None = None) -> None:
        self.heard = heard
        self.watch = watch
        self._copies = copies
        self._root = model
        self._names = {id(m): without_compile(n) for n, m in model.named_modules() if not n.endswith("_orig_mod")}
        self._behind = Behind()
        self._of: dict[int, Any] = {}
        self._held: list[Any] = []
        self.model: nn.Module = self._twin(model)

    def _twin(self, value: Any) -> Any:
        """What stands in for a value; itself where no module can be behind it."""
        if type(value) in PLAIN:
            return value
        if id(value) in self._of:
            return self._of[id(value)]
        if isinstance(value, weakref.ref) or type(value) in weakref.ProxyTypes:
            return self._reference(value)
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, Tensor):
            own = self._copies and not isinstance(value, nn.Parameter)
            return self._keep(value, value.detach().clone() if own else value)
        if type(value) in (list, set, dict, OrderedDict):
            return self._container(value)
        if type(value) is tuple:
            return self._keep(value, tuple(map(self._twin, value)))
        if isinstance(value, (types.MethodType, functools.partial, types.FunctionType)):
            return self._callable(value)
        return self._object(value) if self._behind(value) else value

    def _keep(self, value: Any, made: Any) -> Any:
        self._held.append(value)  # so that its id stays its own
        self._of[id(value)] = made
        return made

    def _container(self, value: Any) -> Any:
        made = self._keep(value, copy.copy(value))
        kind: Any = next(kind for kind in (OrderedDict, dict, list, set, deque) if isinstance(value, kind))
        kind.clear(made)  # not the methods of a class of the user's
        if isinstance(value, dict):
            kind.update(made, [(self._twin(key), self._twin(part)) for key, part in list(kind.items(value))])
        else:
            (kind.update if kind is set else kind.extend)(made, [self._twin(part) for part in list(value)])
        return made

    def _reference(self, value: Any) -> Any:
        """A weak reference to the twin of what it refers to."""
        target = referent(value)
        made = self._twin(target)
        if made is target:
            return value
        return self._keep(value, (weakref.ref if isinstance(value, weakref.ref) else weakref.proxy)(made))

    def _object(self, value: Any) -> Any:
        """An object of any class, behind which there is a module."""
        if isinstance(value, tuple):
            return self._keep(value, tuple.__new__(type(value), map(self._twin, value)))
        if isinstance(value, (dict, list, set, deque)):
            made = self._container(value)
        else:
            kind: Any = base_of(type(value))
            made = self._keep(value, kind.__new__(type(value)))
        for name, part in attributes(value).items():
            object.__setattr__(made, name, self._twin(part))
        return made

    def _callable(self, value: Any) -> Any:
        if isinstance(value, types.MethodType):
            return self._keep(value, types.MethodType(value.__func__, self._twin(value.__self__)))
        if isinstance(value, types.FunctionType):
            return self._function(value)
        args, keywords = map(self._twin, value.args), {k: self._twin(v) for k, v in value.keywords.items()}
        return self._keep(value, functools.partial(self._twin(value.func), *args, **keywords))

    def _function(self, function: types.FunctionType) -> types.FunctionType:
        if not (function.__closure__ or function.__defaults__ or function.__kwdefaults__):
            return function
        cells = tuple(types.CellType() for _ in function.__closure__ or ())
        made = types.FunctionType(function.__code__, function.__globals__, function.__name__, None, cells)
        self._keep(function, made)
        vars(made).update(vars(function))
        made.__defaults__, made.__kwdefaults__ = self._twin(function.__defaults__), self._twin(function.__kwdefaults__)
        for new, old in zip(cells, function.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # not filled yet
                new.cell_contents = self._twin(old.cell_contents)
        return made

    def _config(self, config: Any) -> Any:
        """A Hugging Face configuration without the key/value cache, whose objects are no graph outputs."""
        if id(config) in self._of or not hasattr(config, "__dict__") or isinstance(config, nn.Module):
            return self._twin(config)
        new = self._keep(config, copy.copy(config))
        own = vars(new)
        own.update({k: (self._config if k in ("text_config", "decoder") else self._twin)(v) for k, v in own.items()})
        if own.get("use_cache"):
            own["use_cache"] = False
        return new

    def _module(self, module: nn.Module) -> nn.Module:
        scripted = isinstance(module, torch.jit.ScriptModule)
        new = self._keep(module, object.__new__(_Scripted if scripted else type(module)))
        own = vars(nn.Module()) | {"script": module.forward} if scripted else vars(module)
        vars(new).update(
            {k: OrderedDict() if k in HOOKS else self._twin(v) for k, v in list(own.items()) if k != "config"}
        )
        if "config" in own:
            vars(new)["config"] = self._twin(own["config"]) if self._copies else self._config(own["config"])
        vars(new)["_compiled_call_impl"] = functools.partial(self._call, module, new, *hooks_of(module))
        if isinstance(inner := (vars(new).get("_modules") or {}).get("_orig_mod"), nn.Module):
            vars(new)["forward"] = inner.__call__
        return new

    def _call(
        self, module: nn.Module, new: nn.Module, before: Hooks, after: Hooks, /, *args: Any, **kwargs: Any
    ) -> Any:
        """What calling a module does: hooks, its forward, hooks."""
        if module is self._root:
            self.heard.counts.clear()
        name = self._names.get(id(module), "")
        watch = None if isinstance(new, _Scripted) or not name else self.watch
        for hook, keywords in (*before, *hooks_of(new, everywhere=False)[0]):
            result = self._hooked(hook, module, new, (args, kwargs) if keywords else (args,), name)
            if result is not None and keywords:
                args, kwargs = result
            elif result is not None:
                args = result if isinstance(result, tuple) else (result,)
        if watch:
            watch(f"{name}:in", new, [*args, *kwargs.values()])
        if not self._copies and isinstance(module, (nn.TransformerEncoder, nn.TransformerDecoder)):
            args, kwargs = mask_as_given(module, args, kwargs) or (args, kwargs)
        output = new.forward(*args, **kwargs)
        for hook, keywords in (*after, *hooks_of(new, everywhere=False)[1]):
            given = (args, kwargs, output) if keywords else (args, output)
            result = self._hooked(hook, module, new, given, name)
            output = output if result is None else result
        if watch:
            watch(f"{name}:out", new, output)
        return output

    def _hooked(self, hook: Hook, module: nn.Module, new: nn.Module, given: tuple[Any, ...], name: str) -> Any:
        """What a hook returns; one that the forward has put on the twin is part of what it computes."""
        if any(hook in vars(new)[kind].values() for kind in KINDS):
            return hook(new, *given)
        return self.heard.call(hook, module, new, given, name)


class _Scripted(nn.Module):
    """Around a module that was traced by TorchScript."""

    script: Any

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.script(*args, **kwargs)


def without_compile(path: str) -> str:
    """The path of a module as it was before ``torch.compile`` wrapped others on the way to it."""
    return ".".join(part for part in path.split(".") if part != "_orig_mod")
