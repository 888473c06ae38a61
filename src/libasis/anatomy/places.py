"""What operations do to the roles of dimensions; one that mixes samples or positions has no place: `NoMatch`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from ..cut.program import aten, attention_weights
from .contractions import Contraction, contraction
from .experts import of_expert
from .roles import CHOICES, COPIES, Atom, Dim, NoMatch, Roles, Standing, at, joined, kinds, name, positions, sizes
from .writer import given

Given = dict[str, Any]
"""An operation's arguments by name."""


def after(node: fx.Node, places: dict[fx.Node, Standing]) -> Standing:
    """Where a node's value stands, given the places of all its dependent operands.

    Raises:
        NoMatch: the operation is not known to keep samples and positions apart.
    """
    dependent = [n for n in node.all_input_nodes if n in places]
    if len({places[n].read for n in dependent}) > 1:
        raise NoMatch(f"joins values at different positions ({at(node)})")
    place, of = places[dependent[0]], given(node)
    if node.target is attention_weights and dependent == [node.args[0]] and kinds(place.roles[-1]) <= {"f"}:
        return Standing(_resized(node, place.roles), place.read)  # of keys that are the same for all
    if (product := contraction(node)) is not None:
        return Standing(_contracted(node, product, places), place.read)
    if node.target in (aten.select.int, aten.slice.Tensor) and "t" in kinds(place.roles[of["dim"]]):
        return _picked(node, place, of)
    if node.target in (aten.roll.default, aten.flip.default):
        return _turned(node, place, of)
    if node.target in (aten.cat.default, aten.stack.default):
        return Standing(_together(node, [places[n].roles for n in dependent], of), place.read)
    if node.target is aten.index.Tensor and of["self"] not in places:
        return Standing(_looked_up(node, of, places), place.read)
    if (rule := _RULES.get(node.target)) is not None:  # pyright: ignore[reportArgumentType]
        return Standing(rule(node, place.roles, of), place.read)
    if is_elementwise(node):
        return Standing(_spread(node, [(sizes(n), places[n].roles) for n in dependent]), place.read)
    raise NoMatch(f"has an operation of which it is not known which positions it reads ({at(node)})")


_UNTAGGED = {
    aten.hardswish.default, aten.log_sigmoid.default, aten.special_erf.default, aten.special_ndtr.default,
    aten.special_expit.default, aten.special_i0.default,
}  # fmt: skip
"""Elementwise operations that torch does not mark as such."""


def is_elementwise(node: fx.Node) -> bool:
    """Whether an operation works on each entry alone."""
    tags = getattr(node.target, "tags", ())
    return torch.Tag.pointwise in tags or node.target in COPIES or node.target in CHOICES or node.target in _UNTAGGED


def _shaped(node: fx.Node, roles: Roles, of: Given) -> Roles:
    return _reshaped(roles, sizes(node))


def _permuted(node: fx.Node, roles: Roles, of: Given) -> Roles:
    return tuple(roles[i] for i in of["dims"])


def _unsqueezed(node: fx.Node, roles: Roles, of: Given) -> Roles:
    dim = of["dim"] % (len(roles) + 1)
    return (*roles[:dim], (), *roles[dim:])


def _complex(node: fx.Node, roles: Roles, of: Given) -> Roles:
    if node.target is aten.view_as_real.default:
        return (*roles, (Atom("f", 2),))
    if kinds(roles[-1]) != {"f"}:
        raise NoMatch(f"takes samples or positions apart ({at(node)})")
    return roles[:-1]


def _one_hot(node: fx.Node, roles: Roles, of: Given) -> Roles:
    return (*roles, joined([Atom("f", sizes(node)[-1])]))


def _repeated(node: fx.Node, roles: Roles, of: Given) -> Roles:
    dim = (of["dim"] or 0) % len(roles)
    if of["dim"] is None or kinds(roles[dim]) <= {"f"}:
        return _along(node, roles, of)
    return (*roles[:dim], joined([*roles[dim], Atom("f", of["repeats"])]), *roles[dim + 1 :])


def _reshaped(roles: Roles, now: Sequence[int]) -> Roles:
    """The atoms in their order, dealt out to the new dimensions; only features and positions can be split."""
    atoms = [atom for dim in roles for atom in dim][::-1]
    out: list[Dim] = []
    for i, size in enumerate(now):
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
        while atoms and atoms[-1].size == 1 and atoms[-1].role != "f" and now[i + 1 : i + 2] != [1]:
            dim.append(atoms.pop())  # the only position, with the samples rather than with features
        out.append(joined(dim))
    return tuple(out)


def _expanded(node: fx.Node, roles: Roles, of: Given) -> Roles:
    now, before = sizes(node), sizes(of["self"])
    roles = ((),) * (len(now) - len(before)) + roles
    before = [1] * (len(now) - len(before)) + before
    return tuple(dim if a == b else (Atom("f", b),) for dim, a, b in zip(roles, before, now, strict=True))


def _picked(node: fx.Node, place: Standing, of: Given) -> Standing:
    """Some positions, or one, where one dimension has them all."""
    dim = of["dim"] % len(place.roles)
    count = positions(place.roles)
    if place.roles[dim] != (Atom("t", count, 1),):
        raise NoMatch(f"takes samples or positions apart ({at(node)})")
    read = list(range(count)) if place.read is None else list(place.read)
    if node.target is aten.select.int:
        return Standing(place.roles[:dim] + place.roles[dim + 1 :], (read[of["index"]],))
    read = read[slice(of["start"], of["end"], of["step"])]
    return Standing((*place.roles[:dim], (Atom("t", len(read), 1),), *place.roles[dim + 1 :]), tuple(read))


def _turned(node: fx.Node, place: Standing, of: Given) -> Standing:
    """Positions in another order, turned round or rolled along dimensions that hold nothing else."""
    count, dims = positions(place.roles), [d % len(place.roles) for d in _listed(of["dims"])]
    read = torch.arange(count) if place.read is None else torch.tensor(place.read)
    for dim, by in zip(dims, _listed(of.get("shifts", [0] * len(dims))), strict=True):
        if kinds(place.roles[dim]) <= {"f"} or ("shifts" in of and by == 0):
            continue
        if len(place.roles[dim]) != 1 or place.roles[dim][0].role != "t":
            raise NoMatch(f"takes samples or positions apart ({at(node)})")
        ((_, size, step),) = place.roles[dim]
        here = torch.arange(count)
        now = here // step % size
        before = (now - by) % size if "shifts" in of else size - 1 - now
        read = read[here + (before - now) * step]
    found = tuple(read.tolist())
    return Standing(_resized(node, place.roles), None if found == tuple(range(count)) else found)


def _selected(node: fx.Node, roles: Roles, of: Given) -> Roles:
    dim = of["dim"] % len(roles)
    if not kinds(roles[dim]) <= {"f"}:
        raise NoMatch("takes one sample")
    return roles[:dim] + roles[dim + 1 :]


def _along(node: fx.Node, roles: Roles, of: Given) -> Roles:
    """Operations along one dimension or several, which must hold features."""
    dims = of.get("dims", of.get("dim"))
    for dim in _listed(dims):
        if not isinstance(dim, int) or not kinds(roles[dim]) <= {"f"}:
            raise NoMatch(f"takes samples or positions apart ({at(node)})")
    if node.target in (aten.max.dim, aten.min.dim):
        return _reduced(node, roles, of)
    return _resized(node, roles)


def _picks(node: fx.Node, roles: Roles, of: Given) -> Roles:
    """Some of the features along one dimension, by a list of numbers."""
    picks = [(i, index) for i, index in enumerate(of["indices"]) if index is not None]
    plain = len(picks) == 1 and len(sizes(picks[0][1])) == 1 and picks[0][1].meta["val"].dtype != torch.bool
    if not all(kinds(roles[dim]) <= {"f"} for dim, _ in picks):
        raise NoMatch(f"takes samples or positions apart ({at(node)})")
    if not plain:
        raise NoMatch(f"picks by booleans, or by more than one list ({at(node)})")
    return _resized(node, roles)


def _looked_up(node: fx.Node, of: Given, places: dict[fx.Node, Standing]) -> Roles:
    """Weights that each position picks for itself, as those of an expert."""
    picks = [(i, index) for i, index in enumerate(of["indices"]) if index is not None]
    if len(picks) != 1:
        raise NoMatch(f"takes samples or positions apart ({at(node)})")
    (dim, index), table = picks[0], [joined([Atom("f", size)]) for size in sizes(of["self"])]
    return (*table[:dim], *places[index].roles, *table[dim + 1 :])


def _resized(node: fx.Node, roles: Roles) -> Roles:
    """Dimensions of features in their new sizes."""
    return tuple(
        joined([Atom("f", size)]) if kinds(dim) <= {"f"} else dim for dim, size in zip(roles, sizes(node), strict=True)
    )


def _together(node: fx.Node, each: list[Roles], of: Given) -> Roles:
    n = len(sizes(node))
    dim = of["dim"] % n
    if node.target is aten.stack.default:
        each = [(*roles[:dim], (), *roles[dim:]) for roles in each]
    if any(not kinds(roles[dim]) <= {"f"} for roles in each):
        raise NoMatch(f"takes samples or positions apart ({at(node)})")
    each = [_resized(node, roles) for roles in each]
    if len(set(each)) > 1:
        raise NoMatch(f"joins values at different positions ({at(node)})")
    return each[0]


def _convolved(node: fx.Node, roles: Roles, of: Given) -> Roles:
    kernel = sizes(of["weight"])[2:]
    moves = [
        x
        for key, still in (("stride", 1), ("padding", 0))
        for x in _listed(of[key])
        if x not in (still, "same", "valid")
    ]
    if any(k != 1 for k in kernel) or moves:
        raise NoMatch(f"has a convolution over several places ({at(node)})")
    channel = 1 if len(roles) == len(kernel) + 2 else 0
    if not kinds(roles[channel]) <= {"f"}:
        raise NoMatch(f"has a convolution over several places ({at(node)})")
    return tuple(
        joined([Atom("f", size)]) if i == channel else dim
        for i, (dim, size) in enumerate(zip(roles, sizes(node), strict=True))
    )


def _of_expert(node: fx.Node, roles: Roles, of: Given) -> Roles:
    return (*roles[:-1], joined([Atom("f", sizes(node)[-1])]))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _reduced(node: fx.Node, roles: Roles, of: Given) -> Roles:
    given_dims = of.get("dim")
    if given_dims is None or given_dims == []:
        raise NoMatch(f"sums over samples or positions ({at(node)})")
    dims = {d % len(roles) for d in _listed(given_dims)}
    if any(not kinds(roles[d]) <= {"f"} for d in dims):
        raise NoMatch(f"sums over samples or positions ({at(node)})")
    if of.get("keepdim"):
        return tuple(() if i in dims else role for i, role in enumerate(roles))
    return tuple(role for i, role in enumerate(roles) if i not in dims)


def _normed(node: fx.Node, roles: Roles, of: Given) -> Roles:
    if node.target in (aten.layer_norm.default, aten.rms_norm.default):
        over = roles[-len(of["normalized_shape"]) :]
    else:
        over = roles[1:2] if "batch_norm" in name(node) else roles[1:]
    if not all(kinds(dim) <= {"f"} for dim in over):
        raise NoMatch(f"normalises over samples or positions ({at(node)})")
    return roles


def _spread(node: fx.Node, operands: list[tuple[list[int], Roles]]) -> Roles:
    """Elementwise: of each dimension, what the operands that have it say."""
    now = sizes(node)
    out: list[Dim] = []
    for i in range(-len(now), 0):
        found = {roles[i] for size, roles in operands if len(size) >= -i and roles[i] and size[i] == now[i]}
        if len(found) > 1:
            raise NoMatch(f"joins values at different positions ({at(node)})")
        out.append(found.pop() if found else joined([Atom("f", now[i])]))
    return tuple(out)


def _contracted(node: fx.Node, product: Contraction, places: dict[fx.Node, Standing]) -> Roles:
    """Samples and positions must stand in the result, and be the same in all factors that depend on the input."""
    said: dict[Any, Dim] = {}
    mine = [(places[x].roles, of) for x, of in ((product.a, product.of_a), (product.b, product.of_b)) if x in places]
    if not mine:
        raise NoMatch(f"has an operation of which it is not known which positions it reads ({at(node)})")
    for roles, letters in mine:
        for dim, letter in zip(roles, letters, strict=True):
            if kinds(dim) <= {"f"}:
                continue
            everywhere = all(letter in of for _, of in mine) and letter in product.out and letter is not None
            if not everywhere or said.setdefault(letter, dim) != dim:
                raise NoMatch(f"multiplies a matrix along samples or positions ({at(node)})")
    return tuple(
        said[letter] if letter in said else joined([Atom("f", size)])
        for letter, size in zip(product.out, sizes(node), strict=True)
    )


_RULES: dict[Any, Callable[[fx.Node, Roles, Given], Roles]] = {
    **dict.fromkeys(
        [
            aten.reshape.default, aten.unflatten.int, aten.flatten.using_ints, aten.squeeze.dim, aten.squeeze.dims,
            aten.squeeze.default,
        ],
        _shaped,
    ),
    **dict.fromkeys(
        [
            aten.slice.Tensor, aten.index_select.default, aten.softmax.int,
            aten.log_softmax.int, aten.cumsum.default, aten.narrow.default, aten.scatter.src, aten.scatter.value,
            aten.gather.default, aten.topk.default, aten.sort.default, aten.max.dim, aten.min.dim,
        ],
        _along,
    ),
    **dict.fromkeys(
        [
            aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.conv1d.padding, aten.conv2d.padding,
            aten.conv3d.padding,
        ],
        _convolved,
    ),
    **dict.fromkeys(
        [
            aten.mean.dim, aten.sum.dim_IntList, aten.var.correction, aten.var.dim, aten.std.correction, aten.std.dim,
            aten.amax.default, aten.amin.default, aten.linalg_vector_norm.default, aten.norm.ScalarOpt_dim,
            aten.logsumexp.default, aten.prod.dim_int, aten.argmax.default, aten.argmin.default,
        ],
        _reduced,
    ),
    **dict.fromkeys(
        [
            aten.layer_norm.default, aten.rms_norm.default, aten.batch_norm.default, aten.group_norm.default,
            aten._native_batch_norm_legit_no_training.default,
        ],
        _normed,
    ),
    of_expert: _of_expert,
    aten.permute.default: _permuted,
    aten.unsqueeze.default: _unsqueezed,
    aten.expand.default: _expanded,
    aten.select.int: _selected,
    aten.index.Tensor: _picks,
    aten.repeat_interleave.self_int: _repeated,
    aten.one_hot.default: _one_hot,
    aten.view_as_complex.default: _complex,
    aten.view_as_real.default: _complex,
    operator.getitem: lambda node, roles, of: _resized(node, roles),
}  # fmt: skip
