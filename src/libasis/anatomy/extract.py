"""Matrices out of a graph: exact, because the maps are affine and are read off with derivatives in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from ..cut.functions import Functions
from ..types import Matrix, Vector
from .roles import NoMatch, Roles, kinds


class Port:
    """A tensor of the graph as ``[batch, position, feature]``, and back.

    Args:
        node: the tensor.
        roles: of its dimensions.
        features: in which order its dimensions of features are counted, where not as they stand.
    """

    def __init__(self, node: fx.Node, roles: Roles, features: Sequence[int] | None = None) -> None:
        self.node = node
        self.shape = [[atom.size for atom in dim] for dim in roles]
        self.lead = next((i for i, dim in enumerate(roles) if "b" in kinds(dim)), None)
        atoms = [(i, atom) for i, dim in enumerate(roles) for atom in dim]
        if any(atom.role == "s" for _, atom in atoms):
            raise NoMatch("mixes positions")
        by_role = {role: [k for k, (_, atom) in enumerate(atoms) if atom.role == role] for role in "btf"}
        places = sorted(by_role["t"], key=lambda k: -atoms[k][1].step)
        if features is not None:
            by_role["f"].sort(key=lambda k: features.index(atoms[k][0]))
        self.sizes = [-1 if atom.role == "b" else atom.size for _, atom in atoms]
        self.alone = [1 if atom.role == "t" else size for (_, atom), size in zip(atoms, self.sizes, strict=True)]
        self.order = [*by_role["b"], *places, *by_role["f"]]
        self.inverse = [self.order.index(k) for k in range(len(self.order))]
        self.positions = math.prod(self.sizes[k] for k in places)
        self.width = math.prod(self.sizes[k] for k in by_role["f"])

    def canonical(self, x: Tensor) -> Tensor:
        """``[batch, position, feature]`` of the graph's tensor."""
        return x.reshape(self.sizes).permute(self.order).reshape(-1, self.positions, self.width)

    def original(self, x: Tensor) -> Tensor:
        """The graph's tensor of ``[batch, position, feature]``."""
        return self._back(x, self.sizes)

    def spread(self, x: Tensor) -> Tensor:
        """Like `original` with every position as a sample of its own: for elementwise operations."""
        return self._back(x, self.alone)

    def gather(self, x: Tensor, positions: int) -> Tensor:
        """The inverse of `spread`."""
        return x.reshape(self.alone).permute(self.order).reshape(-1, positions, self.width)

    def _back(self, x: Tensor, sizes: list[int]) -> Tensor:
        y = x.reshape([sizes[k] for k in self.order]).permute(self.inverse)
        shape, k = [], 0
        for i, dim in enumerate(self.shape):
            shape.append(-1 if i == self.lead else math.prod(sizes[k : k + len(dim)]))
            k += len(dim)
        return y.reshape(shape)


def linear_maps(
    functions: Functions, sources: Sequence[Port], target: Port, fixed_batch: int | None
) -> tuple[list[Matrix], Vector]:
    """For a node that is affine in others, position by position: W of each, ``[out, in]``, and the constant ``[out]``.

    The constant is that of the first position (where the others have another, no one uses it).
    """
    run = functions.build([port.node for port in sources], [target.node])

    def forward(*x: Tensor) -> Tensor:
        return target.canonical(run(*(port.original(v) for port, v in zip(sources, x, strict=True)))[0])

    apart = all(port.positions == target.positions for port in sources)
    with torch.no_grad():
        one = [torch.zeros(fixed_batch or 1, p.positions, p.width, **_exact(functions)) for p in sources]
        constant = forward(*one)[0, 0]
        if target.width < sum(port.width for port in sources):
            return _by_rows(forward, sources, target, fixed_batch, _exact(functions), apart=apart), constant
        return _by_columns(forward, sources, target, fixed_batch, _exact(functions), apart=apart), constant


def _exact(functions: Functions) -> dict[str, Any]:
    return {"dtype": torch.float64, "device": functions.device}


def _by_columns(
    forward: Callable[..., Tensor], sources: Sequence[Port], target: Port, fixed: int | None, kind: dict[str, Any],
    *, apart: bool,
) -> list[Matrix]:  # fmt: skip
    """One unit vector of a source after the other, pushed forward.

    As the pull-back of the pull-back, which is linear too: the first use of forward mode costs torch half a second.
    """
    maps = []
    for i, port in enumerate(sources):
        batch = fixed or _batch(port.width, target.positions, apart=apart)
        zeros = [torch.zeros(batch, p.positions, p.width, **kind) for p in sources]
        y, pull = torch.func.vjp(forward, *zeros)[:2]
        push = torch.func.vjp(pull, torch.zeros_like(y))[1]
        columns = []
        for tangent, units in _units(zeros[i], apart=apart):
            tangents = tuple(tangent if k == i else zero for k, zero in enumerate(zeros))
            (moved,) = push(tangents)
            columns.append(moved.flatten(0, 1)[:units] if apart else moved[:units, 0])
        maps.append(torch.cat(columns).T.contiguous())
    return maps


def _by_rows(
    forward: Callable[..., Tensor], sources: Sequence[Port], target: Port, fixed: int | None, kind: dict[str, Any],
    *, apart: bool,
) -> list[Matrix]:  # fmt: skip
    """One unit vector of the target after the other, pulled back to all sources."""
    batch = fixed or _batch(target.width, target.positions, apart=apart)
    zeros = [torch.zeros(batch, p.positions, p.width, **kind) for p in sources]
    pull = torch.func.vjp(forward, *zeros)[1]
    rows: list[list[Tensor]] = [[] for _ in sources]
    for cotangent, units in _units(torch.zeros(batch, target.positions, target.width, **kind), apart=apart):
        if not apart:
            cotangent[:, 1:] = 0.0
        for mine, pulled in zip(rows, pull(cotangent), strict=True):
            mine.append(pulled.flatten(0, 1)[:units] if apart else pulled[:units].sum(1))
    return [torch.cat(mine).contiguous() for mine in rows]


def _batch(width: int, positions: int, *, apart: bool) -> int:
    """Samples that hold all unit vectors, one at each position; or as many as are worth it, one in each sample."""
    return -(-width // positions) if apart else min(width, 64)


def _units(zero: Tensor, *, apart: bool) -> Iterator[tuple[Tensor, int]]:
    """All unit vectors: one at each position, or one in each sample at all its positions."""
    batch, positions, width = zero.shape
    slots = batch * positions if apart else batch
    for start in range(0, width, slots):
        units = min(slots, width - start)
        rows = torch.arange(units, device=zero.device)
        unit = torch.zeros(slots, 1 if apart else positions, width, dtype=zero.dtype, device=zero.device)
        unit[rows, :, start + rows] = 1.0
        yield unit.view(zero.shape), units
