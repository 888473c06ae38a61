"""Which dimension of a graph's tensor is the batch, which a position, which a feature.

A dimension is a product of atoms, slowest first: ``"b"`` (samples), ``"t"`` (positions, with the step that each makes
in the count of positions), ``"f"`` (features), and between scores and weights ``"s"`` (positions of keys), ``"h"``
(heads) and ``"w"`` (windows, of which a query sees the positions of its own), with steps of their own. A dimension of
size 1 may have none. So samples and heads may share a dimension, and positions may have several.
"""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from torch import SymInt, Tensor, fx

from ..cut.program import aten, is_complex, module_of

_BATCH = 1_000_003
"""Stands for the symbolic batch size where sizes are compared: a prime that no model's width is."""


class Atom(NamedTuple):
    """A factor of a dimension."""

    role: str
    size: int
    step: int = 0


Dim = tuple[Atom, ...]
Roles = tuple[Dim, ...]


class NoMatch(Exception):  # noqa: N818 - a way to say no, caught inside this package
    """The section is not made of the parts known here; the message completes the sentence 'The section ...'."""


def not_read(error: Exception) -> str:
    """The reason where reading a section failed: no error, since other rules hold for it."""
    if isinstance(error, RecursionError):
        return "is too long to be read"
    said = (str(error).splitlines() or [""])[0]
    return f"has a part that could not be read ({type(error).__name__}: {said[:80]})"


@contextlib.contextmanager
def said_of(node: fx.Node) -> Iterator[None]:
    """A reason that names no operation is about this one."""
    try:
        yield
    except NoMatch as reason:
        raise reason if str(reason).endswith(")") else NoMatch(f"{reason} ({at(node)})") from None


class Standing(NamedTuple):
    """Where a value stands.

    Attributes:
        roles: of its dimensions.
        read: positions that are left, or all in another order; None for all in theirs.
    """

    roles: Roles
    read: tuple[int, ...] | None = None


def sizes(node: fx.Node) -> list[int]:
    """The shape of a node with a stand-in for the batch size."""
    value = node.meta.get("val")
    if isinstance(value, (tuple, list)) and value:
        value = value[0]
    if not isinstance(value, Tensor):
        raise NoMatch(f"computes something that is not a tensor ({at(node)})")
    return [_number(size) for size in value.shape]


def _number(size: Any) -> int:
    return _with_stand_in(size.node.expr) if isinstance(size, SymInt) else int(size)


@lru_cache(maxsize=1024)  # a graph has few expressions, and sympy takes its time
def _with_stand_in(expression: Any) -> int:
    return int(expression.subs({symbol: _BATCH for symbol in expression.free_symbols}))


def name(node: fx.Node) -> str:
    """An operation's name as a user may know it."""
    return str(getattr(node.target, "__name__", node.target)).removeprefix("aten.").split(".")[0]


def at(node: fx.Node) -> str:
    """An operation and the module that computes it, for a reason."""
    operation = node.args[0] if node.target is operator.getitem and isinstance(node.args[0], fx.Node) else node
    said, module = name(operation), module_of(node)
    return _KNOWN_AS.get(said, said) + (f" in {module!r}" if module else "")


def not_real(node: fx.Node) -> str:
    """The reason of a node whose value is no real number."""
    return f"makes {'complex numbers' if is_complex(node) else 'integers or booleans'} ({at(node)})"


_KNOWN_AS = {
    "_fft_r2c": "fft.rfft", "_fft_c2r": "fft.irfft", "_fft_c2c": "fft.fft", "_trilinear": "bilinear",
    "_cdist_forward": "cdist", "attention_weights": "scaled_dot_product_attention", "_to_copy": "to",
    "linalg_vector_norm": "norm", "constant_pad_nd": "pad",
}  # fmt: skip


def kinds(dim: Dim) -> set[str]:
    """The roles in a dimension."""
    return {atom.role for atom in dim}


def positions(roles: Roles) -> int:
    """How many positions a value has."""
    return math.prod(atom.size for dim in roles for atom in dim if atom.role == "t")


def joined(atoms: Sequence[Atom]) -> Dim:
    """Atoms as few as they can be."""
    out: list[Atom] = []
    for atom in atoms:
        last = out[-1] if out else None
        if last and last.role == atom.role == "f":
            out[-1] = Atom("f", last.size * atom.size)
        elif last and last.role == atom.role and atom.role in "tshw" and last.step == atom.size * atom.step:
            out[-1] = Atom(atom.role, last.size * atom.size, atom.step)
        elif atom.size != 1 or atom.role in "btsw":
            out.append(atom)
    return tuple(out)


CHOICES = {aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf, aten.where.Scalar}
COPIES = {aten._to_copy.default, aten.to.dtype, aten.to.dtype_layout, aten.to.device}
