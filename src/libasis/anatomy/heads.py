"""Attention in a graph: weights times values, the weights a softmax of products of queries and keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, fx

from ..cut.program import aten, attention_weights, walk
from .norms import CASTS, uncast
from .roles import NoMatch, Roles, sizes

if TYPE_CHECKING:
    from .reader import Reader

_ALONG_FEATURES = {aten.slice.Tensor, aten.cat.default, aten.neg.default, aten.mul.Tensor, aten.add.Tensor,
                   aten.sub.Tensor, aten.unsqueeze.default, aten.stack.default, aten.flatten.using_ints,
                   aten.reshape.default, aten.select.int, aten.repeat_interleave.self_int, aten.expand.default,
                   aten.transpose.int, *CASTS}  # fmt: skip


@dataclass(frozen=True)
class HeadNodes:
    """The nodes of one attention.

    Attributes:
        query: queries as they enter the product, ``[b, H, t, e]``.
        key: keys as they enter the product.
        value: values as they enter the product.
        plain_query: the query before the rotation; the query itself where there is none.
        plain_key: likewise.
        weights: the attention weights ``[b, H, t, s]``.
        scale: c, outside of the products.
        roles: of the output.
    """

    query: fx.Node
    key: fx.Node
    value: fx.Node
    plain_query: fx.Node
    plain_key: fx.Node
    weights: fx.Node
    scale: float
    roles: Roles


def match_heads(reader: Reader, node: fx.Node) -> HeadNodes | None:
    """The attention whose output (before the output matrix) a node is."""
    if node.target not in (aten.matmul.default, aten.bmm.default) or len(reader.dependent(node)) != 2:
        return None
    weights, value = _argument(node, 0), _argument(node, 1)
    scores = _softmax(weights)
    if scores is None:
        return None
    if scores.target is attention_weights:
        query, key, mask = _argument(scores, 0), _argument(scores, 1), [*scores.args, None][2]
        if isinstance(mask, fx.Node) and mask in reader.inside:
            raise NoMatch("has an attention mask that depends on its input")
        scale = scores.kwargs.get("scale")
        found = query, key, sizes(query)[-1] ** -0.5 if scale is None else float(scale)  # pyright: ignore
    else:
        found = _product(reader, scores)
    query, key, scale = found
    roles = reader.shallow(value).roles
    if roles not in (("b", "f", "t", "f"), ("b", "t", "f")):
        raise NoMatch("has attention over something else than positions")
    plain_query, plain_key = (_plain(reader, n, roles) for n in (query, key))
    if not _is_plain(reader, value):
        raise NoMatch("has attention whose values differ from position to position")
    return HeadNodes(query, key, value, plain_query, plain_key, weights, scale, roles)


def _argument(node: fx.Node, index: int) -> fx.Node:
    argument: Any = node.args[index]
    return argument


def _softmax(node: fx.Node) -> fx.Node | None:
    """The scores under a softmax over the keys (or the weights themselves where one operation makes them)."""
    node = uncast(node)
    if node.target is attention_weights:
        return node
    if node.target in (aten.softmax.int, aten._softmax.default) and node.args[1] in (-1, len(sizes(node)) - 1):
        return _argument(node, 0)
    return None


def _product(reader: Reader, node: fx.Node) -> tuple[fx.Node, fx.Node, float]:
    """Queries, keys and scale behind the scores, through masks and biases that do not depend on the input."""
    scale = 1.0
    while True:
        dependent = reader.dependent(node)
        if node.target in (aten.matmul.default, aten.bmm.default) and len(dependent) == 2:
            query, transposed = _argument(node, 0), _argument(node, 1)
            return query, _transposed(transposed), scale
        if len(dependent) != 1:
            raise NoMatch("has attention scores of more than one product")
        if node.target in (aten.mul.Tensor, aten.div.Tensor, aten.mul.Scalar, aten.div.Scalar):
            scale *= _number(reader, node, dependent[0])
        elif not _is_mask(node, dependent[0]):
            raise NoMatch("has attention scores that are not a plain product of queries and keys")
        node = dependent[0]


def _transposed(node: fx.Node) -> fx.Node:
    last = len(sizes(node)) - 1
    if node.target is aten.transpose.int and {d % (last + 1) for d in node.args[1:]} == {last, last - 1}:  # pyright: ignore
        return _argument(node, 0)
    if node.target is aten.permute.default and list(node.args[1]) == [*range(last - 1), last, last - 1]:  # pyright: ignore
        return _argument(node, 0)
    raise NoMatch("has attention scores that are not a plain product of queries and keys")


def _number(reader: Reader, node: fx.Node, dependent: fx.Node) -> float:
    first, second = node.args[:2]
    other = second if first is dependent else first
    divides = node.target in (aten.div.Tensor, aten.div.Scalar)
    if divides and first is not dependent:
        raise NoMatch("divides by its attention scores")
    if isinstance(other, fx.Node):
        value = reader.constant(other)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise NoMatch("scales its attention scores one by one")
        other = float(value)
    return 1.0 / float(other) if divides else float(other)  # pyright: ignore


def _is_mask(node: fx.Node, dependent: fx.Node) -> bool:
    if node.target in CASTS or node.target is aten.add.Tensor:
        return sizes(node) == sizes(dependent)
    if node.target in (aten.masked_fill.Scalar, aten.masked_fill.Tensor):
        return node.args[0] is dependent
    return node.target is aten.where.self and node.args[0] is not dependent


def _plain(reader: Reader, node: fx.Node, roles: Roles) -> fx.Node:
    """The last affine value that all of a query (or key) goes through: before it, weights; after it, a rotation."""
    if _is_plain(reader, node):
        return node
    size = sizes(node)[-1]
    for candidate in sorted(walk([node], reader.dependent), key=reader.program.order.__getitem__, reverse=True):
        fits = _is_plain(reader, candidate) and reader.shallow(candidate).roles == roles
        if fits and sizes(candidate)[-1] == size and _rotates(reader, node, candidate):
            return candidate
    raise NoMatch("has queries or keys that are not affine in its input, up to a rotation by position")


def _is_plain(reader: Reader, node: fx.Node) -> bool:
    """Whether a node is affine, the same at all positions."""
    value = reader.maybe(node)
    return value is not None and value.steady and value.read is None


def _rotates(reader: Reader, node: fx.Node, start: fx.Node) -> bool:
    """Whether a node is linear in ``start`` within each head, the same for all heads, and in nothing else."""
    for current in walk([node], lambda n: () if n is start else reader.dependent(n)):
        if current is start:
            continue
        dependent = reader.dependent(current)
        if current is reader.source or current.target not in _ALONG_FEATURES or not dependent:
            return False
        if current.target is aten.mul.Tensor and not _same_for_heads(reader, current, dependent):
            return False
        if current.target in (aten.add.Tensor, aten.sub.Tensor) and len(dependent) != 2:
            return False
        if current.target in (aten.slice.Tensor, aten.cat.default) and not _along_last(current):
            return False
    return True


def _same_for_heads(reader: Reader, node: fx.Node, dependent: list[fx.Node]) -> bool:
    if len(dependent) != 1:
        return False
    size = sizes(node)
    others = [n for n in node.all_input_nodes if n not in reader.inside and isinstance(n.meta.get("val"), Tensor)]
    return all(
        len(sizes(n)) < len(size) - 2 or sizes(n)[-3] == 1 for n in others if len(sizes(n)) >= 3 and len(size) > 3
    )


def _along_last(node: fx.Node) -> bool:
    dim: Any = node.args[1] if len(node.args) > 1 else 0
    return dim in (-1, len(sizes(node)) - 1)
