"""A graph in fewer words: compound operations are spelled out, so that one mathematics has one spelling.

The normalised graph computes the same values. What remains to be understood are sums, products, contractions (see
`contractions`), moves of dimensions, reductions, softmax and elementwise functions.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import fx

from ..cut.program import Program, aten, draws, known_size
from .composites import inline, is_composite
from .experts import SORTS, unsort
from .softmaxes import log_normalised, quotient, softmax, sunk
from .writer import Writer, given

_DONE: WeakKeyDictionary[fx.Graph, tuple[Program, dict[fx.Node, fx.Node]]] = WeakKeyDictionary()


def normalised(program: Program) -> tuple[Program, dict[fx.Node, fx.Node]]:
    """A program of the same values in normal form, and where each node of the given one is in it.

    The given program stays as it is; it is itself the answer where there is nothing to spell out.
    """
    if program.graph not in _DONE:
        _DONE[program.graph] = _normalise(program)
    return _DONE[program.graph]


def _normalise(program: Program) -> tuple[Program, dict[fx.Node, fx.Node]]:
    if not any(node.target in _RULES or is_composite(node) for node in program.graph.nodes):
        return program, {node: node for node in program.graph.nodes}
    graph, where = fx.Graph(), {}
    graph.graph_copy(program.graph, where)
    with torch.no_grad():
        moved = _spelled_out(graph)
    if not moved:
        return program, {node: node for node in program.graph.nodes}
    mapped = {old: _followed(new, moved) for old, new in where.items()}
    kept = set(mapped.values())
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op == "call_function" and node not in kept:
            graph.erase_node(node)
    new = replace(
        program,
        graph=graph,
        inputs=[replace(leaf, node=mapped[leaf.node]) for leaf in program.inputs],
        outputs={name: mapped[node] for name, node in program.outputs.items()},
        marks={name: mapped[node] for name, node in program.marks.items()},
    )
    return new, mapped


def _spelled_out(graph: fx.Graph) -> dict[fx.Node, fx.Node]:
    """Write a graph in other words; returns what stands in place of what."""
    moved: dict[fx.Node, fx.Node] = {}
    known: dict[tuple[Any, ...], fx.Node] = {}
    for node in [n for n in graph.nodes if n.target not in _RULES and is_composite(n)]:
        _replace(node, partial(inline, graph, node), moved)
    for node in list(graph.nodes):
        if node.op == "call_function" and not draws(node):
            first = known.setdefault((node.target, repr(node.args), repr(node.kwargs)), node)
            if first is not node:
                moved[node] = _followed(first, moved)
                node.replace_all_uses_with(moved[node])
                continue
        if (rule := _RULES.get(node.target)) is not None:  # pyright: ignore
            _replace(node, partial(rule, Writer(graph), node, given(node)), moved)
    for node in [n for n in graph.nodes if n.target in SORTS]:
        with contextlib.suppress(Exception):  # as above
            for old, new in unsort(graph, node, moved).items():
                old.replace_all_uses_with(new)
                moved[old] = new
    return moved


def _replace(node: fx.Node, words: Callable[[], fx.Node | None], moved: dict[fx.Node, fx.Node]) -> None:
    """Put a node's value in other words in its place, where there are some; the same module says them."""
    last = node.prev
    try:
        with node.graph.inserting_before(node):
            new = words()
    except Exception:  # noqa: BLE001 - an operation used in a way not foreseen here stays as it is
        new = None
    while (last := last.next) is not node:
        last.meta.setdefault("nn_module_stack", node.meta.get("nn_module_stack"))
    if new is not None:
        node.replace_all_uses_with(new)
        moved[node] = new


def _followed(node: fx.Node, moved: dict[fx.Node, fx.Node]) -> fx.Node:
    while node in moved:
        node = moved[node]
    return node


Rule = Callable[[Writer, fx.Node, dict[str, Any]], "fx.Node | None"]


def _scaled_sum(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node | None:
    """X + alpha y, and its like."""
    alpha = of.get("alpha", 1)
    if alpha == 1 and node.target is not aten.rsub.Tensor:
        return None
    first, second = of["self"], of["other"]
    if node.target is aten.rsub.Tensor:
        first, second = second, first
        return write(aten.sub.Tensor, first, write.times(second, alpha))
    return write(node.target, first, write.times(second, alpha))


def _sum_of_product(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node:
    """Beta x + alpha a @ b."""
    a, b = (of[name] for name in (("vec1", "vec2") if "vec1" in of else _FACTORS[node.target]))
    product = write.times(write(aten.matmul.default, a, b), of["alpha"])
    if of["beta"] == 0:
        return product
    return write(aten.add.Tensor, write.times(of["self"], of["beta"]), product)


_FACTORS: dict[Any, tuple[str, str]] = {
    aten.addmm.default: ("mat1", "mat2"), aten.baddbmm.default: ("batch1", "batch2"),
    aten.addmv.default: ("mat", "vec"),
}  # fmt: skip


def _pointwise_sum(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node:
    """X + value a b, x + value a / b."""
    operation = aten.mul.Tensor if node.target is aten.addcmul.default else aten.div.Tensor
    part = write.times(write(operation, of["tensor1"], of["tensor2"]), of["value"])
    return write(aten.add.Tensor, of["self"], part)


def _between(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node:
    """X + w (y - x)."""
    step = write(aten.mul.Tensor, write(aten.sub.Tensor, of["end"], of["self"]), of["weight"])
    return write(aten.add.Tensor, of["self"], step)


def _permuted(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node | None:
    """Every change of the order of dimensions as `permute`."""
    x = of["self"]
    n = x.meta["val"].ndim
    if n < 2:
        return None
    order = list(range(n))
    a, b = (of["dim0"], of["dim1"]) if "dim0" in of else (of.get("axis0", -1), of.get("axis1", -2))
    order[a], order[b] = order[b], order[a]
    return write(aten.permute.default, x, order)


def _moved(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node:
    x, pairs = of["self"], (of["source"], of["destination"])
    n = x.meta["val"].ndim
    sources, targets = ([d % n for d in ([p] if isinstance(p, int) else p)] for p in pairs)
    rest = iter([i for i in range(n) if i not in sources])
    at = dict(zip(targets, sources, strict=True))
    return write(aten.permute.default, x, [at[i] if i in at else next(rest) for i in range(n)])


def _cast(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node:
    """To the dtype of another value, which does not matter otherwise."""
    return write(aten.to.dtype, of["self"], node.meta["val"].dtype)


def _grown(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node | None:
    """Spread as another value is."""
    x, other, shape = of["self"], of["other"], node.meta["val"].shape
    same = [None] * (len(shape) - x.meta["val"].ndim) + list(x.meta["val"].shape)
    sizes: list[Any] = []
    for i, (size, own) in enumerate(zip(shape, same, strict=True)):
        known = known_size(size)
        sizes.append(-1 if size == own else write(aten.sym_size.int, other, i) if known is None else known)
    return write(aten.expand.default, x, sizes)


def _tiled(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node:
    """Repeated by spreading a new dimension in front of each that is, and joining the two."""
    x, times = of["self"], of["repeats"]
    lead = len(times) - x.meta["val"].ndim
    for _ in range(lead):
        x = write(aten.unsqueeze.default, x, 0)
    for i, n in reversed(list(enumerate(times))):
        if n != 1:
            x = write(aten.unsqueeze.default, x, i)
            x = write(aten.expand.default, x, [n if k == i else -1 for k in range(x.meta["val"].ndim)])
    sizes = [known_size(size) for size in node.meta["val"].shape]
    return write(aten.reshape.default, x, [-1 if size is None else size for size in sizes])


def _overwritten(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node | None:
    """A slice or a place that is written into a value: what is left of it, side by side."""
    x, source = of["self"], of["src"]
    dim = of["dim"] % x.meta["val"].ndim
    n = known_size(x.meta["val"].shape[dim])
    if (of.get("start", ""), of.get("step", 1)) in ((0, 1), (None, 1)) and of["end"] in (None, 2**63 - 1):
        return source
    if n is None or of.get("step", 1) != 1:
        return None
    if node.target is aten.select_scatter.default:
        of = {"start": of["index"] % n, "end": of["index"] % n + 1}
        source = write(aten.unsqueeze.default, source, dim)
    start, end, _ = slice(of["start"], of["end"]).indices(n)
    parts = [*_stretch(write, x, dim, 0, start), source, *_stretch(write, x, dim, end, n)]
    return source if len(parts) == 1 else write(aten.cat.default, parts, dim)


def _stretch(write: Writer, x: fx.Node, dim: int, start: int, end: int) -> list[fx.Node]:
    """A part of a value along one dimension, out of the parts of which it was made."""
    if start >= end:
        return []
    if x.target is not aten.cat.default or given(x)["dim"] % x.meta["val"].ndim != dim:
        whole = (start, end) == (0, known_size(x.meta["val"].shape[dim]))
        return [x if whole else write.along(x, dim, start, end)]
    found, at = [], 0
    for part in x.args[0]:  # pyright: ignore
        size = known_size(part.meta["val"].shape[dim])  # pyright: ignore
        if size is None:
            return [write.along(x, dim, start, end)]
        found += _stretch(write, part, dim, max(start - at, 0), min(end - at, size))  # pyright: ignore
        at += size
    return found


def _padded(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node | None:
    """Without a padding by nothing."""
    return None if any(of["pad"]) else of["self"]


def _copied(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node | None:
    """What is written over all of a value."""
    old, new = (of[name].meta["val"] for name in ("self", "src"))
    return of["src"] if old.shape == new.shape and old.dtype == new.dtype else None


def _gate(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node | None:
    """One half times the sigmoid of the other; None where the size is not known."""
    x, dim = of["self"], of["dim"]
    if (n := known_size(x.meta["val"].shape[dim])) is None:
        return None
    gate = write(aten.sigmoid.default, write.along(x, dim, n // 2, n))
    return write(aten.mul.Tensor, write.along(x, dim, 0, n // 2), gate)


def _part(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node | None:
    """One of several parts of a value: a slice, or a place."""
    several, index = node.args
    if not isinstance(several, fx.Node) or not isinstance(index, int):
        return None
    of = given(several)
    if several.target is aten.unbind.int:
        return write(aten.select.int, of["self"], of["dim"], index)
    if several.target is aten.max.dim and index == 0:
        return write(aten.amax.default, of["self"], [of["dim"]], of["keepdim"])
    if several.target in _SPREADS:
        centre, spread = aten.mean.dim, _SPREADS[several.target]
        biased = of["correction"] if "correction" in of else int(of["unbiased"])
        biased = 1 if biased is None else biased
        if index == 1:
            return write(centre, of["self"], of["dim"], of["keepdim"])
        return write(spread, of["self"], of["dim"], correction=biased, keepdim=of["keepdim"])
    if several.target in _PARTED:
        sizes = [known_size(part.shape[of["dim"]]) for part in several.meta["val"]]
        if any(size is None for size in sizes):
            return None
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]  # pyright: ignore
        return write.along(of["self"], of["dim"], ends[index] - sizes[index], ends[index])  # pyright: ignore
    return None


_SPREADS: dict[Any, Any] = {
    aten.var_mean.correction: aten.var.correction, aten.var_mean.dim: aten.var.correction,
    aten.std_mean.correction: aten.std.correction, aten.std_mean.dim: aten.std.correction,
}  # fmt: skip
_PARTED = {
    aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default, aten.tensor_split.sections,
    aten.tensor_split.indices, aten.split.sizes,
}  # fmt: skip


def _unary_prelu(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node | None:
    """X above 0 and w x below, with one weight."""
    x, weight = of["self"], of["weight"]
    if weight.meta["val"].numel() != 1:
        return None
    return write(aten.where.self, write(aten.gt.Scalar, x, 0), x, write(aten.mul.Tensor, x, weight))


def _by_pairs(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node | None:
    """A product of three or more as products of two, and of one that only changes the order of dimensions as that."""
    left, arrow, out = of["equation"].replace(" ", "").partition("->")
    parts, tensors = left.split(","), list(of["tensors"])
    if len(parts) == 1 and len(set(left)) == len(left) and sorted(out) == sorted(left):
        return write(aten.permute.default, tensors[0], [left.index(letter) for letter in out])
    if len(parts) < 3 or not arrow or "." in left:
        return None
    while len(parts) > 2:
        later = set(out).union(*parts[2:])
        kept = "".join(sorted({c for c in parts[0] + parts[1] if c in later}))
        tensors[:2] = [write(aten.einsum.default, f"{parts[0]},{parts[1]}->{kept}", tensors[:2])]
        parts[:2] = [kept]
    return write(aten.einsum.default, f"{parts[0]},{parts[1]}->{out}", tensors)


def _together(write: Writer, node: fx.Node, of: dict[str, Any]) -> fx.Node | None:
    """Side by side without what is empty."""
    parts = [x for x in of["tensors"] if 0 not in map(known_size, x.meta["val"].shape)]
    if len(parts) == len(of["tensors"]) or not parts:
        return None
    return parts[0] if len(parts) == 1 else write(aten.cat.default, parts, of["dim"])


_RULES: dict[Any, Rule] = {
    **dict.fromkeys([aten.add.Tensor, aten.sub.Tensor, aten.rsub.Tensor], _scaled_sum),
    **dict.fromkeys(_FACTORS, _sum_of_product),
    **dict.fromkeys([aten.addcmul.default, aten.addcdiv.default], _pointwise_sum),
    **dict.fromkeys([aten.lerp.Tensor, aten.lerp.Scalar], _between),
    **dict.fromkeys(
        [aten.transpose.int, aten.t.default, aten.mT.default, aten.swapaxes.default, aten.swapdims.default,
         aten.adjoint.default],
        _permuted,
    ),
    **dict.fromkeys([aten.movedim.int, aten.movedim.intlist, aten.moveaxis.int, aten.moveaxis.intlist], _moved),
    aten.type_as.default: _cast,
    aten.expand_as.default: _grown,
    aten.repeat.default: _tiled,
    aten.mul.Tensor: sunk,
    aten.cat.default: _together,
    **dict.fromkeys([aten.slice_scatter.default, aten.select_scatter.default], _overwritten),
    aten.copy.default: _copied,
    **dict.fromkeys([aten.pad.default, aten.constant_pad_nd.default], _padded),
    aten.glu.default: _gate,
    operator.getitem: _part,
    aten.prelu.default: _unary_prelu,
    aten.div.Tensor: quotient,
    aten.exp.default: log_normalised,
    aten.einsum.default: _by_pairs,
    **dict.fromkeys([aten.softmax.int, aten._softmax.default], softmax),
}  # fmt: skip
"""By operation: the same value in other words, or None where there are none."""
