"""Reading a section's graph backwards: what each value is affine in; where norms, pointwise parts, attention stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from ..cut.program import Program, aten, is_float, is_size
from .heads import HeadNodes, match_heads
from .norms import NormNodes, match_norm
from .roles import NoMatch, Roles, after, name, sizes

_SUMS = {aten.add.Tensor, aten.sub.Tensor, aten.cat.default}
_PRODUCTS = {aten.mul.Tensor, aten.div.Tensor}
_ELEMENTWISE = """
    relu gelu silu sigmoid tanh elu selu celu leaky_relu softplus hardtanh hardsigmoid hardswish mish relu6
    exp log log1p expm1 sin cos tan asin acos atan sinh cosh erf abs square sqrt rsqrt reciprocal sign pow
    clamp clamp_min clamp_max add sub rsub mul div neg where maximum minimum gt lt ge le eq ne
    logical_and logical_or logical_not to _to_copy softsign threshold hardshrink softshrink log_sigmoid
    logit xlogy sgn zeros_like ones_like
"""
_POINTWISE = {getattr(aten, word) for word in _ELEMENTWISE.split() if hasattr(aten, word)}


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

    Attributes:
        regions: by the last node of each pointwise part, the affine nodes that it is a pointwise function of.
    """

    def __init__(self, program: Program, source: fx.Node, roles: Roles, constant: Callable[[fx.Node], Any]) -> None:
        self.program = program
        self.constant = constant
        self.source = source
        self.inside = {n for n in program.descendants([source]) if not is_size(n)}
        self.values: dict[fx.Node, Value] = {source: Value(roles, frozenset([source]))}
        self.norms: dict[fx.Node, NormNodes] = {}
        self.regions: dict[fx.Node, tuple[fx.Node, ...]] = {}
        self.heads: dict[fx.Node, HeadNodes] = {}
        self._shallow: dict[fx.Node, Value | NoMatch] = {}
        self._deep: dict[fx.Node, Value] = {}

    def dependent(self, node: fx.Node) -> list[fx.Node]:
        """The operands that depend on the source."""
        return [n for n in node.all_input_nodes if n in self.inside]

    def shallow(self, node: fx.Node) -> Value:
        """The value of a node that is affine in the source, or in its norm, alone.

        Raises:
            NoMatch: it is not.
        """
        if node not in self._shallow:
            try:
                self._shallow[node] = self._source_or_norm(node) or self._affine(node, self.shallow)
            except NoMatch as reason:
                self._shallow[node] = reason
        found = self._shallow[node]
        if isinstance(found, NoMatch):
            raise found
        return found

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
        if node not in self._deep:
            self._deep[node] = self._read_deep(node)
        return self._deep[node]

    def _read_deep(self, node: fx.Node) -> Value:
        if (value := self.maybe(node)) is not None:
            return value
        if (heads := match_heads(self, node)) is not None:
            self.heads[node] = heads
            return Value(heads.roles, frozenset([node]))
        try:
            return self._affine(node, self.deep)
        except NoMatch as reason:
            if not self._is_pointwise(node):
                raise reason
        return self._region(node)

    def _source_or_norm(self, node: fx.Node) -> Value | None:
        if node is self.source:
            return self.values[node]
        if (norm := match_norm(self, node)) is None:
            return None
        self.norms[node] = norm
        return Value(self.values[self.source].roles, frozenset([node]))

    def _affine(self, node: fx.Node, read: Callable[[fx.Node], Value]) -> Value:
        dependent = self.dependent(node)
        if not is_float(node):
            raise NoMatch(f"makes integers or booleans ({name(node)})")
        self._check_form(node, dependent)
        values = [read(n) for n in dependent]
        if len({(v.roles, v.read) for v in values}) > 1:
            raise NoMatch(f"joins values at different positions ({name(node)})")
        roles = after(node, values[0].roles)
        elementwise = node.target in _PRODUCTS or node.target in _SUMS - {aten.cat.default}
        if elementwise and any(sizes(n) != sizes(node) for n in dependent):
            raise NoMatch(f"spreads a value over several places ({name(node)})")
        steady = all(self._is_steady(n, values[0].roles) for n in self._others(node)) if elementwise else True
        if node.target in _PRODUCTS and not steady:
            raise NoMatch(f"scales its input by what differs from position to position ({name(node)})")
        bases = frozenset[fx.Node]().union(*(v.bases for v in values))
        return Value(roles, bases, self._read_at(node, values[0]), steady and all(v.steady for v in values))

    def _others(self, node: fx.Node) -> list[fx.Node]:
        """The tensors among a node's operands that do not depend on the source."""
        return [n for n in node.all_input_nodes if n not in self.inside and isinstance(n.meta.get("val"), Tensor)]

    def _check_form(self, node: fx.Node, dependent: list[fx.Node]) -> None:
        """Refuse an operation that is not affine in its dependent operands taken together."""
        if node.target in _SUMS:
            return
        if len(dependent) != 1:
            raise NoMatch(f"multiplies values that depend on its input ({name(node)})")
        others = self._others(node)
        if any(self.program.taint[n] != "" for n in others):
            raise NoMatch(f"combines its input with what differs from batch to batch ({name(node)})")
        if sum(isinstance(a, fx.Node) and a in self.inside for a in node.args) > 1:
            raise NoMatch(f"multiplies values that depend on its input ({name(node)})")
        first: Any = node.args[0]
        if node.target is aten.mul.Tensor:
            return
        if node.target is aten.addmm.default:
            first = node.args[1]
            if len(sizes(others[0])) > 1:
                raise NoMatch("adds what differs from sample to sample")
        if node.target is aten.matmul.default and any(len(sizes(n)) > 2 for n in others):
            raise NoMatch("multiplies by a matrix that differs from sample to sample")
        if first is not dependent[0]:
            raise NoMatch(f"is not affine in its input ({name(node)})")

    def _is_steady(self, operand: fx.Node, roles: Roles) -> bool:
        """Whether a constant operand of an elementwise operation does not vary over samples and positions."""
        if self.program.taint[operand] != "":
            return False
        return all(s == 1 or role == "f" for s, role in zip(reversed(sizes(operand)), reversed(roles), strict=False))

    def _read_at(self, node: fx.Node, value: Value) -> tuple[int, ...] | None:
        if node.target is not aten.select.int:
            return value.read
        dim, index = node.args[1], node.args[2]
        if value.roles[dim] == "f":  # pyright: ignore
            return value.read
        count = sizes(self.dependent(node)[0])[dim]  # pyright: ignore
        places = value.read if value.read is not None else tuple(range(count))
        return (places[index],)  # pyright: ignore

    def _is_pointwise(self, node: fx.Node) -> bool:
        return getattr(node.target, "overloadpacket", None) in _POINTWISE

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
                self.shallow(current)
                leaves[current] = None
        found = [self.shallow(leaf) for leaf in leaves]
        if any(sizes(leaf) != sizes(node) for leaf in leaves) or len({(v.roles, v.read) for v in found}) > 1:
            raise NoMatch("joins values of different shapes in a nonlinear operation")
        for current in seen - set(leaves):
            spread = any(sizes(n) != sizes(node) for n in self.dependent(current))
            if spread or not all(self._is_steady(n, found[0].roles) for n in self._others(current)):
                raise NoMatch(f"has a nonlinear operation that differs from position to position ({name(current)})")
        if not all(v.steady for v in found):
            raise NoMatch("adds what differs from position to position in front of a nonlinear operation")
        self.regions[node] = tuple(leaves)
        return Value(found[0].roles, frozenset([node]), found[0].read)

    def _descends(self, node: fx.Node) -> bool:
        if node is self.source or node in self.norms or not self._is_pointwise(node):
            return False
        # an affine operation with one operand is left to the pointwise part too: fewer leaves
        return len(self.dependent(node)) == 1 or self.maybe(node) is None
