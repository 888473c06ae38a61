"""Products that sum over shared dimensions, however spelled: einsum, matmul, bmm, linear, a sum of a product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from ..cut.program import aten, attention_weights
from .writer import given

Letters = tuple[Any, ...]
"""One for each dimension of a tensor; None where the size is 1 and says nothing."""

_MATRICES = {aten.matmul.default: ("self", "other"), aten.mm.default: ("self", "mat2"),
             aten.bmm.default: ("self", "mat2"), aten.mv.default: ("self", "vec")}  # fmt: skip


@dataclass(frozen=True)
class Contraction:
    """``out = sum a b`` over the letters that are not in ``out``.

    Attributes:
        a: first factor.
        b: second factor.
        of_a: letters of its dimensions.
        of_b: likewise.
        out: of the result.
        bias: added to the result along its last dimension, or None.
    """

    a: fx.Node
    b: fx.Node
    of_a: Letters
    of_b: Letters
    out: Letters
    bias: fx.Node | None = None

    def swapped(self) -> Contraction:
        """The factors the other way round."""
        return Contraction(self.b, self.a, self.of_b, self.of_a, self.out, self.bias)


def product_of(node: fx.Node) -> Contraction | None:
    """What a node contracts, a sum of a product and the scores within fused attention weights included."""
    if node.target is attention_weights:
        lead = tuple(range(_ndim(node) - 2))
        query, key = node.args[:2]
        return Contraction(query, key, (*lead, "row", "sum"), (*lead, "column", "sum"), (*lead, "row", "column"))  # pyright: ignore
    if node.target is aten.sum.dim_IntList:
        return _summed(node, given(node))
    return contraction(node)


def contraction(node: fx.Node) -> Contraction | None:
    """What a node makes of two of its operands, or None if it is something else."""
    if node.op != "call_function":
        return None
    of = given(node)
    if node.target is aten.linear.default:
        x, weight = of["input"], of["weight"]
        lead = tuple(range(_ndim(x) - 1))
        return Contraction(x, weight, (*lead, "in"), ("out", "in"), (*lead, "out"), of.get("bias"))
    if node.target in _MATRICES:
        a, b = (of[name] for name in _MATRICES[node.target])  # pyright: ignore
        return _matrices(node, a, b)
    if node.target is aten.tensordot.default:
        return _tensordot(of)
    if node.target is aten.einsum.default:
        return _einsum(of["equation"], of["tensors"])
    return None


def _ndim(node: fx.Node) -> int:
    return node.meta["val"].ndim


def _lettered(node: fx.Node, letters: Letters) -> Letters:
    """Without letters of dimensions of size 1, which are spread over others."""
    return tuple(None if size == 1 else letter for letter, size in zip(letters, node.meta["val"].shape, strict=True))


def _matrices(node: fx.Node, a: fx.Node, b: fx.Node) -> Contraction | None:
    n, m = _ndim(a), _ndim(b)
    if n == 0 or m == 0:
        return None
    lead = range(-max(n, m), -2)
    of_a = (*[i for i in lead if i >= -n], "row", "sum")[-n:]
    of_b = ("sum",) if m == 1 else (*[i for i in lead if i >= -m], "sum", "column")
    of_a, of_b = ((*_lettered(x, of)[:-2], *of[-2:]) if len(of) > 2 else of for x, of in ((a, of_a), (b, of_b)))
    tail = [*(["row"] if n > 1 else []), *(["column"] if m > 1 else [])]
    out = _lettered(node, (*lead, *tail))
    return Contraction(a, b, of_a, of_b, (*out[: len(out) - len(tail)], *tail))


def _tensordot(of: dict[str, Any]) -> Contraction:
    a, b = of["self"], of["other"]
    of_a, of_b = [("a", i) for i in range(_ndim(a))], [("b", i) for i in range(_ndim(b))]
    for i, j in zip(of["dims_self"], of["dims_other"], strict=True):
        of_b[j] = of_a[i]
    out = [*(c for c in of_a if c not in of_b), *(c for c in of_b if c not in of_a)]
    return Contraction(a, b, tuple(of_a), tuple(of_b), tuple(out))


def _einsum(equation: str, tensors: Any) -> Contraction | None:
    if len(tensors) != 2:
        return None
    left, arrow, out = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if not arrow:
        out = ("..." if "..." in left else "") + "".join(sorted(c for c in set(left) - set(",.") if left.count(c) == 1))
    letters = [_with_dots(part, _ndim(x)) for part, x in zip(parts, tensors, strict=True)]
    if any(len(set(of)) < len(of) for of in letters):
        return None
    most = max((_dots(part, _ndim(x)) for part, x in zip(parts, tensors, strict=True)), default=0)
    of_a, of_b = (_shared(x, of) for x, of in zip(tensors, letters, strict=True))
    known = {c for c in (*of_a, *of_b) if c is not None}
    named = _with_dots(out, most + len(out.replace("...", "")) if "..." in out else len(out))
    return Contraction(tensors[0], tensors[1], of_a, of_b, tuple(c if c in known else None for c in named))


def _shared(x: fx.Node, letters: Letters) -> Letters:
    sizes = x.meta["val"].shape
    return tuple(None if isinstance(c, int) and size == 1 else c for c, size in zip(letters, sizes, strict=True))


def _dots(part: str, ndim: int) -> int:
    return ndim - len(part.replace("...", "")) if "..." in part else 0


def _with_dots(part: str, ndim: int) -> Letters:
    if "..." not in part:
        return tuple(part)
    before, _, after = part.partition("...")
    return (*before, *range(-(ndim - len(before) - len(after)), 0), *after)


def _summed(node: fx.Node, of: dict[str, Any]) -> Contraction | None:
    """A sum over dimensions of a product of two values, each of which is spread over dimensions of the other."""
    product = of["self"]
    if product.target is not aten.mul.Tensor or of["dim"] is None or of.get("dtype") is not None:
        return None
    a, b = product.args
    if not all(isinstance(x, fx.Node) and isinstance(x.meta.get("val"), Tensor) for x in (a, b)):
        return None
    n = _ndim(product)
    dims = {d % n for d in of["dim"]}
    of_a, of_b = (_lettered(x, tuple(range(n - _ndim(x), n))) for x in (a, b))  # pyright: ignore
    if not dims or not all(d in of_a and d in of_b for d in dims):
        return None
    out = [None if i in dims else i for i in range(n) if of["keepdim"] or i not in dims]
    known = {*of_a, *of_b}
    return Contraction(a, b, of_a, of_b, tuple(i if i in known else None for i in out))  # pyright: ignore
