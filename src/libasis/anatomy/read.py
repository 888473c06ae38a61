"""From a section's graph to its anatomy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx

from ..cut import Context
from ..cut.functions import Functions
from ..cut.subgraph import Subgraph
from ..types import Matrix, Vector
from .components import Anatomy, Attention, Norm, Pointwise, Values, values_batch
from .extract import Port, linear_maps
from .head_maps import first_of, for_all, index_of, number, picked, scaled, side_by_side, weights_view
from .heads import HeadNodes, Operand, plain
from .normal_form import normalised
from .reader import Reader
from .roles import Atom, Dim, NoMatch, Roles, joined, not_read, sizes
from .rotation import rotation
from .scores import check_way, scale_of_heads
from .verify import differs

_READ: WeakKeyDictionary[Subgraph, Anatomy | str] = WeakKeyDictionary()


def read(context: Context) -> Anatomy | str:
    """What a section is made of, or the reason why it has no anatomy (completing "The section ...").

    The graph is read once; later calls return the same object.
    """
    subgraph = context.subgraph
    if subgraph is None:
        return "is a plain callable, whose inside cannot be read"
    if subgraph not in _READ:
        _READ[subgraph] = _read(subgraph, context)
    return _READ[subgraph]


def _read(subgraph: Subgraph, context: Context) -> Anatomy | str:
    try:
        with torch.no_grad():
            section = SectionReading(subgraph, context.values)
            found = section.anatomy()
            wrong = differs(section.run, found, context, section.positions)
            return "has parts that do not add up to it" if wrong else found
    except NoMatch as reason:
        return str(reason)
    except Exception as error:  # noqa: BLE001 - a closed form is never worth a failure: the exact rule stays
        return not_read(error)


@dataclass(frozen=True)
class _Map:
    """An affine map of u: W ``[rows, d]`` and b ``[rows]``."""

    W: Matrix
    b: Vector


class SectionReading:
    """Reads one section and takes its matrices."""

    def __init__(self, subgraph: Subgraph, values: Values) -> None:
        if len(subgraph.source.nodes) != 1 or len(subgraph.target.nodes) != 1:
            raise NoMatch("joins several tensors at one of its sites")
        if any(subgraph.program.taint[node] == "value" for node in subgraph.context):
            raise NoMatch("goes on beside values that are held")
        self.program, where = normalised(subgraph.program)
        self.fixed, self.values = self.program.fixed_batch, values
        given = subgraph.functions
        self.exact = Functions(self.program, torch.float64, given.device)
        same = self.program is subgraph.program
        self.functions = given if same else Functions(self.program, given.dtype, given.device)
        self.context = [where[node] for node in subgraph.context]
        self.source, self.target = where[subgraph.source.nodes[0]], where[subgraph.target.nodes[0]]
        layout, self.end = subgraph.source.layouts[0], subgraph.target.layouts[0]
        if not layout.feature:
            raise NoMatch("has an input without features")
        roles = _roles(layout.batch, layout.feature, layout.shape, sizes(self.source)[layout.batch])
        self.reader = Reader(self.program, self.source, roles, self.exact)
        self.positions, self.d = layout.positions, layout.features

    def run(self, x: Tensor, values: Values) -> Tensor:
        """The section in float64, ``[batch, t, d]``."""
        start, end = (Port(n, self.reader.place(n).roles) for n in (self.source, self.target))
        return end.canonical(
            self.exact.build([self.source, *self.context], [self.target])(start.original(x), *values)[0]
        )

    def build(self, starts: Sequence[fx.Node], ends: Sequence[fx.Node]) -> Callable[..., tuple[Tensor, ...]]:
        """As the model computes it; without its own casts (a softmax in float32) where it is given float64."""
        given, exact = self.functions.build(starts, ends), self.exact.build(starts, ends)
        return lambda *x: (exact if x[0].dtype == torch.float64 else given)(*x)

    def anatomy(self) -> Anatomy:
        """Everything, checked to be of one kind."""
        out = self.reader.deep(self.target)
        end = Port(self.target, out.roles)
        if (end.positions, end.width) != (self.end.positions, self.end.features):
            raise NoMatch("has an output whose features are spread over several dimensions")
        bases = sorted(out.bases, key=self.program.order.__getitem__)
        maps, _ = linear_maps(self.exact, [self._base(n) for n in bases], end, self.fixed)
        into = dict(zip(bases, maps, strict=True))
        norms = self._used_norms(bases)
        if len(norms) > 1:
            raise NoMatch("has two different norms of its input")
        attentions = [self._attention(self.reader.heads[n], into[n]) for n in bases if n in self.reader.heads]
        found = Anatomy(
            d=self.d,
            d_out=end.width,
            skip=into.get(self.source),
            norm=next(iter(norms), None),
            pointwise=tuple(self._branches(bases, into)),
            attention=side_by_side(attentions) if attentions else None,
            read=out.read,
        )
        if norms and self.plain:
            raise NoMatch("has branches with and without the norm")
        return found

    def _used_norms(self, bases: Sequence[fx.Node]) -> set[Norm]:
        """The norms that the branches read; `plain` becomes whether a branch reads the source itself."""
        read: set[fx.Node] = {n for n in bases if n in self.reader.norms}
        for base in bases:
            leaves: list[fx.Node] = []
            if base in self.reader.regions:
                leaves = list(self.reader.regions[base])
            elif base in self.reader.heads:
                heads = self.reader.heads[base]
                leaves = [plain(self.reader, part.node) for part in (heads.query, heads.key, heads.value)]
            for leaf in leaves:
                read |= self.reader.shallow(leaf).bases
        self.plain = self.source in read
        return {self.reader.norms[n].norm for n in read if n is not self.source}

    def _base(self, node: fx.Node) -> Port:
        heads = self.reader.heads.get(node)
        return Port(node, heads.roles, heads.features) if heads else Port(node, self.reader.deep(node).roles)

    def _of_u(self, node: fx.Node, features: Sequence[int] | None = None) -> _Map:
        """A node that is affine in u, as a map of u; gains and shifts of norms are folded."""
        value = self.reader.shallow(node)
        bases = sorted(value.bases, key=self.program.order.__getitem__)
        ports = [Port(n, self.reader.shallow(n).roles) for n in bases]
        maps, b = linear_maps(self.exact, ports, Port(node, value.roles, features), self.fixed)
        total = torch.zeros_like(maps[0])
        for base, W in zip(bases, maps, strict=True):
            norm = self.reader.norms.get(base)
            if norm is not None:
                b = b + W @ norm.shift
            total += W if norm is None else W * norm.gain
        return _Map(total, b)

    def _branches(self, bases: Sequence[fx.Node], into: dict[fx.Node, Matrix]) -> list[Pointwise]:
        branches = []
        for base in bases:
            if base in self.reader.norms:  # the norm's output itself reaches the output
                u = self._of_u(base)
                eye = torch.eye(self.d, dtype=torch.float64, device=u.W.device)[None]
                B = into[base] @ u.W
                branches.append(Pointwise(eye, torch.zeros_like(eye[:, 0]), B, lambda a: a))
            elif base in self.reader.regions:
                branches.append(self._pointwise(base, into[base]))
        return branches

    def _pointwise(self, node: fx.Node, B: Matrix) -> Pointwise:
        leaves = list(self.reader.regions[node])
        maps = [self._of_u(leaf) for leaf in leaves]
        ports = [Port(leaf, self.reader.shallow(leaf).roles) for leaf in leaves]
        end = Port(node, self.reader.deep(node).roles)
        run = self.build(leaves, [node])

        def activate(*a: Tensor) -> Tensor:
            spread = (port.spread(x) for port, x in zip(ports, a, strict=True))
            return end.gather(run(*spread)[0], a[0].shape[1])

        return Pointwise(torch.stack([m.W for m in maps]), torch.stack([m.b for m in maps]), B, activate)

    def _attention(self, heads: HeadNodes, W_O: Matrix) -> Attention:
        H, e = heads.count, Port(heads.query.node, self.reader.place(heads.query.node).roles).width
        e //= number(heads.query.heads)
        turns, maps = [], []
        for part in (heads.query, heads.key):
            before, own, turn = plain(self.reader, part.node), index_of(part.heads, H), None
            found = self._of_u(before, part.features if before is part.node else None)
            if before is not part.node:
                groups, run = len(found.b) // e, self._turned(before, part)
                shared = torch.arange(groups)
                if groups != number(part.heads):
                    shared = self._shared(run, groups, e, found.b)
                run, own = for_all(run, own, shared[own], groups), shared[own]
                turn = rotation(run, found.b.new_zeros(1, self.positions, H, e), self.values, self.fixed)
            turns.append(turn)
            maps.append((found.W.view(-1, e, self.d)[own], found.b.view(-1, e)[own]))
        if plain(self.reader, heads.value.node) is not heads.value.node:
            raise NoMatch("has attention whose values differ from position to position")
        found, own = self._of_u(heads.value.node, heads.value.features), index_of(heads.value.heads, H)
        v = len(found.b) // number(heads.value.heads)
        maps.append((found.W.view(-1, v, self.d)[own], found.b.view(-1, v)[own]))
        (W_Q, b_Q), (W_K, b_K), (W_V, b_V) = maps
        pattern = self.pattern(heads)
        found = Attention(W_Q, W_K, W_V, b_Q, b_K, b_V, W_O.view(-1, H, v), 1.0, pattern, *turns)
        check_way(heads.path, self.reader.inside)
        like = found.b_Q.new_empty(values_batch(self.values, self.fixed), self.positions, H * e)
        return scaled(
            found,
            scale_of_heads(pattern, like, self.values, *(index_of(part.heads, H) for part in (heads.query, heads.key))),
        )

    def _turned(self, before: fx.Node, part: Operand) -> Callable[[Tensor, Values], Tensor]:
        start, end = (Port(n, self.reader.place(n).roles, f) for n, f in ((before, None), (part.node, part.features)))
        run = self.build([before, *self.context], [part.node])
        return lambda x, values: end.canonical(run(start.original(x), *values)[0])

    def pattern(self, heads: HeadNodes) -> Callable[[Tensor, Tensor, Values], Tensor]:
        """From rotated queries and keys of all heads and the context values to the weights."""
        ports = [
            Port(part.node, self.reader.place(part.node).roles, part.features) for part in (heads.query, heads.key)
        ]
        firsts = [first_of(index_of(part.heads, heads.count)) for part in (heads.query, heads.key)]
        run = self.build([heads.query.node, heads.key.node, *self.context], [heads.weights])
        view = weights_view(heads.weight_roles, heads.count)

        def pattern(q: Tensor, k: Tensor, values: Values) -> Tensor:
            raw = (
                port.original(picked(x, heads.count, first))
                for port, first, x in zip(ports, firsts, (q, k), strict=True)
            )
            return view(run(*raw, *values)[0])

        return pattern

    def _shared(self, rotate: Callable[[Tensor, Values], Tensor], groups: int, e: int, like: Tensor) -> Tensor:
        """Which group of keys each head reads."""
        batch = values_batch(self.values, self.fixed)
        dtype = self.functions.dtype or torch.get_default_dtype()
        x = torch.zeros(batch, self.positions, groups, e, dtype=dtype, device=like.device)
        x += torch.arange(1, groups + 1, dtype=dtype, device=like.device)[:, None]
        size = rotate(x.flatten(2), self.values).unflatten(-1, (-1, e)).square().sum((0, 1, 3))
        one = torch.zeros_like(x)
        one[:, :, 0] = 1.0
        unit = rotate(one.flatten(2), self.values).unflatten(-1, (-1, e)).square().sum((0, 1, 3)).max()
        return (size / unit).sqrt().round().long() - 1


def _roles(batch: int, feature: int, shape: Sequence[int], samples: int) -> Roles:
    """Roles of a tensor's dimensions from its layout (the feature counted after the batch was moved to the front)."""
    step = math.prod(size for i, size in enumerate(shape, 1) if i != feature)
    dims: list[Dim] = []
    for i, size in enumerate(shape, 1):
        if i == feature:
            dims.append(joined([Atom("f", size)]))
        else:
            step //= size
            dims.append((Atom("t", size, step),))
    dims.insert(batch, (Atom("b", samples),))
    return tuple(dims)
