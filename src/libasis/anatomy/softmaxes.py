"""Softmax in other words: quotients of exponentials, normalised logarithms, attention with a sink."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx

from ..cut.program import aten, known_size
from .writer import Writer, given


def _softmax_of(write: Writer, x: fx.Node, dim: int) -> fx.Node:
    return write(aten.softmax.int, x, dim)


def _exponential(write: Writer, node: Any) -> tuple[Any, fx.Node | None] | None:
    """An exponential or a softmax, and a factor."""
    if not isinstance(node, fx.Node):
        return None
    if node.target in (aten.tril.default, aten.triu.default) and (found := _exponential(write, node.args[0])):
        ones = write(aten.ones_like.default, found[0], dtype=torch.bool)
        return None if found[1] else (found[0], write(node.target, ones, *node.args[1:]))
    if node.target in (aten.exp.default, aten.softmax.int):
        return node, None
    if node.target is aten.mul.Tensor:
        for one, other in (node.args, node.args[::-1]):
            plain = isinstance(one, fx.Node) and one.target in (aten.exp.default, aten.softmax.int)
            if plain and isinstance(other, fx.Node) and _is_zero_or_one(other):
                return one, other
    return None


def _is_zero_or_one(node: fx.Node) -> bool:
    """Whether a value is a boolean, or one that was."""
    while node.target in (aten.to.dtype, aten._to_copy.default):
        node = node.args[0]  # pyright: ignore
    return isinstance(node.meta.get("val"), Tensor) and node.meta["val"].dtype == torch.bool


def quotient(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node | None:
    """exp(x) / (c + sum(exp(x))), weighted by zeros and ones or not, as a softmax, which c adds a column to."""
    above, below = of["self"], of["other"]
    more: Any = None
    if isinstance(below, fx.Node) and below.target is aten.add.Tensor and isinstance(below.args[1], (int, float)):
        below, more = below.args[:2]
    if not isinstance(below, fx.Node) or below.target is not aten.sum.dim_IntList or below.args[0] is not above:
        return None
    summed, found = given(below), _exponential(write, above)
    if found is None or len(summed["dim"]) != 1 or not summed["keepdim"]:
        return None
    (raised, factor), dim = found, summed["dim"][0]
    x, n = raised.args[0], raised.meta["val"].ndim
    if raised.target is aten.softmax.int and (more is not None or raised.args[1] % n != dim % n):
        return None
    if more is not None and more <= 0:
        return None
    exponent = _shifted(x, dim) if more is None else x
    if factor is not None:
        lowest = write(aten.logical_not.default, factor)
        exponent = write(aten.masked_fill.Scalar, exponent, lowest, float("-inf"))
    if more is None:
        return _softmax_of(write, exponent, dim)
    column = write(aten.full_like.default, write.along(exponent, dim, 0, 1), math.log(more))
    both = write(aten.cat.default, [exponent, column], dim)
    return write.along(_softmax_of(write, both, dim), dim, 0, int(exponent.meta["val"].shape[dim]))


def _shifted(x: fx.Node, dim: int) -> fx.Node:
    """A value before a subtraction of what is the same along a dimension: for a softmax it makes no difference."""
    while x.target is aten.sub.Tensor and given(x)["alpha"] == 1:
        first, second = x.args[:2]
        if not isinstance(first, fx.Node) or not isinstance(second, fx.Node):
            break
        a, b = first.meta["val"], second.meta["val"]
        dim = dim % a.ndim
        if a.shape != x.meta["val"].shape or b.ndim != a.ndim or known_size(b.shape[dim]) != 1:
            break
        x = first
    return x


def log_normalised(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node | None:
    """exp(log_softmax(x)) and exp(x - logsumexp(x))."""
    x = of["self"]
    if x.target is aten.log_softmax.int:
        return _softmax_of(write, x.args[0], x.args[1])
    if x.target is aten.sub.Tensor and isinstance(x.args[1], fx.Node) and x.args[1].target is aten.logsumexp.default:
        sums = given(x.args[1])
        if sums["self"] is x.args[0] and sums["keepdim"] and len(sums["dim"]) == 1:
            return _softmax_of(write, x.args[0], sums["dim"][0])  # pyright: ignore
    return None


def sunk(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node | None:
    """softmax(s) v sigmoid(logsumexp(s) - c) as a softmax with one more column c, which nothing reads."""
    for read, gate in (node.args[:2], node.args[1::-1]):
        product, opened = _uncast(read), _uncast(gate, aten.unsqueeze.default)
        if product is None or opened is None or (product.target, opened.target) != _SINK:
            continue
        weights, z = _uncast(product.args[0]), _uncast(opened.args[0])
        total = _uncast(z.args[0]) if z is not None and z.target is aten.sub.Tensor else None
        if total is None or total.target is not aten.logsumexp.default or weights is None:
            continue
        scores, lead = total.args[0], total.meta["val"].ndim
        along = weights.target is aten.softmax.int and weights.args[1] in (-1, lead) and _uncast(weights.args[0])
        if along is not _uncast(scores) or total.args[1] not in ([-1], [lead]) or given(total)["keepdim"]:
            continue
        if product.meta["val"].ndim != lead + 1 or opened.meta["val"].ndim != lead:
            continue
        column = write(aten.full_like.default, write.along(weights.args[0], -1, 0, 1), 0.0)  # pyright: ignore
        column = write(aten.add.Tensor, column, write(aten.unsqueeze.default, z.args[1], -1))  # pyright: ignore
        both = _softmax_of(write, write(aten.cat.default, [weights.args[0], column], -1), -1)
        n = int(weights.meta["val"].shape[-1])
        return write(aten.matmul.default, write.along(both, -1, 0, n), product.args[1])
    return None


_SINK = (aten.matmul.default, aten.sigmoid.default)


def _uncast(x: Any, *also: Any) -> fx.Node | None:
    """A value before changes of its dtype."""
    while isinstance(x, fx.Node) and x.target in (aten.to.dtype, aten._to_copy.default, *also):
        x = x.args[0]
    return x if isinstance(x, fx.Node) else None


def softmax(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node | None:
    """Without a shift that is the same for all, and with its change of dtype as an operation of its own."""
    x = of["self"]
    plain = _shifted(x, of["dim"])
    if node.target is aten._softmax.default or of.get("dtype") is not None:
        dtype = node.meta["val"].dtype
        return _softmax_of(write, write(aten.to.dtype, plain, dtype), of["dim"])
    return None if plain is x else _softmax_of(write, plain, of["dim"])
