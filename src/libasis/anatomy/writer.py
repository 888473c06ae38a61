"""Writes operations into a graph, and reads their arguments by name."""

from __future__ import annotations

from typing import Any

from torch import fx

from ..cut.program import aten


def given(node: fx.Node) -> dict[str, Any]:
    """An operation's arguments by name, defaults included."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {}
    found = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    return found | dict(zip((a.name for a in schema.arguments), node.args, strict=False)) | node.kwargs


class Writer:
    """Writes operations into a graph, with what is known of their values."""

    def __init__(self, graph: fx.Graph) -> None:
        self.graph = graph

    def __call__(self, operation: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """One operation more."""
        node = self.graph.call_function(operation, args, kwargs)
        values = fx.map_arg((args, kwargs), lambda n: n.meta["val"])
        node.meta["val"] = operation(*values[0], **values[1])
        return node

    def times(self, x: Any, factor: Any) -> Any:
        """A product, or the value itself for 1."""
        return x if isinstance(factor, (int, float)) and factor == 1 else self(aten.mul.Tensor, x, factor)

    def along(self, x: fx.Node, dim: int, start: int, end: int, step: int = 1) -> fx.Node:
        """A slice."""
        return self(aten.slice.Tensor, x, dim, start, end, step)
