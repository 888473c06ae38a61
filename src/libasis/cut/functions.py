"""Pure functions cut out of a program's graph: from given nodes to given nodes, in a chosen dtype and device."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_aggregate

from ..data.batches import own
from ..errors import ExportError
from .program import Program, is_size, known_size, module_of, walk
from .steps import Slot, Steps

Function = Callable[..., tuple[Tensor, ...]]


def _copied(place: Tensor, value: Tensor, non_blocking: bool = False) -> Tensor:
    """What stands in a place after it was written to."""
    return value.to(place.dtype).expand_as(place)


INSTEAD: dict[Any, Any] = {torch.ops.aten.copy.default: _copied}
"""Operations of exported graphs that torch has no derivative for, in others."""


class Functions:
    """Builds functions out of one program.

    Constants (what depends on no input and no batch size) are evaluated once and shared by all functions; weights in
    the model's own dtype and device share the model's memory.

    Args:
        program: the graph.
        dtype: compute in this dtype instead of the model's own; casts written in the model are redirected too.
        device: compute on this device instead of the model's own.
    """

    def __init__(self, program: Program, dtype: torch.dtype | None = None, device: torch.device | None = None) -> None:
        self.program = program
        self.dtype = dtype
        self.device = device
        self._constants: dict[fx.Node, Any] = {}

    def build(self, sources: Sequence[fx.Node], targets: Sequence[fx.Node]) -> Function:
        """The function from the sources' values to the targets' values, as tuples of tensors."""
        steps = Steps(len(sources))
        new: dict[fx.Node, Any] = {node: Slot(i) for i, node in enumerate(sources)}
        sizes: dict[Any, Slot] = {}
        for node in self._needed(set(sources), targets):
            if self._is_constant(node):
                new[node] = self.constant(node)
            elif is_size(node):
                new[node] = self._size(node, sources, new, steps, sizes)
            else:
                args, kwargs = (self._convert(_replaced(part, new)) for part in (node.args, node.kwargs))
                new[node] = steps.add(INSTEAD.get(node.target, node.target), args, kwargs, module_of(node))
        return steps.returning([new[node] for node in targets])

    def _needed(self, sources: set[fx.Node], targets: Sequence[fx.Node]) -> list[fx.Node]:
        """Nodes to compute, in order; the walk stops at sources, constants and sizes."""

        def onward(node: fx.Node) -> list[fx.Node]:
            known = self._is_constant(node) or self._is_batch_size(node)
            return [] if known else [n for n in node.all_input_nodes if n not in sources]

        return sorted(walk(set(targets) - sources, onward), key=self.program.order.__getitem__)

    def _is_constant(self, node: fx.Node) -> bool:
        return self.program.taint[node] == "" and not is_size(node)

    def _is_batch_size(self, node: fx.Node) -> bool:
        if not is_size(node):
            return False
        value = node.meta["val"]
        return known_size(value) is not None or value.node.expr == self.program.batch_symbol

    def _size(
        self, node: fx.Node, sources: Sequence[fx.Node], new: dict[fx.Node, Any], steps: Steps, sizes: dict[Any, Slot]
    ) -> Any:
        """The batch size is read off the sources, so that a function runs on any number of samples."""
        value = node.meta["val"]
        if (known := known_size(value)) is not None:
            return known
        if not self._is_batch_size(node):
            if node.target not in (operator.mul, operator.add, operator.sub, operator.floordiv):
                where = f" in module {module_of(node)!r}" if module_of(node) else ""
                raise ExportError(
                    f"The model computes with a number that its values decide ({value}{where}), as .item() and "
                    ".tolist() give it; keep values in tensors, each sample's by itself, or give its sections as plain "
                    "callables: libasis.Chain([f0, f1, ...], names)."
                )
            return steps.add(node.target, _replaced(node.args, new), {})
        if "batch" not in sizes:
            source = next((s for s in sources if self.program.batch_dim(s) is not None), None)
            if source is None:
                sizes["batch"] = self._shared_size(sources, new, steps)
            else:
                dim = self.program.batch_dim(source)
                sizes["batch"] = steps.add(torch.ops.aten.sym_size.int, (new[source], dim), {})
        return sizes["batch"]

    def _shared_size(self, sources: Sequence[fx.Node], new: dict[fx.Node, Any], steps: Steps) -> Slot:
        """The batch size off a dimension that holds something else too, as batch times heads."""
        for source in sources:
            for dim, size in enumerate(getattr(source.meta.get("val"), "shape", ())):
                times = size.node.expr / self.program.batch_symbol if known_size(size) is None else None
                if times is not None and times.is_Integer:
                    whole = steps.add(torch.ops.aten.sym_size.int, (new[source], dim), {})
                    return steps.add(operator.floordiv, (whole, int(times)), {})
        raise ExportError("A section of the model has no tensor from which to read the batch size.")

    def constant(self, node: fx.Node) -> Any:
        """The value of a node that depends on no input."""
        if node not in self._constants:
            if node.op == "placeholder":
                value: Any = self.program.constants[node.name]
                if isinstance(value, Tensor):
                    value = own(value.detach()).to(device=self.device, dtype=self._convert(value.dtype))
            else:
                args = self._convert(fx.map_arg(node.args, self.constant))
                kwargs = self._convert(fx.map_arg(node.kwargs, self.constant))
                with torch.no_grad():
                    value = node.target(*args, **kwargs)  # pyright: ignore
            self._constants[node] = value
        return self._constants[node]

    def _convert(self, value: Any) -> Any:
        """Redirect dtypes and devices written into the graph; a mask's "lowest number" is that of the new dtype."""
        if isinstance(value, torch.dtype):
            if self.dtype is None or not (value.is_floating_point or value.is_complex):
                return value
            return self.dtype.to_complex() if value.is_complex else self.dtype
        if isinstance(value, torch.device):
            return value if self.device is None else self.device
        if isinstance(value, float) and self.dtype is not None and math.isfinite(value):
            limits = torch.finfo(self.dtype)
            return min(max(value, limits.min), limits.max)
        if isinstance(value, dict):
            return {k: self._convert(v) for k, v in value.items()}
        if isinstance(value, (tuple, list)):
            return type(value)(self._convert(v) for v in value)
        return value


def _replaced(arguments: Any, new: dict[fx.Node, Any]) -> Any:
    """A node's arguments with a slot, or the value itself, for each node."""
    return map_aggregate(arguments, lambda leaf: new[leaf] if isinstance(leaf, fx.Node) else leaf)
