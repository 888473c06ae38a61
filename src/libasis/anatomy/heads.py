"""Attention in a graph: weights times values, the weights a softmax of products of queries and keys."""

from __future__ import annotations

import contextlib
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from ..cut.program import aten, attention_weights, walk
from .contractions import Contraction, Letters, product_of
from .extract import Port
from .places import after
from .roles import Atom, Dim, NoMatch, Roles, Standing, joined, kinds, positions, said_of, sizes
from .writer import given

if TYPE_CHECKING:
    from .reader import Reader


@dataclass(frozen=True, eq=False)
class Operand:
    """Queries, keys or values as they enter their product.

    Attributes:
        node: the tensor.
        features: its dimensions, those that count heads first and in their order.
        heads: the heads that these count; others share them.
    """

    node: fx.Node
    features: list[int]
    heads: Dim


@dataclass(frozen=True, eq=False)
class HeadNodes:
    """The nodes of one attention.

    Attributes:
        query: what asks.
        key: what is looked at.
        value: what is read.
        weights: the attention weights.
        weight_roles: of their dimensions.
        product_roles: of the dimensions of the products of queries and keys.
        path: from the weights back to the product of queries and keys.
        count: how many heads.
        roles: of the output.
        features: dimensions of the output, those that count heads first and in their order.
        order: of the positions as they stand here, where it is another than the input's.
        windows: the positions of each window ``[w, n]``, counted as they stand here; None where all see all.
    """

    query: Operand
    key: Operand
    value: Operand
    weights: fx.Node
    weight_roles: Roles
    product_roles: Roles
    path: list[fx.Node]
    count: int
    roles: Roles
    features: list[int]
    order: tuple[int, ...] | None = None
    windows: Tensor | None = None


def match_heads(reader: Reader, node: fx.Node) -> HeadNodes | None:
    """The attention whose output (before the output matrix) a node is.

    Raises:
        NoMatch: it is one, but not of a kind that is known.
    """
    found = product_of(node)
    if node.target is attention_weights or found is None or not {found.a, found.b} <= reader.inside:
        return None
    with contextlib.suppress(NoMatch):
        reader.place(node)
        return None  # it keeps positions apart
    with said_of(node):
        return _attention(reader, found)


def _attention(reader: Reader, found: Contraction) -> HeadNodes | None:
    for reads in (found, found.swapped()):
        path = _path_to_product(reader, reads.a)
        if path is not None:
            break
    else:
        return None
    product = product_of(path[-1])
    assert product is not None  # noqa: S101 - the path ends at one
    for looks in (product, product.swapped()):
        head_nodes = _matched(reader, reads, looks, path)
        if head_nodes is not None:
            return head_nodes
    raise NoMatch("has attention over something else than positions")


def _path_to_product(reader: Reader, weights: fx.Node) -> list[fx.Node] | None:
    """From weights back to the product of queries and keys, if a softmax stands between."""
    path, node, alone = [], weights, False
    while True:
        path.append(node)
        product = product_of(node)
        whole = node.target is attention_weights or any(n.target is aten.softmax.int for n in path)
        if product is not None and {product.a, product.b} <= reader.inside:
            return path if whole else None
        alone |= product is not None and whole
        dependent = reader.dependent(node)
        if len(dependent) != 1:
            if whole and (dependent or alone):
                what = "whose queries or keys do not depend on its input" if alone else _OTHER_SCORES
                raise NoMatch(f"has attention {what}")
            return None
        node = dependent[0]


_OTHER_SCORES = "scores that are not a plain product of queries and keys"


def _matched(reader: Reader, reads: Contraction, looks: Contraction, path: list[fx.Node]) -> HeadNodes | None:
    """The attention with these factors as queries and keys; None where the softmax does not run over the keys."""
    mask = given_mask(path[-1])
    if mask is not None and mask in reader.inside:
        raise NoMatch("has an attention mask that depends on its input")
    query, key, value = (_whole(reader, n) for n in (looks.a, looks.b, reads.b))
    if not query.read == key.read == value.read:
        raise NoMatch("has attention whose values stand at other positions than its keys")
    roles, atoms = _of_product(looks, query.roles, key.roles)
    weight_roles = _along_path(roles, path)
    if weight_roles is None:
        return None
    out = _of_output(reads, weight_roles, value.roles)
    if out is None:
        return None
    shared = {
        letter: _heads_in(dim) for letter, dim in zip(reads.of_a, weight_roles, strict=True) if letter in reads.of_b
    }
    parts = (
        _operand(looks.a, looks.of_a, query.roles, atoms),
        _operand(looks.b, looks.of_b, key.roles, atoms),
        _operand(reads.b, reads.of_b, value.roles, shared),
    )
    count = math.prod(atom.size for dim in atoms.values() for atom in dim)
    windows = _windows(weight_roles)
    return HeadNodes(*parts, path[0], weight_roles, roles, path, count, *out, query.read, windows)


def _windows(weights: Roles) -> Tensor | None:
    """The positions of each window, ``[w, n]``."""
    found = {role: sorted(_only(role, sum(weights, ())), key=lambda atom: -atom.step) for role in "wts"}
    if not found["w"]:
        return None
    if [atom[1:] for atom in found["t"]] != [atom[1:] for atom in found["s"]]:
        raise NoMatch("has windows in which queries and keys stand at different positions")
    first, own = (_counted(found[role]) for role in "wt")
    return first[:, None] + own


def _counted(atoms: list[Atom]) -> Tensor:
    places = torch.zeros(1, dtype=torch.long)
    for _, size, step in atoms:
        places = (places[:, None] + torch.arange(size) * step).flatten()
    return places


def _only(role: str, dim: Dim) -> list[Atom]:
    return [atom for atom in dim if atom.role == role]


def given_mask(node: fx.Node) -> fx.Node | None:
    """The mask of an operation that makes weights."""
    mask = [*node.args, None, None][2] if node.target is attention_weights else None
    return mask if isinstance(mask, fx.Node) else None


def _whole(reader: Reader, node: fx.Node) -> Standing:
    place = reader.place(node)
    if place.read is not None and len(place.read) != positions(reader.place(reader.source).roles):
        raise NoMatch("has attention to or from some positions only")
    return place


def _of_product(looks: Contraction, query: Roles, key: Roles) -> tuple[Roles, dict[Any, Dim]]:
    """Roles of the scores, and the heads that each letter counts."""
    of_query, of_key = dict(zip(looks.of_a, query, strict=True)), dict(zip(looks.of_b, key, strict=True))
    for letter in [*of_query, *of_key]:
        here, there = of_query.get(letter, ()), of_key.get(letter, ())
        mixed = letter in of_query and letter in of_key and _only("t", here) != _only("t", there)
        if letter is not None and (mixed or ("b" in kinds(here)) != ("b" in kinds(there))):
            raise NoMatch("has attention among some of the positions, as in windows")
        if letter not in looks.out and not kinds(here) | kinds(there) <= {"f"}:
            raise NoMatch("has attention over something else than positions")
    dims = [of_query.get(letter) or of_key.get(letter, ()) if letter is not None else () for letter in looks.out]
    counts = [[atom.size for atom in dim if atom.role == "f"] for dim in dims]
    step = math.prod(math.prod(count) for count in counts)
    roles, heads = [], {}
    for letter, dim in zip(looks.out, dims, strict=True):
        new = []
        for atom in dim:
            if atom.role == "f":
                step //= atom.size
                new.append(Atom("h", atom.size, step))
            else:
                role = "t" if letter not in of_key else "w" if letter in of_query else "s"
                new.append(atom._replace(role=role) if atom.role == "t" else atom)
        roles.append(joined(new))
        heads[letter] = _heads_in(roles[-1])
    return tuple(roles), heads


def _heads_in(dim: Dim) -> Dim:
    return tuple(atom for atom in dim if atom.role == "h")


def _along_path(roles: Roles, path: list[fx.Node]) -> Roles | None:
    """Roles of the weights; None if the softmax runs over something else than keys."""
    place, softmaxes, keys = Standing(roles), 0, None
    for node, before in zip(path[-2::-1], path[:0:-1], strict=True):
        of = given(node)
        if node.target is aten.softmax.int:
            if kinds(place.roles[of["dim"]]) != {"s"}:
                return None
            softmaxes += 1
        elif node.target in (aten.cat.default, aten.slice.Tensor) and kinds(place.roles[of["dim"]]) == {"s"}:
            keys = place.roles[of["dim"]] if keys is None else keys
            place = Standing(_lengthened(node, before, place.roles, of, keys))
        else:
            place = after(node, {before: place})
    fused = path[-1].target is attention_weights
    if fused and kinds(place.roles[-1]) != {"s"}:
        return None
    if softmaxes + fused > 1:
        raise NoMatch("has a softmax of a softmax")
    return place.roles


def _lengthened(node: fx.Node, before: fx.Node, roles: Roles, of: dict[str, Any], keys: Dim) -> Roles:
    """With columns that nothing reads put behind those of the keys (attention sinks), and without them again."""
    dim = of["dim"] % len(roles)
    size, count = sizes(node)[dim], math.prod(atom.size for atom in keys)
    first = (
        of["tensors"][0] is before if node.target is aten.cat.default else of["start"] in (0, None) and of["step"] == 1
    )
    if not first or size < count:
        raise NoMatch(f"has attention {_OTHER_SCORES}")
    return (*roles[:dim], keys if size == count else (Atom("s", size, 1),), *roles[dim + 1 :])


_BEHIND = {"h": lambda atom: Atom("f", atom.size), "w": lambda atom: atom._replace(role="t")}
"""What the roles of weights are in what the heads write."""


def _of_output(reads: Contraction, weights: Roles, value: Roles) -> tuple[Roles, list[int]] | None:
    """Roles of what the heads write, and its dimensions in the order of heads and then of a head's width."""
    of_weights, of_value = dict(zip(reads.of_a, weights, strict=True)), dict(zip(reads.of_b, value, strict=True))
    summed = [letter for letter in of_weights if letter not in reads.out]
    keys = [of_weights[letter] for letter in summed]
    if len(summed) != 1 or [kinds(dim) for dim in keys] != [{"s"}]:
        return None
    if of_value.get(summed[0]) != tuple(atom._replace(role="t") for atom in keys[0]):
        raise NoMatch("has attention whose values stand at other positions than its keys")
    beside = ((_only("t", dim), of_weights.get(letter, ())) for letter, dim in of_value.items() if letter != summed[0])
    if any([a[1:] for a in mine] != [a[1:] for a in _only("w", there)] for mine, there in beside):
        raise NoMatch("has attention among some of the positions, as in windows")
    roles, heads, width = [], [], []
    for i, letter in enumerate(reads.out):
        dim = of_weights.get(letter) or of_value.get(letter, ()) if letter is not None else ()
        (heads if _heads_in(dim) else width).append(i)
        roles.append(joined([_BEHIND[atom.role](atom) if atom.role in _BEHIND else atom for atom in dim]))
    order = [_heads_in(of_weights[reads.out[i]]) for i in heads]
    heads = [i for _, i in sorted(zip(order, heads, strict=True), key=lambda pair: -pair[0][0].step)]
    if len({atom for dim in order for atom in dim}) > 1:
        _check_order([atom for dim in sorted(order, key=lambda dim: -dim[0].step) for atom in dim])
    return tuple(roles), [*heads, *width]


def _check_order(atoms: list[Atom]) -> None:
    for one, other in itertools.pairwise(atoms):
        if one.step != other.step * other.size:
            raise NoMatch("counts its heads in an order that cannot be followed")


def _operand(node: fx.Node, letters: Letters, roles: Roles, heads: dict[Any, Dim]) -> Operand:
    """Queries, keys or values with their dimensions in the order of heads and then of a head's width."""
    by_head, width, atoms = [], [], []
    for i, (letter, dim) in enumerate(zip(letters, roles, strict=True)):
        mine = heads.get(letter, ()) if letter is not None else ()
        features = math.prod(atom.size for atom in dim if atom.role == "f")
        if mine and features == math.prod(atom.size for atom in mine) and features > 1:
            by_head.append(i)
            atoms.extend(mine)
        else:
            width.append(i)
    return Operand(node, [*by_head, *width], tuple(atoms))


def plain(reader: Reader, node: fx.Node) -> fx.Node:
    """The last affine value that all of a query (or key) goes through: before it, weights; after it, a rotation.

    Raises:
        NoMatch: there is none.
    """
    if _is_plain(reader, node):
        return node
    end = Port(node, reader.place(node).roles)
    for candidate in sorted(walk([node], reader.dependent), key=reader.program.order.__getitem__, reverse=True):
        if _is_plain(reader, candidate) and _leads_through(reader, node, candidate):
            start = Port(candidate, reader.place(candidate).roles)
            if start.positions == end.positions and end.width % start.width == 0:
                return candidate
    raise NoMatch("has queries, keys or values that are not affine in its input, up to a rotation by position")


def _is_plain(reader: Reader, node: fx.Node) -> bool:
    """Whether a node is affine, the same at all positions."""
    value = reader.maybe(node)
    return value is not None and value.steady and value.read is None


def _leads_through(reader: Reader, node: fx.Node, start: fx.Node) -> bool:
    """Whether all that a node takes from the source goes through ``start``."""
    reached = walk([node], lambda n: () if n is start else reader.dependent(n))
    return all(n is not reader.source or n is start for n in reached)
