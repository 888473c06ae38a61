"""Which dimension of a graph's tensor is the batch, which a position, which a feature; what operations do to them.

A dimension is a product of atoms, slowest first: ``"b"`` (samples), ``"t"`` (positions, with the step that each makes in
the count of positions), ``"f"`` (features), and between scores and weights ``"s"`` (positions of keys) and ``"h"`` (heads),
with steps of their own. A dimension of size 1 may have none. So samples and
heads may share a dimension, positions may have several. An operation that mixes samples or positions has no roles:
`NoMatch`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import SymInt, Tensor, fx

from ..cut.program import aten
from .contractions import Contraction, contraction
from .normal_form import given

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


class Place(NamedTuple):
    """Where a value stands.

    Attributes:
        roles: of its dimensions.
        read: positions that are left, None for all.
    """

    roles: Roles
    read: tuple[int, ...] | None = None


def sizes(node: fx.Node) -> list[int]:
    """The shape of a node with a stand-in for the batch size."""
    value = node.meta.get("val")
    if isinstance(value, (tuple, list)) and value:
        value = value[0]
    if not isinstance(value, Tensor):
        raise NoMatch(f"computes something that is not a tensor ({name(node)})")
    return [_number(size) for size in value.shape]


def _number(size: Any) -> int:
    return _with_stand_in(size.node.expr) if isinstance(size, SymInt) else int(size)


@lru_cache(maxsize=1024)  # a graph has few expressions, and sympy takes its time
def _with_stand_in(expression: Any) -> int:
    return int(expression.subs({symbol: _BATCH for symbol in expression.free_symbols}))


def name(node: fx.Node) -> str:
    """An operation's name as a user may know it."""
    return str(getattr(node.target, "__name__", node.target)).removeprefix("aten.").split(".")[0]


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
        elif last and last.role == atom.role and atom.role in "tsh" and last.step == atom.size * atom.step:
            out[-1] = Atom(atom.role, last.size * atom.size, atom.step)
        elif atom.size != 1 or atom.role in "bts":
            out.append(atom)
    return tuple(out)


def after(node: fx.Node, places: dict[fx.Node, Place]) -> Place:
    """Where a node's value stands, given the places of all its dependent operands.

    Raises:
        NoMatch: the operation is not known to keep samples and positions apart.
    """
    product = contraction(node)
    if product is not None:
        return _contracted(node, product, places)
    dependent = [n for n in node.all_input_nodes if n in places]
    if len({places[n].read for n in dependent}) > 1:
        raise NoMatch(f"joins values at different positions ({name(node)})")
    first = dependent[0]
    place, of = places[first], given(node)
    if node.target is operator.getitem:
        return Place(_resized(node, place.roles), place.read)
    if node.target is aten.one_hot.default:
        return Place((*place.roles, joined([Atom("f", sizes(node)[-1])])), place.read)
    if node.target is aten.unsqueeze.default:
        dim = of["dim"] % (len(place.roles) + 1)
        return Place((*place.roles[:dim], (), *place.roles[dim:]), place.read)
    if node.target is aten.view_as_complex.default and kinds(place.roles[-1]) == {"f"}:
        return Place(place.roles[:-1], place.read)
    if node.target is aten.view_as_real.default:
        return Place((*place.roles, (Atom("f", 2),)), place.read)
    if node.target in _SHAPED:
        return Place(_reshaped(place.roles, sizes(node)), place.read)
    if node.target is aten.permute.default:
        return Place(tuple(place.roles[i] for i in of["dims"]), place.read)
    if node.target is aten.expand.default:
        return Place(_expanded(node, place.roles, sizes(first)), place.read)
    if node.target is aten.select.int:
        return _selected(node, place, of)
    if node.target is aten.slice.Tensor and kinds(place.roles[of["dim"]]) == {"t"}:
        return _sliced(node, place, of)
    if node.target is aten.repeat_interleave.self_int and not kinds(place.roles[of["dim"] or 0]) <= {"f"}:
        dim, times = of["dim"] % len(place.roles), joined([Atom("f", of["repeats"])])
        return Place((*place.roles[:dim], joined([*place.roles[dim], *times]), *place.roles[dim + 1 :]), place.read)
    if node.target is aten.index.Tensor and of["self"] not in places:
        return Place(_looked_up(node, of, places), place.read)
    if node.target is aten.index.Tensor:
        return Place(_picks(node, place.roles, of), place.read)
    if node.target in _ALONG:
        return Place(_along(node, place.roles, of), place.read)
    if node.target in (aten.cat.default, aten.stack.default):
        return Place(_together(node, [places[n].roles for n in dependent], of), place.read)
    if node.target in _CONVOLUTIONS:
        return Place(_convolved(node, place.roles, of), place.read)
    if node.target in _REDUCTIONS:
        return Place(_reduced(node, place.roles, of), place.read)
    if node.target in _NORMS:
        return Place(_normed(node, place.roles, of), place.read)
    if _is_elementwise(node):
        return Place(_spread(node, [(sizes(n), places[n].roles) for n in dependent]), place.read)
    raise NoMatch(f"has an operation that is not affine, {name(node)}")


_SHAPED = {
    aten.reshape.default, aten.unflatten.int, aten.flatten.using_ints, aten.squeeze.dim, aten.squeeze.dims,
    aten.squeeze.default,
}  # fmt: skip
_ALONG = {
    aten.slice.Tensor, aten.repeat_interleave.self_int, aten.index_select.default, aten.flip.default,
    aten.roll.default, aten.softmax.int, aten._softmax.default, aten.log_softmax.int, aten.cumsum.default,
    aten.narrow.default, aten.scatter.src, aten.scatter.value, aten.gather.default, aten.topk.default,
    aten.sort.default, aten.max.dim, aten.min.dim,
}  # fmt: skip
_CONVOLUTIONS = {aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.conv1d.padding,
                 aten.conv2d.padding, aten.conv3d.padding}  # fmt: skip
_REDUCTIONS = {
    aten.mean.dim, aten.sum.dim_IntList, aten.var.correction, aten.var.dim, aten.std.correction, aten.std.dim,
    aten.amax.default, aten.amin.default, aten.linalg_vector_norm.default, aten.norm.ScalarOpt_dim,
    aten.logsumexp.default, aten.prod.dim_int, aten.argmax.default, aten.argmin.default,
}  # fmt: skip
_NORMS = {
    aten.layer_norm.default, aten.rms_norm.default, aten.batch_norm.default, aten.group_norm.default,
    aten._native_batch_norm_legit_no_training.default,
}  # fmt: skip
CHOICES = {aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf, aten.where.Scalar}
COPIES = {aten._to_copy.default, aten.to.dtype, aten.to.dtype_layout, aten.to.device}


def _is_elementwise(node: fx.Node) -> bool:
    tags = getattr(node.target, "tags", ())
    return torch.Tag.pointwise in tags or node.target in COPIES or node.target in CHOICES


def _reshaped(roles: Roles, now: Sequence[int]) -> Roles:
    """The atoms in their order, dealt out to the new dimensions; only features and positions can be split."""
    atoms = [atom for dim in roles for atom in dim][::-1]
    out: list[Dim] = []
    for size in now:
        dim, need = [], size
        while need > 1 or (atoms and atoms[-1].size == 1 and not dim):
            if not atoms:
                raise NoMatch("reshapes in a way that cannot be followed")
            atom = atoms.pop()
            if need % atom.size == 0:
                dim.append(atom)
                need //= atom.size
            elif atom.size % need == 0 and atom.role != "b":
                rest = atom.size // need
                atoms.append(Atom(atom.role, rest, atom.step))
                dim.append(Atom(atom.role, need, atom.step * rest))
                need = 1
            else:
                raise NoMatch("joins samples or positions with features in one dimension")
        out.append(joined(dim))
    return tuple(out)


def _expanded(node: fx.Node, roles: Roles, before: Sequence[int]) -> Roles:
    now = sizes(node)
    roles = ((),) * (len(now) - len(before)) + roles
    before = [1] * (len(now) - len(before)) + list(before)
    return tuple(
        dim if a == b else (Atom("f", b),) for dim, a, b in zip(roles, before, now, strict=True)
    )


def _selected(node: fx.Node, place: Place, of: dict[str, Any]) -> Place:
    dim = of["dim"] % len(place.roles)
    found, rest = place.roles[dim], place.roles[:dim] + place.roles[dim + 1 :]
    if kinds(found) <= {"f"}:
        return Place(rest, place.read)
    return Place(rest, _picked(node, place, dim, [of["index"]]))


def _sliced(node: fx.Node, place: Place, of: dict[str, Any]) -> Place:
    dim = of["dim"] % len(place.roles)
    picks = list(range(place.roles[dim][0].size))[slice(of["start"], of["end"], of["step"])]
    read = _picked(node, place, dim, picks)
    return Place((*place.roles[:dim], joined([Atom("t", len(picks), 1)]), *place.roles[dim + 1 :]), read)


def _picked(node: fx.Node, place: Place, dim: int, picks: list[int]) -> tuple[int, ...]:
    """Which positions are left where some of the only dimension of positions are taken."""
    count = positions(place.roles)
    if place.roles[dim] != (Atom("t", count, 1),):
        raise NoMatch(f"takes samples or positions apart ({name(node)})")
    read = place.read if place.read is not None else tuple(range(count))
    return tuple(read[i] for i in picks)


def _along(node: fx.Node, roles: Roles, of: dict[str, Any]) -> Roles:
    """Operations along one dimension or several, which must hold features."""
    dims = of.get("dims", of.get("dim"))
    for dim in _listed(dims):
        if not isinstance(dim, int) or not kinds(roles[dim]) <= {"f"}:
            raise NoMatch(f"takes samples or positions apart ({name(node)})")
    if node.target in (aten.max.dim, aten.min.dim):
        return _reduced(node, roles, of)
    return _resized(node, roles)


def _picks(node: fx.Node, roles: Roles, of: dict[str, Any]) -> Roles:
    """Some of the features along one dimension, by a list of numbers."""
    picks = [(i, index) for i, index in enumerate(of["indices"]) if index is not None]
    plain = len(picks) == 1 and len(sizes(picks[0][1])) == 1 and picks[0][1].meta["val"].dtype != torch.bool
    if not plain or not kinds(roles[picks[0][0]]) <= {"f"}:
        raise NoMatch(f"takes samples or positions apart ({name(node)})")
    return _resized(node, roles)


def _looked_up(node: fx.Node, of: dict[str, Any], places: dict[fx.Node, Place]) -> Roles:
    """Weights that each position picks for itself, as those of an expert."""
    picks = [(i, index) for i, index in enumerate(of["indices"]) if index is not None]
    if len(picks) != 1:
        raise NoMatch(f"takes samples or positions apart ({name(node)})")
    (dim, index), table = picks[0], [joined([Atom("f", size)]) for size in sizes(of["self"])]
    return (*table[:dim], *places[index].roles, *table[dim + 1 :])


def _resized(node: fx.Node, roles: Roles) -> Roles:
    """Dimensions of features in their new sizes."""
    return tuple(
        joined([Atom("f", size)]) if kinds(dim) <= {"f"} else dim
        for dim, size in zip(roles, sizes(node), strict=True)
    )


def _together(node: fx.Node, each: list[Roles], of: dict[str, Any]) -> Roles:
    n = len(sizes(node))
    dim = of["dim"] % n
    if node.target is aten.stack.default:
        each = [(*roles[:dim], (), *roles[dim:]) for roles in each]
    if any(not kinds(roles[dim]) <= {"f"} for roles in each):
        raise NoMatch(f"takes samples or positions apart ({name(node)})")
    each = [_resized(node, roles) for roles in each]
    if len(set(each)) > 1:
        raise NoMatch(f"joins values at different positions ({name(node)})")
    return each[0]


def _convolved(node: fx.Node, roles: Roles, of: dict[str, Any]) -> Roles:
    kernel = sizes(of["weight"])[2:]
    moves = [x for key, still in (("stride", 1), ("padding", 0)) for x in _listed(of[key]) if x not in (still, "same", "valid")]
    if any(k != 1 for k in kernel) or moves:
        raise NoMatch("has a convolution over several places")
    channel = 1 if len(roles) == len(kernel) + 2 else 0
    if not kinds(roles[channel]) <= {"f"}:
        raise NoMatch("has a convolution over several places")
    return tuple(joined([Atom("f", size)]) if i == channel else dim for i, (dim, size) in enumerate(zip(roles, sizes(node), strict=True)))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _reduced(node: fx.Node, roles: Roles, of: dict[str, Any]) -> Roles:
    given_dims = of.get("dim")
    if given_dims is None or given_dims == []:
        raise NoMatch(f"sums over samples or positions ({name(node)})")
    dims = {d % len(roles) for d in _listed(given_dims)}
    if any(not kinds(roles[d]) <= {"f"} for d in dims):
        raise NoMatch(f"sums over samples or positions ({name(node)})")
    if of.get("keepdim"):
        return tuple(() if i in dims else role for i, role in enumerate(roles))
    return tuple(role for i, role in enumerate(roles) if i not in dims)


def _normed(node: fx.Node, roles: Roles, of: dict[str, Any]) -> Roles:
    if node.target in (aten.layer_norm.default, aten.rms_norm.default):
        over = roles[-len(of["normalized_shape"]) :]
    else:
        over = roles[1:2] if "batch_norm" in name(node) else roles[1:]
    if not all(kinds(dim) <= {"f"} for dim in over):
        raise NoMatch("normalises over samples or positions")
    return roles


def _spread(node: fx.Node, operands: list[tuple[list[int], Roles]]) -> Roles:
    """Elementwise: of each dimension, what the operands that have it say."""
    now = sizes(node)
    out: list[Dim] = []
    for i in range(-len(now), 0):
        found = {roles[i] for size, roles in operands if len(size) >= -i and roles[i] and size[i] == now[i]}
        if len(found) > 1:
            raise NoMatch(f"joins values at different positions ({name(node)})")
        out.append(found.pop() if found else joined([Atom("f", now[i])]))
    return tuple(out)


def _contracted(node: fx.Node, product: Contraction, places: dict[fx.Node, Place]) -> Place:
    """Samples and positions must stand in the result, and be the same in all factors that depend on the input."""
    said: dict[Any, Dim] = {}
    read = {places[x].read for x in (product.a, product.b) if x in places}
    if len(read) > 1:
        raise NoMatch(f"joins values at different positions ({name(node)})")
    mine = [(places[x].roles, of) for x, of in ((product.a, product.of_a), (product.b, product.of_b)) if x in places]
    if not mine:
        raise NoMatch(f"has an operation that is not affine, {name(node)}")
    for roles, letters in mine:
        for dim, letter in zip(roles, letters, strict=True):
            if kinds(dim) <= {"f"}:
                continue
            everywhere = all(letter in of for _, of in mine) and letter in product.out and letter is not None
            if not everywhere or said.setdefault(letter, dim) != dim:
                raise NoMatch(f"multiplies a matrix along samples or positions ({name(node)})")
    out = (
        said[letter] if letter in said else joined([Atom("f", size)])
        for letter, size in zip(product.out, sizes(node), strict=True)
    )
    return Place(tuple(out), read.pop())
