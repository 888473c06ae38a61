"""The hooks that the user has put on a model: called on real values, and what they did is done again elsewhere."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as shared
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ..errors import ModelStateError

Hook = Callable[..., Any]

ABSENT = object()

GLOBAL = ("_global_forward_pre_hooks", "_global_forward_hooks", "_global_backward_pre_hooks", "_global_backward_hooks")


KINDS = ("_forward_pre_hooks", "_forward_hooks")


def hooks_of(module: nn.Module, *, everywhere: bool = True) -> tuple[list[tuple[Hook, bool]], list[tuple[Hook, bool]]]:
    """The hooks before and after a module, the global ones (of every module) first, and whether each takes keywords."""
    owners = [(vars(shared), "_global")] if everywhere else []
    found: tuple[list[tuple[Hook, bool]], list[tuple[Hook, bool]]] = [], []
    for kind, hooks in zip(KINDS, found, strict=True):
        for owner, before in (*owners, (vars(module), "")):
            with_keywords = owner.get(f"{before}{kind}_with_kwargs") or {}
            hooks.extend((hook, key in with_keywords) for key, hook in list((owner.get(before + kind) or {}).items()))
    return found


def any_hooks(model: nn.Module) -> bool:
    """Whether anything is called before or after a module of the model."""
    return any(any(hooks_of(module)) for module in model.modules())


@contextlib.contextmanager
def global_hooks_elsewhere() -> Iterator[None]:
    """In this thread torch's global hooks are not called, for they would see the modules of an export."""
    here, before = threading.get_ident(), {kind: getattr(shared, kind) for kind in GLOBAL}

    def elsewhere(hook: Hook) -> Hook:
        return lambda *given, **keywords: hook(*given, **keywords) if threading.get_ident() != here else None

    try:
        for kind, hooks in before.items():
            setattr(shared, kind, OrderedDict((key, elsewhere(hook)) for key, hook in hooks.items()))
        yield
    finally:
        for kind, hooks in before.items():
            setattr(shared, kind, hooks)


def of_torch(hook: Hook) -> bool:
    """Whether a hook is torch's own (as those of ``weight_norm`` are), which only computes."""
    return (getattr(hook, "__module__", None) or "").split(".")[0] == "torch"


class Tape(TorchFunctionMode):
    """What a hook does with the tensors that it is given, one operation of torch after the other.

    Attributes:
        acts: whether anything comes of it: a value returned, a tensor written to, an attribute of the module set.
        result: what it returned.
    """

    def __init__(self, given: Any) -> None:
        super().__init__()
        self._given = [leaf for leaf in pytree.tree_leaves(given) if isinstance(leaf, Tensor)]
        self._steps: list[tuple[Any, list[Any], Any, list[Any], list[Tensor]]] = []
        self._told = self._branches = False
        self.result: Any = None
        self.set: dict[str, Any] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See `TorchFunctionMode`."""
        leaves, spec = pytree.tree_flatten((args, kwargs or {}))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not leaf.is_inference()]
        before = [t._version for t in tensors]
        out = func(*args, **(kwargs or {}))
        written = [t for t, version in zip(tensors, before, strict=True) if t._version != version]
        made = pytree.tree_leaves(out)
        self._branches |= getattr(func, "__name__", "") in BRANCHES
        self._told |= any(not isinstance(leaf, (Tensor, torch.dtype, torch.device, type(None))) for leaf in made)
        self._steps.append((func, leaves, spec, made, written))
        return out

    def done(self, result: Any, changed: dict[str, Any]) -> Tape:
        """The tape of a hook that has returned, without what nothing came of."""
        self.result, self.set = result, changed
        needed = [t for t in pytree.tree_leaves((result, changed)) if isinstance(t, Tensor)] + self._given
        ids, memory, steps = {id(t) for t in needed}, {_memory(t) for t in needed}, []
        for step in reversed(self._steps):
            _, leaves, _, made, written = step
            if any(id(t) in ids for t in made if isinstance(t, Tensor)) or any(_memory(t) in memory for t in written):
                steps.append(step)
                ids.update(id(t) for t in leaves if isinstance(t, Tensor))
                memory.update(_memory(t) for t in leaves if isinstance(t, Tensor))
        self._steps = steps[::-1]
        self.acts = result is not None or bool(changed or steps)
        return self

    def play(self, module: nn.Module, given: Any) -> Any:
        """Do the same with other tensors, on another module; what the hook would have returned."""
        tensors = [leaf for leaf in pytree.tree_leaves(given) if isinstance(leaf, Tensor)]
        now: dict[int, Any] = {id(t): new for t, new in zip(self._given, tensors, strict=True)}
        for func, leaves, spec, made, _ in self._steps:
            args, kwargs = pytree.tree_unflatten([now.get(id(leaf), leaf) for leaf in leaves], spec)
            now.update(zip(map(id, made), pytree.tree_leaves(func(*args, **kwargs)), strict=True))
        result, changed = pytree.tree_map(lambda leaf: now.get(id(leaf), leaf), (self.result, self.set))
        for name, value in changed.items():
            put(module, name, value)
        return result

    def flaw(self, hook: Hook, module: nn.Module, given: Any) -> bool:
        """Whether the tape is not all that the hook does: found by calling it on other values, if it reads any."""
        parts = pytree.tree_leaves((given, self.result, self.set))
        if any(type(part).__module__.split(".")[0] not in ("builtins", "torch") for part in parts):
            return True
        if self._branches or not self._told:
            return self._branches
        for i, change in enumerate(CHANGES):
            one, other = (pytree.tree_map_only(Tensor, _changed(change), given) for _ in range(2))
            try:
                pairs = (self.play(_bare(module), other), other), (hear(hook, module, one).result, one)
                same = _same(*pairs)
            except Exception:
                same = None
            if same is False or (same is None and i):  # with another number of samples it may fail, as a view does
                return True
        return False


CHANGES = (lambda t: torch.cat([t, -1e3 * t]), lambda t: -1e3 * t, lambda t: 0 * t)

BRANCHES = ("__bool__", "is_nonzero", "equal", "allclose", "__contains__")


def _same(mine: Any, true: Any) -> bool | None:
    """Whether two results are the same up to rounding; None where their shapes differ."""
    pairs = list(zip(pytree.tree_leaves(mine), pytree.tree_leaves(true), strict=True))
    pairs = [(a, b) for a, b in pairs if isinstance(a, Tensor)]
    if any(a.shape != b.shape for a, b in pairs):
        return None
    return all(torch.allclose(a, b, rtol=1e-2 if a.dtype.itemsize < 4 else 1e-4, equal_nan=True) for a, b in pairs)


def _changed(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda t: change(t) if t.ndim and t.is_floating_point() else t.clone()


def _bare(module: nn.Module) -> nn.Module:
    """Something to set attributes on."""
    bare = nn.Module()
    vars(bare).update(vars(module), _parameters=dict(module._parameters), _buffers=dict(module._buffers))
    return bare


def _memory(t: Tensor) -> int:
    return t.untyped_storage()._cdata if t.layout is torch.strided else id(t)


def _attributes(module: nn.Module) -> dict[str, Any]:
    own = vars(module)
    return {**own, **own.get("_parameters", {}), **own.get("_buffers", {})}


def put(module: nn.Module, name: str, value: Any) -> None:
    """Set an attribute, a parameter or a buffer, or remove what was not there, whatever the module's class says."""
    own = vars(module)
    holder = next((own[kind] for kind in ("_parameters", "_buffers") if name in own.get(kind, {})), own)
    if value is ABSENT:
        del holder[name]
    else:
        holder[name] = value


def hear(hook: Hook, module: nn.Module, given: tuple[Any, ...]) -> Tape:
    """Call a hook on the user's own module, which is left as it was."""
    before, tape = _attributes(module), Tape(given)
    try:
        with tape:
            result = hook(module, *given)
    finally:
        changed = {k: v for k, v in _attributes(module).items() if before.get(k, ABSENT) is not v}
        for name in changed:
            put(module, name, before.get(name, ABSENT))
    return tape.done(result, changed)


class Heard:
    """The tapes of a run, by which later runs do what the user's hooks did.

    Args:
        only: call no other hooks; None for all.
    """

    def __init__(self, only: set[int] | None = None) -> None:
        self.only = only
        self.listens = True
        self.tapes: dict[tuple[int, int], list[Tape]] = defaultdict(list)
        self.counts: dict[tuple[int, int], int] = defaultdict(int)

    @property
    def acting(self) -> set[int]:
        """Ids of the hooks that take part in what the model computes."""
        return {hook for (_, hook), tapes in self.tapes.items() if any(tape.acts for tape in tapes)}

    def call(self, hook: Hook, module: nn.Module, twin: nn.Module, given: tuple[Any, ...], name: str) -> Any:
        """What a hook on a module returns for the module's twin.

        Raises:
            ModelStateError: it does more than a graph can say.
        """
        key = id(module), id(hook)
        if of_torch(hook):
            return hook(twin, *given)
        if not self.listens:
            tapes, self.counts[key] = self.tapes.get(key), self.counts[key] + 1
            return tapes[min(self.counts[key], len(tapes)) - 1].play(twin, given) if tapes else None
        if self.only is not None and id(hook) not in self.only:
            return None
        fresh = pytree.tree_map_only(Tensor, torch.clone, given)
        tape = hear(hook, module, given)
        if tape.acts and tape.flaw(hook, module, fresh):
            raise ModelStateError(
                f"A hook on {f'module {name!r}' if name else 'the model'} changes what is computed by more than "
                "operations of torch on the tensors that it is given (it may go by numbers read out of them, by the "
                "number of samples, or by another library); write the change into a module, or remove the hook "
                "around the call."
            )
        self.tapes[key].append(tape)
        for attribute, value in tape.set.items():
            put(twin, attribute, value)
        return tape.result
