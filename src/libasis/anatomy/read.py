"""From a section's graph to its anatomy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx

from ..cut import Context
from ..cut.functions import Functions
from ..cut.subgraph import Subgraph
from ..types import Matrix, Vector
from .components import Anatomy, Attention, Norm, Pointwise, Values, values_batch
from .extract import Port, linear_maps
from .heads import HeadNodes
from .reader import Reader
from .roles import NoMatch, Roles
from .rotation import rotation

_READ: WeakKeyDictionary[Subgraph, Anatomy | str] = WeakKeyDictionary()


def read(context: Context) -> Anatomy | str:
    """What a section is made of, or the reason why it has no anatomy (completing "The section ...").

    The graph is read once; later calls return the same object.
    """
    subgraph = context.subgraph
    if subgraph is None:
        return "is a plain callable, whose inside cannot be read"
    if subgraph not in _READ:
        try:
            with torch.no_grad():
                _READ[subgraph] = _Assembly(subgraph).anatomy(context.values)
        except NoMatch as reason:
            _READ[subgraph] = str(reason)
    return _READ[subgraph]


@dataclass(frozen=True)
class _Map:
    """An affine map of u: W ``[rows, d]`` and b ``[rows]``."""

    W: Matrix
    b: Vector


class _Assembly:
    """Reads one section and takes its matrices."""

    def __init__(self, subgraph: Subgraph) -> None:
        if len(subgraph.source.nodes) != 1 or len(subgraph.target.nodes) != 1:
            raise NoMatch("joins several tensors at one of its sites")
        self.subgraph = subgraph
        self.fixed = subgraph.program.fixed_batch
        self.exact = Functions(subgraph.program, torch.float64, subgraph.functions.device)
        self.source, self.target = subgraph.source.nodes[0], subgraph.target.nodes[0]
        layout = subgraph.source.layouts[0]
        if not layout.feature:
            raise NoMatch("has an input without features")
        roles = _roles(layout.batch, layout.feature, len(layout.shape) + 1)
        self.reader = Reader(subgraph.program, self.source, roles, self.exact.constant)
        self.positions = layout.positions
        self.d = layout.features

    def anatomy(self, values: Values) -> Anatomy:
        """Everything, checked to be of one kind."""
        out = self.reader.deep(self.target)
        end, layout = self._port(self.target, out.roles), self.subgraph.target.layouts[0]
        if (end.positions, end.width) != (layout.positions, layout.features):
            raise NoMatch("has an output whose features are spread over several dimensions")
        bases = sorted(out.bases, key=self.subgraph.program.order.__getitem__)
        maps, _ = linear_maps(self.exact, [self._port(n, self._roles_of(n)) for n in bases], end, self.fixed)
        into = dict(zip(bases, maps, strict=True))
        norms = {(n.centred, n.eps) for n in self._used_norms(bases)}
        if len(norms) > 1:
            raise NoMatch("has two different norms of its input")
        heads = [node for node in bases if node in self.reader.heads]
        if len(heads) > 1:
            raise NoMatch("has more than one attention")
        found = Anatomy(
            d=self.d,
            d_out=end.width,
            skip=into.get(self.source),
            norm=Norm(*next(iter(norms))) if norms else None,
            pointwise=tuple(self._branches(bases, into)),
            attention=self._attention(self.reader.heads[heads[0]], into[heads[0]], values) if heads else None,
            read=out.read,
        )
        if norms and self.plain:
            raise NoMatch("has branches with and without the norm")
        return found

    def _used_norms(self, bases: Sequence[fx.Node]) -> list[Any]:
        """The norms that the branches read; `plain` becomes whether a branch reads the source itself."""
        read: set[fx.Node] = {n for n in bases if n in self.reader.norms}
        self.plain = False
        for base in bases:
            leaves: list[fx.Node] = []
            if base in self.reader.regions:
                leaves = list(self.reader.regions[base])
            elif base in self.reader.heads:
                heads = self.reader.heads[base]
                leaves = [heads.plain_query, heads.plain_key, heads.value]
            for leaf in leaves:
                read |= self.reader.shallow(leaf).bases
        self.plain = self.source in read
        return [self.reader.norms[n] for n in read if n is not self.source]

    def _roles_of(self, node: fx.Node) -> Roles:
        return self.reader.deep(node).roles

    def _port(self, node: fx.Node, roles: Roles) -> Port:
        return Port(node, roles, self.positions)

    def _of_u(self, node: fx.Node) -> _Map:
        """A node that is affine in u, as a map of u; gains and shifts of norms are folded."""
        value = self.reader.shallow(node)
        bases = sorted(value.bases, key=self.subgraph.program.order.__getitem__)
        ports = [self._port(n, self.reader.shallow(n).roles) for n in bases]
        maps, b = linear_maps(self.exact, ports, self._port(node, value.roles), self.fixed)
        total = torch.zeros_like(maps[0])
        for base, W in zip(bases, maps, strict=True):
            norm = self.reader.norms.get(base)
            if norm is not None and norm.shift is not None:
                b = b + W @ self.exact.constant(norm.shift)
            total += W if norm is None or norm.gain is None else W * self.exact.constant(norm.gain)
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
        ports = [self._port(leaf, self.reader.shallow(leaf).roles) for leaf in leaves]
        end = self._port(node, self._roles_of(node))
        run = self.subgraph.functions.build(leaves, [node])

        def activate(*a: Tensor) -> Tensor:
            spread = (port.spread(x) for port, x in zip(ports, a, strict=True))
            return end.gather(run(*spread)[0], a[0].shape[1])

        return Pointwise(torch.stack([m.W for m in maps]), torch.stack([m.b for m in maps]), B, activate)

    def _attention(self, heads: HeadNodes, W_O: Matrix, values: Values) -> Attention:
        query, key, value = (self._of_u(n) for n in (heads.plain_query, heads.plain_key, heads.value))
        H = self._port(heads.query, heads.roles).features[0] if len(heads.roles) == 4 else 1
        e, v = len(query.b) // H, len(value.b) // H
        rotate_query = self._rotation(heads.plain_query, heads.query, heads.roles)
        rotate_key = self._rotation(heads.plain_key, heads.key, heads.roles)
        groups = len(key.b) // e
        shared = torch.arange(H, device=key.b.device)
        if groups != H:
            shared = self._shared(rotate_key, groups, e, values, key.b)
            rotate_key = _through_groups(rotate_key, shared)
        turns = (
            None if rotate is None else rotation(rotate, query.b.new_zeros(1, self.positions, H, e), values, self.fixed)
            for rotate in (rotate_query, rotate_key)
        )
        return Attention(
            W_Q=query.W.view(H, e, self.d),
            W_K=key.W.view(groups, e, self.d)[shared],
            W_V=value.W.view(H, v, self.d),
            b_Q=query.b.view(H, e),
            b_K=key.b.view(groups, e)[shared],
            b_V=value.b.view(H, v),
            W_O=W_O.view(-1, H, v),
            scale=heads.scale,
            pattern=self._pattern(heads),
            rotate_query=next(turns),
            rotate_key=next(turns),
        )

    def _rotation(self, plain: fx.Node, node: fx.Node, roles: Roles) -> Callable[[Tensor, Values], Tensor] | None:
        if plain is node:
            return None
        start, end = self._port(plain, roles), self._port(node, roles)
        run = self.subgraph.functions.build([plain, *self.subgraph.context], [node])

        def rotate(x: Tensor, values: Values) -> Tensor:
            return end.canonical(run(start.original(x), *values)[0])

        return rotate

    def _pattern(self, heads: HeadNodes) -> Callable[[Tensor, Tensor, Values], Tensor]:
        query, key = self._port(heads.query, heads.roles), self._port(heads.key, heads.roles)
        run = self.subgraph.functions.build([heads.query, heads.key, *self.subgraph.context], [heads.weights])
        single = len(heads.roles) == 3

        def pattern(q: Tensor, k: Tensor, values: Values) -> Tensor:
            weights = run(query.original(q), key.original(k), *values)[0]
            return weights[:, None] if single else weights

        return pattern

    def _shared(self, rotate: Any, groups: int, e: int, values: Values, like: Tensor) -> Tensor:
        """Which group of keys each head reads."""
        if rotate is None:
            raise NoMatch("has fewer keys than queries")
        batch = values_batch(values, self.fixed)
        dtype = self.subgraph.functions.dtype or torch.get_default_dtype()
        x = torch.zeros(batch, self.positions, groups, e, dtype=dtype, device=like.device)
        x += torch.arange(1, groups + 1, dtype=dtype, device=like.device)[:, None]
        size = rotate(x.flatten(2), values).unflatten(-1, (-1, e)).square().sum((0, 1, 3))
        one = torch.zeros_like(x)
        one[:, :, 0] = 1.0
        unit = rotate(one.flatten(2), values).unflatten(-1, (-1, e)).square().sum((0, 1, 3)).max()
        return (size / unit).sqrt().round().long() - 1


def _through_groups(rotate: Any, shared: Tensor) -> Callable[[Tensor, Values], Tensor]:
    """A rotation of the keys of the groups as one of the keys of the heads."""
    first = torch.stack([(shared == g).nonzero()[0, 0] for g in range(int(shared.max()) + 1)])
    return lambda x, values: rotate(x.unflatten(-1, (len(shared), -1))[:, :, first].flatten(2), values)


def _roles(batch: int, feature: int, ndim: int) -> Roles:
    """Roles of a tensor's dimensions from its layout (the feature counted after the batch was moved to the front)."""
    moved = ["b", *("f" if i == feature else "t" for i in range(1, ndim))]
    first = moved.pop(0)
    moved.insert(batch, first)
    return tuple(moved)
