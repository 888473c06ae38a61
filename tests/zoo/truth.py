"""The truth about a model, from the model alone: it is run eagerly, and its derivatives are differences.

Nothing here knows graphs, rules or autograd. A site is reached by a hook that overwrites the tensor where it lies, so
that all later readers see it, and the Jacobian between two sites comes from running the whole model on inputs of which
each coordinate at the site was moved by a little: what ``detach`` hides from autograd is seen, and so is what goes
around the site.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

STEP = 1e-6  # small, as a bend in between (ReLU) is no derivative
MAKERS = {"zeros", "ones", "full", "empty", "rand", "linspace"}
Edit = Callable[[Tensor], Tensor]


class Double(TorchDispatchMode):
    """Whatever a model makes or casts in float32 is float64: differences need all digits."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = pytree.tree_map(lambda v: torch.float64 if v is torch.float32 else v, (args, kwargs or {}))
        if func.name().split("::")[1].split(".")[0] in MAKERS:
            kwargs.setdefault("dtype", torch.float64)
        return func(*args, **kwargs)


@dataclass
class Probe:
    """A model that can be read and overwritten at sites.

    Attributes:
        model: run eagerly.
        channels: dimension of the features by site, where it is not the last (the second of four and more).
        batch: dimension of the batch by site, where it is not the first.
        double: whether casts to float32 are ignored.
    """

    model: nn.Module
    channels: Mapping[str, int] = field(default_factory=dict)
    batch: Mapping[str, int] = field(default_factory=dict)
    double: bool = False

    def run(self, inputs: Any, sites: Sequence[str], edits: Mapping[str, Edit] | None = None) -> dict[str, Tensor]:
        """The model's tensors at the sites, as they lie; ``edits`` say what is written at a site before it is read."""
        edits, found = edits or {}, {}
        args, kwargs = _split(pytree.tree_map_only(Tensor, torch.clone, inputs))
        leaves, wanted = _inputs(self.model, args, kwargs), {*sites, *edits}
        for name in wanted & set(leaves):
            if name in edits:
                leaves[name].copy_(edits[name](leaves[name]))
            found[name] = leaves[name].clone()
        mode = Double() if self.double else contextlib.nullcontext()
        with torch.no_grad(), mode, self._hooks(wanted, edits, found):
            out = _tensors(self.model(*args, **kwargs))
        plain = [t for path, t in out if t.ndim and not path.endswith(".loss")]
        outputs = {f"output{path}": t for path, t in out} | ({"output": plain[0]} if plain else {})
        return {name: found[name] if name in found else outputs[name].clone() for name in wanted}

    @contextlib.contextmanager
    def _hooks(self, wanted: set[str], edits: Mapping[str, Edit], found: dict[str, Tensor]) -> Iterator[None]:
        modules, handles, calls = dict(self.model.named_modules()), [], {}

        def visit(path: str, end: str, values: list[Any]) -> None:
            first = next((v for v in values if isinstance(v, Tensor) and v.is_floating_point()), None)
            calls[path, end] = calls.get((path, end), 0) + 1
            if first is None:
                return
            path = path if calls[path, end] == 1 else f"{path}#{calls[path, end]}"
            for name in {f"{path}:{end}", path if end == "out" else ""} & wanted:
                if name in edits:
                    first.copy_(edits[name](first))
                found[name] = first.clone()

        for path in {name.removesuffix(":in").removesuffix(":out").split("#")[0] for name in wanted} & set(modules):

            def before(_: Any, args: Any, kwargs: Any, path: str = path) -> None:
                visit(path, "in", [*args, *kwargs.values()])

            def after(_: Any, __: Any, output: Any, path: str = path) -> None:
                visit(path, "out", [t for _, t in _tensors(output)])

            handles.append(modules[path].register_forward_pre_hook(before, with_kwargs=True))
            handles.append(modules[path].register_forward_hook(after))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _feature(self, site: str, ndim: int) -> int:
        """The dimension of the features, from behind."""
        given = self.channels.get(site, self.channels.get("*", 1 if ndim > 3 else -1)) if ndim > 2 else -1
        return given if given < 0 else given - ndim

    def canonical(self, site: str, x: Tensor) -> Tensor:
        """``[batch, position, feature]``."""
        x = x.movedim(self.batch.get(site, 0), 0)
        if x.ndim == 1:
            return x.reshape(-1, 1, 1)
        x = x.movedim(self._feature(site, x.ndim), -1)
        return x.reshape(x.shape[0], -1, x.shape[-1])

    def join(self, site: str, found: Mapping[str, Tensor]) -> Tensor:
        """A site of several tensors is one."""
        return torch.cat([self.canonical(part, found[part]) for part in parts(site)], -1)

    def jacobian(self, inputs: Any, source: str, target: str) -> Tensor:
        """``[batch, t, o, s, d]``: differences in every coordinate of the source."""
        found = self.run(inputs, parts(source))
        return torch.cat([self._columns(inputs, part, found[part], target) for part in parts(source)], -1)

    def _columns(self, inputs: Any, part: str, x: Tensor, target: str) -> Tensor:
        dim = self.batch.get(part, 0)
        x = x.movedim(dim, 0)
        n, d = len(x), x[0].numel()
        h = STEP * max(float(x.square().mean().sqrt()), 1e-3)
        shifts = h * torch.cat([torch.eye(d), -torch.eye(d)]).to(x)
        moved = (x.reshape(n, 1, d) + shifts).reshape(n * 2 * d, *x.shape[1:]).movedim(0, dim)
        y = self.join(target, self.run(_repeated(inputs, n, 2 * d), parts(target), {part: lambda _: moved}))
        y = y.reshape(n, 2, d, *y.shape[1:])
        J = ((y[:, 0] - y[:, 1]) / (2 * h)).permute(0, 2, 3, 1)  # [n, t, o, d]
        J = J.reshape(*J.shape[:3], *(x.shape[1:] or (1,)))
        if x.ndim > 2:
            J = J.movedim(self._feature(part, x.ndim), -1)
        return J.reshape(*J.shape[:3], -1, J.shape[-1])

    def goes_round(self, inputs: Any, other: Any, source: str, target: str) -> float:
        """How far the target is from what other inputs give, if the source alone is theirs; 0 where it decides."""
        theirs = self.run(other, [*parts(source), *parts(target)])
        edits = {part: (lambda _, value=theirs[part]: value) for part in parts(source)}
        got = self.run(inputs, parts(target), edits)
        scale = max(max(float(theirs[part].abs().max()) for part in parts(target)), 1e-12)
        return max(float((got[part] - theirs[part]).abs().max()) for part in parts(target)) / scale


def importances(
    probe: Probe, batches: Sequence[Any], sites: Sequence[str], counted: Sequence[Tensor | None]
) -> list[tuple[Tensor, Tensor]]:
    r"""Covariance G and :math:`G^{1/2} M' G^{1/2}` of every site but the last: its eigenvalues are importances.

    C'C'^T of the next site is its M' between projectors on what varies there, so no basis need be chosen.
    """
    found: list[tuple[Tensor, Tensor]] = []
    values = [probe.run(batch, [part for site in sites for part in parts(site)]) for batch in batches]
    readout = torch.eye(probe.join(sites[-1], values[0]).shape[-1], dtype=torch.float64)
    for source, target in reversed(list(zip(sites[:-1], sites[1:], strict=True))):
        xs, total = [], torch.zeros(())
        for batch, value, mask in zip(batches, values, counted, strict=True):
            x, J = probe.join(source, value).double(), probe.jacobian(batch, source, target).double()
            entering, leaving = (_which(mask, len(x), positions) for positions in (x.shape[1], J.shape[1]))
            J = J * entering.double()[:, None, None, :, None] * leaving.double()[:, :, None, None, None]
            total = total + torch.einsum("ntosd,op,ntpse->de", J, readout, J)
            xs.append(x[entering])
        centred = torch.cat(xs) - torch.cat(xs).mean(0)
        G = centred.T @ centred / len(centred)
        g, U = torch.linalg.eigh(G)
        P = _varies(G)
        readout = P.T @ (total / len(centred)) @ P
        root = (U * g.clamp_min(0).sqrt()) @ U.T
        found.insert(0, (G, root @ readout @ root))
    return found


def _varies(G: Tensor) -> Tensor:
    """The projector on what varies, along what does not: each coordinate in its own spread."""
    s = G.diagonal().clamp_min(0).sqrt()
    s = torch.where(s > 1e-12 * s.max(), s, 0.0)
    inverse = torch.where(s > 0, s.reciprocal(), 0.0)
    g, U = torch.linalg.eigh(inverse[:, None] * G * inverse)
    U = U[:, g > 1e-12 * g.max()]
    return (s[:, None] * U) @ (U.T * inverse)


def parts(site: str) -> list[str]:
    """The tensors of a site."""
    return site.split("+")


def _which(mask: Tensor | None, n: int, positions: int) -> Tensor:
    return torch.ones(n, positions).bool() if mask is None or positions == 1 else mask


def _tensors(value: Any) -> list[tuple[str, Tensor]]:
    """Every float tensor of an output, with its path."""
    if isinstance(value, Tensor):
        return [("", value)] if value.is_floating_point() else []
    if isinstance(value, Mapping):
        items = [(f".{k}", v) for k, v in value.items()]
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        items = [(f".{k}", getattr(value, k)) for k in value._fields]
    elif isinstance(value, (tuple, list)):
        items = [(f"[{i}]", v) for i, v in enumerate(value)]
    else:
        items = [(f".{k}", getattr(value, k)) for k in getattr(value, "__dataclass_fields__", ())]
    return [(key + path, t) for key, v in items for path, t in _tensors(v)]


def _split(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, dict):
        return (), inputs
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def _inputs(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Tensor]:
    """``"input"`` is the first float; all go by the names of forward's parameters."""
    names = list(inspect.signature(model.forward).parameters)
    named = {**{(names[i] if i < len(names) else f"inputs[{i}]"): a for i, a in enumerate(args)}, **kwargs}
    floats = {f"input.{k}": v for k, v in named.items() if isinstance(v, Tensor) and v.is_floating_point()}
    return {"input": next(iter(floats.values())), **floats} if floats else {}


def _repeated(inputs: Any, n: int, times: int) -> Any:
    """Every sample so many times, one after the other."""

    def repeat(t: Tensor) -> Tensor:
        return t.repeat_interleave(times, 0) if t.ndim and t.shape[0] == n else t

    return pytree.tree_map_only(Tensor, repeat, inputs)
