"""Between a model's own tensors and canonical activations ``[batch, position, feature]``: the one place."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from ..types import Activations
from .program import known_size

_CHANNELS_AT_1 = ("conv", "batch_norm", "group_norm", "instance_norm", "pool", "upsample", "pixel_shuffle")
_FEATURES_LAST = ("linear", "layer_norm", "rms_norm", "embedding", "matmul", "mm", "addmm", "bmm")
_PASS_THROUGH = (
    "relu", "gelu", "silu", "sigmoid", "tanh", "elu", "hardtanh", "hardswish", "leaky_relu", "softplus", "add", "sub",
    "mul", "div", "neg", "clamp", "clone", "dropout", "mish", "abs", "pow", "rsqrt", "getitem", "_to_copy", "pad",
    "constant_pad_nd", "slice",
)  # fmt: skip

_KEEP_LAST = (
    "view", "_unsafe_view", "reshape", "flatten", "unflatten", "roll", "flip", "slice", "select", "constant_pad_nd",
    "cat", "where",
)  # fmt: skip

_RESHAPE = ("squeeze", "view", "_unsafe_view", "reshape", "flatten")
_OVER = {
    **dict.fromkeys(("select", "sum", "mean", "max", "min", "amax", "amin", "logsumexp", "unbind"), 1),
    "linalg_vector_norm": 2,
}
"""Operations that leave a dimension out, and which of their arguments says which."""


@dataclass(frozen=True)
class Layout:
    """Where batch and features are in one tensor of the model.

    Attributes:
        shape: the shape of one sample, that is without the batch dimension.
        batch: the batch dimension.
        feature: the feature dimension, counted after the batch dimension was moved to the front (so at least 1), or 0
            when there is no feature dimension and one of size 1 is added.
    """

    shape: tuple[int, ...]
    batch: int = 0
    feature: int = -1

    @property
    def features(self) -> int:
        """Number of features."""
        return self.shape[self.feature - 1] if self.feature else 1

    @property
    def positions(self) -> int:
        """Number of positions."""
        return math.prod(self.shape) // max(self.features, 1)

    def canonical(self, x: Tensor) -> Activations:
        """The model's tensor as ``[batch, position, feature]``."""
        x = x.movedim(self.batch, 0)
        if not self.feature:
            return x.reshape(x.shape[0], -1, 1)
        x = x.movedim(self.feature, -1)
        return x.reshape(x.shape[0], -1, x.shape[-1])

    def original(self, x: Activations) -> Tensor:
        """The inverse of `canonical`."""
        if not self.feature:
            return x.reshape(x.shape[0], *self.shape).movedim(0, self.batch)
        rest = self.shape[: self.feature - 1] + self.shape[self.feature :]
        x = x.reshape(x.shape[0], *rest, x.shape[-1]).movedim(-1, self.feature)
        return x.movedim(0, self.batch)


def layout_of_tensor(x: Tensor) -> Layout:
    """The layout of a plain tensor: features last for 2 and 3 dimensions, channels second for more (torch's habit)."""
    return _layout(tuple(x.shape[1:]), 0, channels_first=x.ndim > 3)


def _layout(shape: tuple[int, ...], batch: int, *, channels_first: bool) -> Layout:
    if not shape:
        return Layout(shape, batch, 0)
    return Layout(shape, batch, 1 if channels_first else len(shape))


def layout_of_node(node: fx.Node) -> Layout | None:
    """The layout of a graph's tensor, or None if its batch dimension cannot be told.

    The batch dimension is the one whose size is symbolic (the first, in a graph of fixed batch size). Whether
    features are last or channels come second is read from the nearest convolution, normalisation or matrix product;
    without one, more than three dimensions mean channels second.
    """
    value = node.meta["val"]
    symbolic = [i for i, size in enumerate(value.shape) if known_size(size) is None]
    batch = 0
    if symbolic:
        if len(symbolic) > 1 or not value.shape[symbolic[0]].node.expr.is_Symbol:
            return None
        batch = symbolic[0]
    elif value.ndim == 0:
        return None
    shape = tuple(int(s) for i, s in enumerate(value.shape) if i != batch)
    hint = _channels_hint(node) if len(shape) > 1 else False
    if hint is None and len(shape) > 2 and _read_as_last(node):
        hint = False
    return _layout(shape, batch, channels_first=len(shape) > 2 if hint is None else hint)


def _channels_hint(node: fx.Node, limit: int = 64) -> bool | None:
    """True where a neighbour says channels come second, False where one says features are last, None where none do."""
    ndim = node.meta["val"].ndim
    seen: set[fx.Node] = {node}
    queue: list[fx.Node] = [node]
    while queue and len(seen) < limit:
        current = queue.pop(0)
        if (said := _says(current)) is not None:
            return said
        for user in current.users:
            if (said := _says(user)) is not None:
                return said
        neighbours = list(current.users) + (list(current.all_input_nodes) if _passes(current) else [])
        for other in neighbours:
            if other not in seen and (_passes(other) or other in current.all_input_nodes) and _ndim(other) == ndim:
                seen.add(other)
                queue.append(other)
    return None


def _read_as_last(node: fx.Node, limit: int = 64) -> bool:
    """Whether something with features last is near, over whatever keeps the last dimension."""
    seen: set[fx.Node] = {node}
    queue: list[fx.Node] = [node]
    while queue and len(seen) < limit:
        current = queue.pop(0)
        if any(_says(one) is False for one in (current, *current.users)):
            return True
        near = [u for u in current.users if _keeps_last(u, current)]
        near += [i for i in current.all_input_nodes if _keeps_last(current, i)]
        queue += [other for other in near if other not in seen]
        seen.update(near)
    return False


def _keeps_last(node: fx.Node, source: fx.Node) -> bool:
    """Whether an operation leaves the last dimension of its source where it is, and of that size."""
    sizes = [getattr(one.meta.get("val"), "shape", None) or (None,) for one in (node, source)]
    (*_, mine), (*_, its) = sizes
    if mine is None or known_size(mine) is None or known_size(mine) != known_size(its):
        return False
    name, order = _name(node).rstrip("_"), node.args[1:]
    if name == "permute":
        moved: Any = order[0]
        return moved[-1] in (-1, len(moved) - 1)
    if name == "transpose":
        return not {len(sizes[0]) - 1, -1} & set(order)
    return _passes(node) or name in _KEEP_LAST


def _ndim(node: fx.Node) -> int:
    value: Any = node.meta.get("val")
    if isinstance(value, (tuple, list)) and value:
        value = value[0]
    return value.ndim if isinstance(value, Tensor) else -1


def _name(node: fx.Node) -> str:
    return str(node.target).removeprefix("aten.").split(".")[0] if node.op == "call_function" else ""


def _says(node: fx.Node) -> bool | None:
    name = _name(node)
    if any(word in name for word in _CHANNELS_AT_1):
        return True
    if name.removeprefix("native_") in _FEATURES_LAST:
        return False
    return None


def _passes(node: fx.Node) -> bool:
    name = _name(node).rstrip("_")
    return name in _PASS_THROUGH


def by_position(node: fx.Node) -> tuple[fx.Node, bool] | None:
    """The tensor ``[batch, position, k]`` that one ``[batch, position]`` has a number for each position of.

    With it, whether they are the same numbers; None where the graph does not show that there is such a tensor.
    """
    same = True
    while _ndim(node) == 2:
        size = _sizes(node)[:2]
        near = [n for n in node.all_input_nodes if _ndim(n) in (2, 3) and _sizes(n)[:2] == size]
        if not near or size[1] is None or size[1] < 2:
            return None
        name, source = _name(node), near[0]
        if _ndim(source) == 3:
            same = same and name in (*_RESHAPE, "select") and _sizes(source)[2] == 1
            turned = _name(source) in ("transpose", "permute", "mT", "swapaxes")  # the last dimension may be positions
            return (source, same) if _leaves_last_out(node, _sizes(source)[2]) and not turned else None
        if not (_passes(node) or name in ("contiguous", "to", "masked_fill") or node.target is operator.getitem):
            return None
        same, node = same and name in ("clone", "contiguous"), source
    return None


def _leaves_last_out(node: fx.Node, last: int | None) -> bool:
    """Whether an operation on a tensor ``[a, b, last]`` leaves out the last dimension alone."""
    name, args = _name(node), node.args
    if name in _RESHAPE:
        return last == 1
    if name in ("matmul", "linear"):
        return _ndim(node.all_input_nodes[1]) == 1
    if name == "einsum":
        read, _, made = str(args[0]).replace(" ", "").partition("->")
        return read[:2] == made and read[3:4] == ","
    over: Any = args[_OVER[name]] if name in _OVER and len(args) > _OVER[name] else None
    return (list(over) if isinstance(over, (list, tuple)) else [over]) in ([2], [-1])


def _sizes(node: fx.Node) -> list[int | None]:
    value: Any = node.meta["val"]
    return [known_size(size) for size in (value[0] if isinstance(value, (tuple, list)) else value).shape]
