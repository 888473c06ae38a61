"""The truth about a model, from the model alone: it is run eagerly, and its derivatives are differences.

Nothing here knows graphs, rules or autograd. A site is reached by a hook that overwrites the tensor where it lies, so
that all later readers see it, and the Jacobian between two sites comes from running the whole model on inputs of which
each coordinate at the site was moved by a little: what ``detach`` hides from autograd is seen, and so is what goes
around the site.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

STEP = 1e-5
Edit = Callable[[Tensor], Tensor]


def tensors(value: Any) -> list[tuple[str, Tensor]]:
    """Every float tensor of an output, with its path."""
    if isinstance(value, Tensor):
        return [("", value)] if value.is_floating_point() else []
    if isinstance(value, Mapping):
        return [(f".{k}{path}", t) for k, v in value.items() for path, t in tensors(v)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return [(f".{k}{path}", t) for k in value._fields for path, t in tensors(getattr(value, k))]
    if isinstance(value, (tuple, list)):
        return [(f"[{i}]{path}", t) for i, v in enumerate(value) for path, t in tensors(v)]
    if hasattr(value, "__dataclass_fields__"):
        return [(f".{k}{path}", t) for k in value.__dataclass_fields__ for path, t in tensors(getattr(value, k))]
    return []


@dataclass
class Probe:
    """A model that can be read and overwritten at sites."""

    model: nn.Module
    channels: Mapping[str, int] = field(default_factory=dict)
    batch: Mapping[str, int] = field(default_factory=dict)

    def run(self, inputs: Any, sites: Sequence[str], edits: Mapping[str, Edit] | None = None) -> dict[str, Tensor]:
        """The model's tensors at the sites, as they lie; ``edits`` say what is written at a site before it is read."""
        edits, found = edits or {}, {}
        args, kwargs = split(pytree.tree_map_only(Tensor, torch.clone, inputs))
        leaves = input_leaves(self.model, args, kwargs)
        wanted = {*sites, *edits}
        for name in wanted & set(leaves):
            if name in edits:
                leaves[name].copy_(edits[name](leaves[name]))
            found[name] = leaves[name].clone()
        with torch.no_grad(), self._hooks(wanted, edits, found):
            out = tensors(self.model(*args, **kwargs))
        plain = [t for path, t in out if t.ndim and not path.endswith(".loss")]
        outputs = {"output": plain[0], **{f"output{path}": t for path, t in out}}
        return {name: found[name] if name in found else outputs[name].clone() for name in wanted}

    @contextlib.contextmanager
    def _hooks(self, wanted: set[str], edits: Mapping[str, Edit], found: dict[str, Tensor]) -> Iterator[None]:
        modules = dict(self.model.named_modules())
        handles, calls = [], {}

        def visit(name: str, first: Tensor | None) -> None:
            path, _, end = name.rpartition(":")
            calls[name] = calls.get(name, 0) + 1
            name = name if calls[name] == 1 else f"{path}#{calls[name]}:{end}"
            name = name if name in wanted else name.removesuffix(":out")
            if first is not None and name in wanted:
                if name in edits:
                    first.copy_(edits[name](first))
                found[name] = first.clone()

        def first_of(values: Any) -> Tensor | None:
            return next((t for _, t in tensors(values)), None)

        names = {n.removesuffix(":in").removesuffix(":out").split("#")[0] for n in wanted} & set(modules)
        for path in names - {""}:
            module = modules[path]

            def before(_: Any, args: Any, kwargs: Any, path: str = path) -> None:
                visit(f"{path}:in", next((v for v in [*args, *kwargs.values()] if isinstance(v, Tensor) and v.is_floating_point()), None))

            def after(_: Any, __: Any, output: Any, path: str = path) -> None:
                visit(f"{path}:out", first_of(output))

            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            handles.append(module.register_forward_hook(after))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def canonical(self, site: str, x: Tensor) -> Tensor:
        """``[batch, position, feature]``."""
        batch = self.batch.get(site, 0)
        x = x.movedim(batch, 0)
        if x.ndim == 1:
            return x.reshape(-1, 1, 1)
        feature = self.channels.get(site, self.channels.get("*", 1 if x.ndim > 3 else -1)) if x.ndim > 2 else -1
        x = x.movedim(feature, -1)
        return x.reshape(x.shape[0], -1, x.shape[-1])

    def join(self, site: str, found: Mapping[str, Tensor]) -> Tensor:
        """A site of several tensors is one."""
        return torch.cat([self.canonical(part, found[part]) for part in parts(site)], -1)

    def jacobian(self, inputs: Any, source: str, target: str) -> Tensor:
        """``[batch, t, o, s, d]``: differences in every coordinate of the source."""
        base = self.run(inputs, [*parts(source)])
        n = size(inputs)
        columns = [self._columns(inputs, part, base[part], target, n) for part in parts(source)]
        return torch.cat(columns, -1)

    def _columns(self, inputs: Any, part: str, x: Tensor, target: str, n: int) -> Tensor:
        dim = self.batch.get(part, 0)
        x = x.movedim(dim, 0)
        flat = x.reshape(n, -1)
        D = flat.shape[1]
        h = STEP * max(float(x.square().mean().sqrt()), 1e-3)
        shifts = h * torch.cat([torch.eye(D), -torch.eye(D)]).to(x)
        moved = (flat[:, None] + shifts).reshape(n * 2 * D, *x.shape[1:]).movedim(0, dim)
        many = repeated(inputs, n, 2 * D)
        y = self.join(target, self.run(many, parts(target), {part: lambda _: moved}))
        y = y.reshape(n, 2, D, *y.shape[1:])
        J = (y[:, 0] - y[:, 1]) / (2 * h)  # [n, D, t, o]
        feature = self.channels.get(part, self.channels.get("*", 1 if x.ndim > 3 else -1)) if x.ndim > 2 else -1
        J = J.reshape(n, *x.shape[1:], *J.shape[-2:])
        if x.ndim == 1:
            J = J.reshape(n, 1, 1, *J.shape[-2:])
        elif x.ndim == 2:
            J = J[:, None]
        else:
            J = J.movedim(feature if feature > 0 else x.ndim + feature, -3)
            J = J.reshape(n, -1, *J.shape[-3:])
        return J.permute(0, 3, 4, 1, 2)

    def cuts(self, inputs: Any, other: Any, source: str, target: str) -> float:
        """How far the target is from that of other inputs when only the source is theirs; 0 where the source decides."""
        theirs = self.run(other, [*parts(source), *parts(target)])
        edits = {part: (lambda _, value=theirs[part]: value) for part in parts(source)}
        got = self.run(inputs, parts(target), edits)
        scale = max(max(float(theirs[p].abs().max()) for p in parts(target)), 1e-12)
        return max(float((got[p] - theirs[p]).abs().max()) for p in parts(target)) / scale


def parts(site: str) -> list[str]:
    """The tensors of a site."""
    return site.split("+")


def split(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional inputs and those by name."""
    if isinstance(inputs, dict):
        return (), inputs
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def input_leaves(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Tensor]:
    """``"input"`` is the first float; the others go by the name of the parameter."""
    import inspect

    names = list(inspect.signature(model.forward).parameters)
    named = {**{(names[i] if i < len(names) else f"inputs[{i}]"): a for i, a in enumerate(args)}, **kwargs}
    floats = {f"input.{k}": v for k, v in named.items() if isinstance(v, Tensor) and v.is_floating_point()}
    return {"input": next(iter(floats.values())), **floats} if floats else {}


def size(inputs: Any) -> int:
    """Number of samples."""
    return next(t for t in pytree.tree_leaves(inputs) if isinstance(t, Tensor) and t.ndim).shape[0]


def repeated(inputs: Any, n: int, times: int) -> Any:
    """Every sample so many times, one after the other."""

    def repeat(t: Tensor) -> Tensor:
        return t.repeat_interleave(times, 0) if t.ndim and t.shape[0] == n else t

    return pytree.tree_map_only(Tensor, repeat, inputs)


def importances(probe: Probe, batches: Sequence[Any], sites: Sequence[str], counted: Sequence[Tensor | None]) -> list[tuple[Tensor, Tensor]]:
    """Covariance G and root(G) M' root(G) of every site but the last, from the last one back."""
    found = []
    values = [probe.run(b, [p for s in sites for p in parts(s)]) for b in batches]
    last = probe.join(sites[-1], values[0])
    readout = torch.eye(last.shape[-1], dtype=torch.float64)
    for source, target in reversed(list(zip(sites[:-1], sites[1:], strict=True))):
        xs, total = [], 0.0
        for batch, value, mask in zip(batches, values, counted, strict=True):
            x = probe.join(source, value).double()
            J = probe.jacobian(batch, source, target).double()
            into = mask if mask is not None and x.shape[1] > 1 else torch.ones(x.shape[:2])
            outof = mask if mask is not None and J.shape[1] > 1 else torch.ones(J.shape[:2])
            J = J * into.double()[:, None, None, :, None] * outof.double()[:, :, None, None, None]
            total = total + torch.einsum("ntosd,op,ntpse->de", J, readout, J)
            xs.append(x[into.bool()])
        x = torch.cat(xs)
        centred = x - x.mean(0)
        G = centred.T @ centred / len(x)
        g, U = torch.linalg.eigh(G)
        keep = g > 1e-12 * g.max()
        projector = U[:, keep] @ U[:, keep].T
        root = (U[:, keep] * g[keep].sqrt()) @ U[:, keep].T
        readout = projector @ (total / len(x)) @ projector
        found.insert(0, (G, root @ readout @ root))
    return found
