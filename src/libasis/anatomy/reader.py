"""Reading a section's graph backwards: what each value is affine in; where norms, pointwise parts, attention stand."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, fx

from ..cut.functions import Functions
from ..cut.program import Program, aten, is_float, is_size
from .affine import LINEAR
from .contractions import contraction
from .extract import Port
from .heads import HeadNodes, match_heads
from .norms import NormNode, may_be_norm, norm_of
from .places import after, is_elementwise
from .roles import COPIES, NoMatch, Roles, Standing, at, kinds, not_real, sizes

_SUMS = {
    aten.add.Tensor, aten.sub.Tensor, aten.cat.default, aten.stack.default, aten.neg.default, aten.add.Scalar,
    aten.sub.Scalar, aten.rsub.Scalar,
}  # fmt: skip
_PRODUCTS = {aten.mul.Tensor, aten.div.Tensor, aten.mul.Scalar, aten.div.Scalar}
_ONE_OPERAND = {
    aten.reshape.default, aten.unflatten.int, aten.flatten.using_ints, aten.unsqueeze.default, aten.squeeze.dim,
    aten.squeeze.dims, aten.squeeze.default, aten.permute.default, aten.expand.default, aten.select.int,
    aten.slice.Tensor, aten.repeat_interleave.self_int, aten.index_select.default, aten.index.Tensor, aten.flip.default,
    aten.roll.default, aten.narrow.default, aten.mean.dim, aten.sum.dim_IntList, aten.conv1d.default,
    aten.conv2d.default, aten.conv3d.default, aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding,
    aten.batch_norm.default, aten._native_batch_norm_legit_no_training.default, operator.getitem, *COPIES,
}  # fmt: skip
"""Linear, or affine, in their first operand, where the others do not depend on the input."""
_FILLED = {
    aten.zeros_like.default, aten.ones_like.default, aten.full_like.default, aten.new_zeros.default,
    aten.new_ones.default, aten.new_full.default,
}  # fmt: skip
"""One number everywhere, whatever the values of what they are like."""
_ELEMENTWISE = {aten.add.Tensor, aten.sub.Tensor, *_PRODUCTS}


Found = TypeVar("Found")


@dataclass(frozen=True)
class Value:
    """What is known of a node: it is affine, position by position, in some base nodes.

    Attributes:
        roles: of its dimensions.
        bases: the nodes it is affine in.
        read: positions that are left, None for all.
        steady: whether its constant part is the same for all samples and positions.
    """

    roles: Roles
    bases: frozenset[fx.Node]
    read: tuple[int, ...] | None = None
    steady: bool = True


class Reader:
    """Reads one section; every question is answered once.

    Args:
        program: the graph, in normal form.
        source: the input.
        roles: of its dimensions.
        exact: functions in float64.

    Attributes:
        inside: the nodes that depend on the source.
        norms: by node.
        regions: by the last node of each pointwise part, the affine nodes that it is a pointwise function of.
        heads: by the node that an attention writes.
    """

    def __init__(self, program: Program, source: fx.Node, roles: Roles, exact: Functions) -> None:
        self.program, self.source, self.exact = program, source, exact
        self.inside = {source}
        for node in program.graph.nodes:  # what knows the size of a value alone does not depend on it
            if not is_size(node) and node.target not in _FILLED and any(n in self.inside for n in node.all_input_nodes):
                self.inside.add(node)
        self.norms: dict[fx.Node, NormNode] = {}
        self.regions: dict[fx.Node, tuple[fx.Node, ...]] = {}
        self.heads: dict[fx.Node, HeadNodes] = {}
        self._places: dict[fx.Node, Standing | NoMatch] = {source: Standing(roles)}
        self._shallow: dict[fx.Node, Value | NoMatch] = {}
        self._deep: dict[fx.Node, Value | NoMatch] = {}

    def dependent(self, node: fx.Node) -> list[fx.Node]:
        """The operands that depend on the source."""
        return [n for n in node.all_input_nodes if n in self.inside]

    def place(self, node: fx.Node) -> Standing:
        """Where the value of a node stands that keeps samples and positions apart, affine or not.

        Raises:
            NoMatch: it does not.
        """
        return self._asked(node, self._places, lambda n: after(n, {m: self.place(m) for m in self.dependent(n)}))

    @staticmethod
    def _asked(node: fx.Node, known: dict[fx.Node, Found | NoMatch], answer: Callable[[fx.Node], Found]) -> Found:
        if node not in known:
            try:
                known[node] = answer(node)
            except NoMatch as reason:
                known[node] = reason
        found = known[node]
        if isinstance(found, NoMatch):
            raise found
        return found

    def shallow(self, node: fx.Node) -> Value:
        """The value of a node that is affine in the source, or in its norm, alone.

        Raises:
            NoMatch: it is not.
        """
        return self._asked(node, self._shallow, lambda n: self._source_or_norm(n) or self._affine(n, self.shallow))

    def maybe(self, node: fx.Node) -> Value | None:
        """The same, or None where there is none."""
        try:
            return self.shallow(node)
        except NoMatch:
            return None

    def deep(self, node: fx.Node) -> Value:
        """The value of a node that is affine in the source, its norm, pointwise parts and attention.

        Raises:
            NoMatch: it is not.
        """
        return self._asked(node, self._deep, self._read_deep)

    def _read_deep(self, node: fx.Node) -> Value:
        if (value := self.maybe(node)) is not None:
            return value
        if (heads := match_heads(self, node)) is not None:
            if heads.windows is not None or heads.order is not None:
                raise NoMatch(f"has attention among some of the positions, as in windows ({at(node)})")
            self.take(node, heads)
            return Value(heads.roles, frozenset([node]))
        try:
            return self._affine(node, self.deep)
        except NoMatch as reason:
            if not is_elementwise(node):
                raise self._deepest(node, reason) from None
            try:
                return self._region(node)
            except NoMatch as other:
                raise self._deepest(node, other) from None

    def take(self, node: fx.Node, heads: HeadNodes) -> None:
        """A node is what an attention writes."""
        self.heads[node] = heads
        self._places = {n: place for n, place in self._places.items() if isinstance(place, Standing)}
        self._places[node] = Standing(heads.roles, heads.order)

    def _deepest(self, node: fx.Node, reason: NoMatch) -> NoMatch:
        """The reason of an operand that is not read itself, if there is one: it came first."""
        for operand in self.dependent(node):
            found = self._deep.get(operand)
            if isinstance(found, NoMatch):
                return found
        return reason

    def _source_or_norm(self, node: fx.Node) -> Value | None:
        if node is self.source:
            return self._value(node, frozenset([node]), steady=True)
        if not may_be_norm(node, self.inside.__contains__) or not self._is_about_source(node):
            return None
        place = self.place(node)
        source = Port(self.source, self.place(self.source).roles)
        end = Port(node, place.roles)
        if (end.positions, end.width) != (source.positions, source.width) or place.read is not None:
            return None
        run, fixed = self.exact.build([self.source], [node]), self.program.fixed_batch

        def normed(x: Tensor) -> Tensor:
            found = []
            for some in x.split(1 if fixed else len(x)):
                tiled = some[:, None].expand(fixed or len(some), source.positions, -1)
                found.append(end.canonical(run(source.original(tiled))[0])[: len(some), 0])
            return torch.cat(found)

        norm = norm_of(normed, source.width, self.exact.device)
        if norm is None:
            return None
        self.norms[node] = norm
        return self._value(node, frozenset([node]), steady=True)

    def _is_about_source(self, node: fx.Node) -> bool:
        """Whether a value depends on nothing but the source and constants, in a few steps."""
        stack, seen = [node], set()
        while stack:
            current = stack.pop()
            if current in seen or current is self.source:
                continue
            seen.add(current)
            if len(seen) > 24 or any(self.program.taint[n] not in ("", "shape") for n in self._others(current)):
                return False
            stack.extend(self.dependent(current))
        try:
            self.place(node)
        except NoMatch:
            return False
        return True

    def _value(self, node: fx.Node, bases: frozenset[fx.Node], *, steady: bool) -> Value:
        place = self.place(node)
        return Value(place.roles, bases, place.read, steady)

    def _affine(self, node: fx.Node, read: Callable[[fx.Node], Value]) -> Value:
        dependent = self.dependent(node)
        values = [read(n) for n in dependent]
        if not is_float(node):
            raise NoMatch(not_real(node))
        self._check_form(node, dependent)
        roles = self.place(node).roles
        steady = True
        if node.target in _ELEMENTWISE:
            steady = all(self._is_steady(n, roles) for n in self._others(node))
        if node.target in _PRODUCTS and not steady:
            raise NoMatch(f"scales its input by what differs from position to position ({at(node)})")
        bases = frozenset[fx.Node]().union(*(v.bases for v in values))
        return self._value(node, bases, steady=steady and all(v.steady for v in values))

    def _others(self, node: fx.Node) -> list[fx.Node]:
        """The tensors among a node's operands that do not depend on the source."""
        return [n for n in node.all_input_nodes if n not in self.inside and isinstance(n.meta.get("val"), Tensor)]

    def _check_form(self, node: fx.Node, dependent: list[fx.Node]) -> None:
        """Refuse an operation that is not affine in its dependent operands taken together."""
        if node.target in _SUMS:
            return None
        product = contraction(node)
        known = product is not None or node.target in _PRODUCTS or node.target in _ONE_OPERAND
        if not known:
            read = "affine but not read position by position" if node.target in LINEAR else "not affine"
            raise NoMatch(f"has an operation that is {read} ({at(node)})")
        uses = sum(a in self.inside for a in _operands(node.args))
        if len(dependent) != 1 or (uses > 1 and product is None) or (product and product.a is product.b):
            raise NoMatch(f"multiplies values that depend on its input ({at(node)})")
        if product is not None and product.a in self.inside and product.b in self.inside:
            raise NoMatch(f"multiplies values that depend on its input ({at(node)})")
        others = self._others(node)
        if any(self.program.taint[n] != "" for n in others):
            raise NoMatch(f"combines its input with what differs from batch to batch ({at(node)})")
        if product is not None:
            return self._check_same(node, dependent[0])
        if node.args[0] is not dependent[0] and node.target is not aten.mul.Tensor:
            raise NoMatch(f"is not affine in its input ({at(node)})")
        return None

    def _check_same(self, node: fx.Node, dependent: fx.Node) -> None:
        """Refuse a product with a matrix that differs from position to position."""
        product = contraction(node)
        assert product is not None  # noqa: S101 - the caller looked
        x, weight = (product.of_a, product.of_b) if product.a is dependent else (product.of_b, product.of_a)
        for dim, letter in zip(self.place(dependent).roles, x, strict=True):
            if letter is not None and letter in weight and not kinds(dim) <= {"f"}:
                raise NoMatch(f"multiplies by a matrix that differs from position to position ({at(node)})")

    def _is_steady(self, operand: fx.Node, roles: Roles) -> bool:
        """Whether a constant operand of an elementwise operation does not vary over samples and positions."""
        if operand.target in _FILLED:
            return True
        if self.program.taint[operand] != "":
            return False
        return all(
            s == 1 or kinds(dim) <= {"f"} for s, dim in zip(reversed(sizes(operand)), reversed(roles), strict=False)
        )

    def _region(self, node: fx.Node) -> Value:
        """A pointwise part that ends at a node: back through elementwise operations to affine leaves."""
        leaves: dict[fx.Node, None] = {}
        stack, seen = [node], set()
        while stack:
            current = stack.pop()
            if current in seen:
                continue
            seen.add(current)
            if self._descends(current):
                stack.extend(self.dependent(current))
            else:
                leaves[current] = self._leaf(current)
        found = [self.shallow(leaf) for leaf in leaves]
        if len({v.read for v in found}) > 1:
            raise NoMatch(f"joins values at different positions ({at(node)})")
        if any(sizes(leaf) != sizes(node) for leaf in leaves) or len({v.roles for v in found}) > 1:
            raise NoMatch(f"joins values of different shapes in a nonlinear operation ({at(node)})")
        for current in seen - set(leaves):
            spread = any(sizes(n) != sizes(node) for n in self.dependent(current))
            if spread or not all(self._is_steady(n, found[0].roles) for n in self._others(current)):
                raise NoMatch(f"has a nonlinear operation that differs from position to position ({at(current)})")
        if not all(v.steady for v in found):
            raise NoMatch(f"adds what differs from position to position in front of a nonlinear operation ({at(node)})")
        self.regions[node] = tuple(leaves)
        return self._value(node, frozenset([node]), steady=True)

    def _leaf(self, node: fx.Node) -> None:
        """Refuse what is not affine in the input or its norm."""
        try:
            self.shallow(node)
        except NoMatch as reason:
            if not isinstance(deep := self._deep.get(node), Value):
                raise reason
            last = max(deep.bases, key=self.program.order.__getitem__)
            raise NoMatch(f"has another nonlinear operation behind a first one ({at(last)})") from None

    def _descends(self, node: fx.Node) -> bool:
        if node is self.source or node in self.norms or not is_elementwise(node):
            return False
        # an affine operation with one operand is left to the pointwise part too: fewer leaves
        return len(self.dependent(node)) == 1 or self.maybe(node) is None


def _operands(args: Any) -> list[fx.Node]:
    found: list[fx.Node] = []
    fx.map_arg(args, found.append)
    return found
