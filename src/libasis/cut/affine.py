"""Which sections are affine maps of each position alone: found by reading the graph, operation by operation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, fx

from .program import Program, aten, is_float

_ANY_OPERAND = {aten.add.Tensor, aten.sub.Tensor}
_FIRST_OPERAND = {aten.linear.default, aten.neg.default, aten.div.Tensor, aten.mm.default, aten.matmul.default}
_SCALE = {aten.mul.Tensor, aten.div.Tensor}
_CASTS = {aten._to_copy.default, aten.to.dtype, aten.to.dtype_layout, aten.to.device}
_SINGLE_POSITION = {
    aten.reshape.default, aten.permute.default, aten.transpose.int, aten.t.default, aten.unsqueeze.default,
    aten.squeeze.dim, aten.flatten.using_ints, aten.select.int,
}  # fmt: skip


def is_pointwise_affine(
    program: Program, sources: Sequence[fx.Node], targets: Sequence[fx.Node], *, positions: tuple[int, int]
) -> bool:
    r"""Whether :math:`f_{l+1,t} = W f_{l,t} + b_t` with one W for all samples and positions.

    Only operations known to be affine are let through, and only with the site's value in the operand in which they
    are; anything else (a product of two branches, a softmax, a pool) makes the answer no.

    Args:
        program: the graph.
        sources: the nodes of site l.
        targets: the nodes of site l+1.
        positions: numbers of positions at both sites.
    """
    if len(sources) != 1 or len(targets) != 1 or positions[0] != positions[1]:
        return False
    inside = program.descendants(sources) - set(sources)
    stack, seen = [t for t in targets if t not in sources], set()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        dependent = [a for a in node.all_input_nodes if a in inside or a in sources]
        if not is_float(node) or not _is_affine(program, node, dependent, single=positions[0] == 1):
            return False
        stack.extend(a for a in dependent if a in inside)
    return True


def _is_affine(program: Program, node: fx.Node, dependent: list[fx.Node], *, single: bool) -> bool:
    first = node.args[0] if node.args else None
    if node.target in _ANY_OPERAND or node.target in _CASTS:
        return True
    if node.target is aten.addmm.default:
        return dependent == [node.args[1]] and _same_everywhere(program, node.args[2], 2)
    if len(dependent) != 1:
        return False
    if node.target in _SCALE:
        other = node.args[1] if first is dependent[0] else first
        return (node.target is aten.mul.Tensor or first is dependent[0]) and _same_everywhere(program, other, 1)
    if node.target in _FIRST_OPERAND:
        return first is dependent[0] and all(_same_everywhere(program, a, 2) for a in node.args[1:2])
    return single and node.target in _SINGLE_POSITION and first is dependent[0]


def _same_everywhere(program: Program, operand: object, ndim: int) -> bool:
    """Whether an operand is a number or a constant that cannot vary over samples and positions."""
    if not isinstance(operand, fx.Node):
        return isinstance(operand, (int, float))
    value = operand.meta.get("val")
    return program.taint[operand] == "" and isinstance(value, Tensor) and value.ndim <= ndim
