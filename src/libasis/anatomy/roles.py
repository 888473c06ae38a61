"""Which dimension of a graph's tensor is the batch, which a position, which a feature; what operations do to them.

A role is one of ``"b"`` (sample), ``"t"`` (position), ``"bt"`` (both in one dimension), ``"f"`` (feature). Features may
be spread over several dimensions (heads). An operation that mixes samples or positions has no roles: `NoMatch`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from torch import SymInt, Tensor, fx

from ..cut.program import aten

Roles = tuple[str, ...]
_BATCH = 1_000_003
"""Stands for the symbolic batch size where sizes are compared: a prime that no model's width is."""


class NoMatch(Exception):  # noqa: N818 - a way to say no, caught inside this package
    """The section is not made of the parts known here; the message completes the sentence 'The section ...'."""


def sizes(node: fx.Node) -> list[int]:
    """The shape of a node with a stand-in for the batch size."""
    return [_number(size) for size in shape(node)]


def shape(node: fx.Node) -> Sequence[Any]:
    """The shape of a node's tensor."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        raise NoMatch(f"computes something that is not a tensor ({node.name})")
    return value.shape


def _number(size: Any) -> int:
    if not isinstance(size, SymInt):
        return int(size)
    return _with_stand_in(size.node.expr)


@lru_cache(maxsize=1024)  # a graph has few expressions, and sympy takes its time
def _with_stand_in(expression: Any) -> int:
    return int(expression.subs({symbol: _BATCH for symbol in expression.free_symbols}))


def after(node: fx.Node, roles: Roles) -> Roles:
    """The roles of a node's dimensions, given those of its one dependent operand.

    Raises:
        NoMatch: the operation is not known to keep samples and positions apart.
    """
    rule = _RULES.get(node.target)  # pyright: ignore[reportArgumentType]
    if rule is None:
        raise NoMatch(f"has an operation that is not affine, {name(node)}")
    return rule(node, roles)


def name(node: fx.Node) -> str:
    """An operation's name as a user may know it."""
    return str(getattr(node.target, "__name__", node.target)).removeprefix("aten.").split(".")[0]


def _same(node: fx.Node, roles: Roles) -> Roles:
    return roles


def _source(node: fx.Node) -> fx.Node:
    first: Any = node.args[0]
    if isinstance(first, (list, tuple)):
        first = first[0]
    return first


def _reshaped(node: fx.Node, roles: Roles) -> Roles:
    """Dimensions are paired in the smallest groups of equal product; no group may hold more than one kind of role."""
    before, now = sizes(_source(node)), sizes(node)
    out: list[str] = []
    i = 0
    for group, members in _groups(before, now):
        kinds = [roles[i + n] for n in range(group) if before[i + n] != 1]
        out.extend(_merge(kinds, [now[len(out) + n] for n in range(members)]))
        i += group
    return tuple(out)


def _groups(before: list[int], now: list[int]) -> list[tuple[int, int]]:
    groups, i, j = [], 0, 0
    while i < len(before) or j < len(now):
        start_i, start_j = i, j
        left = right = 1
        if i < len(before):
            left, i = before[i], i + 1
        if j < len(now):
            right, j = now[j], j + 1
        while left != right:
            if left < right and i < len(before):
                left, i = left * before[i], i + 1
            elif j < len(now):
                right, j = right * now[j], j + 1
            else:
                raise NoMatch("reshapes in a way that cannot be followed")
        groups.append((i - start_i, j - start_j))
    return groups


def _merge(kinds: list[str], now: list[int]) -> list[str]:
    if not kinds or set(kinds) == {"f"}:
        return ["f"] * len(now)
    big = [n for n, size in enumerate(now) if size != 1]
    if len(kinds) == 1 and len(big) == 1:
        return [kinds[0] if n == big[0] else "f" for n in range(len(now))]
    if kinds == ["b", "t"] and len(now) == 1:
        return ["bt"]
    if kinds in (["bt"], ["b", "t"]) and len(now) == 2 and now[0] == _BATCH:
        return ["b", "t"]
    raise NoMatch("joins samples or positions with features in one dimension")


def _permuted(node: fx.Node, roles: Roles) -> Roles:
    if node.target is aten.permute.default:
        order: list[int] = list(node.args[1])  # pyright: ignore
    else:
        order = list(range(len(roles)))
        a, b = (0, 1) if node.target is aten.t.default else (node.args[1], node.args[2])
        order[a], order[b] = order[b], order[a]  # pyright: ignore
    return tuple(roles[i] for i in order)


def _expanded(node: fx.Node, roles: Roles) -> Roles:
    before, now = sizes(_source(node)), sizes(node)
    grown = [i for i, (a, b) in enumerate(zip(before, now, strict=False)) if a != b]
    if len(before) != len(now) or any(roles[i] != "f" for i in grown):
        raise NoMatch("repeats samples or positions")
    return roles


def _on_feature(argument: int, default: int = 0) -> Callable[[fx.Node, Roles], Roles]:
    """Operations along one dimension, which must hold features: slices, parts, repetitions, concatenations."""

    def rule(node: fx.Node, roles: Roles) -> Roles:
        dim: Any = node.args[argument] if len(node.args) > argument else node.kwargs.get("dim", default)
        if not isinstance(dim, int) or roles[dim] != "f":
            raise NoMatch(f"takes samples or positions apart ({name(node)})")
        return roles

    return rule


def _linear(node: fx.Node, roles: Roles) -> Roles:
    if roles[-1] != "f":
        raise NoMatch("multiplies a matrix along samples or positions")
    return roles


def _convolution(node: fx.Node, roles: Roles) -> Roles:
    weight: Any = node.args[1]
    kernel = sizes(weight)[2:]
    stride, padding = (list(_pair(node, i, d, len(kernel))) for i, d in ((3, 1), (4, 0)))
    if roles[1] != "f" or any(k != 1 for k in kernel) or any(s != 1 for s in stride) or any(padding):
        raise NoMatch("has a convolution over several places")
    return roles


def _pair(node: fx.Node, index: int, default: int, n: int) -> Sequence[int]:
    value: Any = node.args[index] if len(node.args) > index else default
    return [value] * n if isinstance(value, int) else list(value) * (n if len(value) == 1 else 1)


def _channels(node: fx.Node, roles: Roles) -> Roles:
    if len(roles) < 2 or roles[1] != "f":
        raise NoMatch("normalises over samples or positions")
    return roles


def _selected(node: fx.Node, roles: Roles) -> Roles:
    dim: Any = node.args[1]
    if roles[dim] in ("b", "bt"):
        raise NoMatch("takes one sample")
    dim %= len(roles)
    return roles[:dim] + roles[dim + 1 :]


def _reduced(node: fx.Node, roles: Roles) -> Roles:
    dims: Any = node.args[1] if len(node.args) > 1 else None
    if dims is None or any(roles[d] != "f" for d in dims):
        raise NoMatch(f"sums over samples or positions ({name(node)})")
    if len(node.args) > 2 and node.args[2]:
        return roles
    gone = {d % len(roles) for d in dims}
    return tuple(role for i, role in enumerate(roles) if i not in gone)


_RULES: dict[Any, Callable[[fx.Node, Roles], Roles]] = {
    **dict.fromkeys(
        [
            aten._to_copy.default, aten.to.dtype, aten.to.dtype_layout, aten.to.device, aten.neg.default,
            aten.add.Tensor, aten.sub.Tensor, aten.rsub.Scalar, aten.mul.Tensor, aten.div.Tensor, aten.mul.Scalar,
            aten.add.Scalar, aten.sub.Scalar, aten.div.Scalar,
        ],
        _same,
    ),
    **dict.fromkeys(
        [
            aten.reshape.default, aten.unflatten.int, aten.flatten.using_ints, aten.unsqueeze.default,
            aten.squeeze.dim, aten.squeeze.dims, aten.squeeze.default,
        ],
        _reshaped,
    ),
    **dict.fromkeys([aten.permute.default, aten.transpose.int, aten.t.default], _permuted),
    **dict.fromkeys([aten.linear.default, aten.mm.default, aten.matmul.default, aten.addmm.default], _linear),
    **dict.fromkeys([aten.conv1d.default, aten.conv2d.default, aten.conv3d.default], _convolution),
    **dict.fromkeys([aten.batch_norm.default, aten._native_batch_norm_legit_no_training.default], _channels),
    **dict.fromkeys([aten.mean.dim, aten.sum.dim_IntList], _reduced),
    aten.expand.default: _expanded,
    aten.select.int: _selected,
    aten.slice.Tensor: _on_feature(1),
    aten.split.Tensor: _on_feature(2),
    aten.split_with_sizes.default: _on_feature(2),
    aten.chunk.default: _on_feature(2),
    aten.repeat_interleave.self_int: _on_feature(2, default=-99),
    aten.cat.default: _on_feature(1),
    operator.getitem: _same,
}  # fmt: skip
