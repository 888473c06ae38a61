"""States of torch that are set around a call: none of them changes a number, and each is as before when it is over."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import torch

from .errors import ModelStateError

P = ParamSpec("P")
T = TypeVar("T")

CASTING = ("cpu", "cuda", "mps", "xpu")
"""Kinds of devices on which autocast is looked for."""

ALONE = threading.RLock()
"""Held while something that all threads share (a default, a random state, the user's model) is other than it was."""

if hasattr(os, "register_at_fork"):  # its holder may be a thread that the forked process does not have
    os.register_at_fork(after_in_child=ALONE._at_fork_reinit)  # pyright: ignore


@dataclass(frozen=True)
class _Outside:
    """What the caller's own code (data, model) goes on to see."""

    dtype: torch.dtype
    device: torch.device


_outside: contextvars.ContextVar[_Outside | None] = contextvars.ContextVar("outside", default=None)


@dataclass(frozen=True)
class Calling:
    """A public call that runs, with what it was given.

    Attributes:
        known: what was found out of it.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    known: dict[str, Any] = field(default_factory=dict)


_calling: contextvars.ContextVar[Calling | None] = contextvars.ContextVar("calling", default=None)


def calling() -> Calling | None:
    """The innermost public call that runs."""
    return _calling.get()


def neutral(function: Callable[P, T]) -> Callable[P, T]:
    """For a public call: inside, torch is as it is when started.

    Neither autocast, inference mode, disabled gradients, deterministic algorithms, a lower precision of products in
    float32, a default dtype nor a default device changes what is computed; afterwards, also after an error, all of them
    are as they were. The caller's data and model are still run with the caller's default dtype and device. Calls in
    several threads run side by side; where a default of the whole process has to be changed, one after the other.
    """

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        token = _calling.set(Calling(function, args, kwargs))
        try:
            return inside(*args, **kwargs)
        finally:
            _calling.reset(token)

    def inside(*args: P.args, **kwargs: P.kwargs) -> T:
        if _outside.get() is not None:
            return function(*args, **kwargs)
        with contextlib.ExitStack() as stack:
            with ALONE:  # no other call is in the middle of changing what is looked at
                if _process_differs():
                    stack.enter_context(ALONE)
                _enter(stack)
            return function(*args, **kwargs)

    return called


def _process_differs() -> bool:
    """Whether a state that all threads share is other than libasis needs it."""
    try:
        precise = torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # set for each backend alone
        precise = False
    dtype = torch.get_default_dtype() is torch.float32
    return not (dtype and precise) or torch.are_deterministic_algorithms_enabled()


def _enter(stack: contextlib.ExitStack) -> None:
    outside = _Outside(torch.get_default_dtype(), torch.get_default_device())
    fake = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None  # pyright: ignore
    if fake:
        raise ModelStateError(
            "The call is made within a FakeTensorMode, where tensors have no values; make it outside."
        )
    stack.callback(_outside.reset, _outside.set(outside))
    stack.enter_context(torch.inference_mode(False))
    stack.enter_context(torch.enable_grad())
    for kind in CASTING:
        if torch.is_autocast_enabled(kind):
            stack.enter_context(torch.autocast(kind, enabled=False))
    stack.enter_context(_defaults(torch.float32, torch.device("cpu")))
    stack.enter_context(_full_precision())
    stack.enter_context(_saved_as_they_are())
    if torch.are_deterministic_algorithms_enabled():
        warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        stack.callback(torch.use_deterministic_algorithms, True, warn_only=warn_only)
        torch.use_deterministic_algorithms(False)


def as_outside() -> contextlib.AbstractContextManager[None]:
    """For the caller's own code inside a `neutral` call: the default dtype and device are the caller's."""
    outside = _outside.get()
    return contextlib.nullcontext() if outside is None else _defaults(outside.dtype, outside.device)


@contextlib.contextmanager
def _defaults(dtype: torch.dtype, device: torch.device) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with contextlib.nullcontext() if torch.get_default_device() == device else device:
            yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def _saved_as_they_are() -> Iterator[None]:
    """What a derivative needs is kept by torch itself, not by hooks around the call, which may round it."""
    hooks: list[Any] = []
    torch_own: Any = torch._C._autograd  # pyright: ignore
    while (top := torch_own._top_saved_tensors_default_hooks(False)) is not None:
        hooks.append(top)
        torch_own._pop_saved_tensors_default_hooks()
    try:
        yield
    finally:
        for pack, unpack in reversed(hooks):
            torch_own._push_saved_tensors_default_hooks(pack, unpack)


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Products in float32 without TF32 or bfloat16; each backend's own setting is put back too, where there are any."""
    backends: list[Any] = [torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)]
    own = [(b, b.fp32_precision) for b in backends if hasattr(b, "fp32_precision")]
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # set for each backend alone
        before = None
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        if before is not None:
            torch.set_float32_matmul_precision(before)
        for backend, precision in own:
            backend.fp32_precision = precision
