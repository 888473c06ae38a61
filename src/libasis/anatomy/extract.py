"""Matrices out of a graph: exact, because the maps are affine and are read off with derivatives in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, fx

from ..cut.functions import Functions
from ..types import Matrix, Vector
from .roles import Roles, sizes


class Port:
    """A tensor of the graph as ``[batch, position, feature]``, and back.

    Args:
        node: the tensor.
        roles: of its dimensions.
        positions: number of positions, for a dimension that holds samples and positions.
    """

    def __init__(self, node: fx.Node, roles: Roles, positions: int) -> None:
        self.node = node
        self.joined = "bt" in roles
        size = sizes(node)
        self.kept = [size[i] for i, role in enumerate(roles) if role == "t"]
        self.features = [size[i] for i, role in enumerate(roles) if role == "f"]
        self.positions = positions if self.joined else math.prod(self.kept)
        self.width = math.prod(self.features)
        first = [i for i, role in enumerate(roles) if role in ("b", "bt")]
        places = [i for i, role in enumerate(roles) if role == "t"]
        self.order = [*first, *places, *(i for i, role in enumerate(roles) if role == "f")]
        self.inverse = [self.order.index(i) for i in range(len(self.order))]

    def canonical(self, x: Tensor) -> Tensor:
        """``[batch, position, feature]`` of the graph's tensor."""
        return x.permute(self.order).reshape(-1, self.positions, self.width)

    def original(self, x: Tensor) -> Tensor:
        """The graph's tensor of ``[batch, position, feature]``."""
        rows = len(x) * self.positions if self.joined else len(x)
        return x.reshape(rows, *self.kept, *self.features).permute(self.inverse)

    def spread(self, x: Tensor) -> Tensor:
        """Like `original` with every position as a sample of its own: for elementwise operations."""
        return x.reshape(-1, *(1 for _ in self.kept), *self.features).permute(self.inverse)

    def gather(self, x: Tensor, positions: int) -> Tensor:
        """The inverse of `spread`."""
        return x.permute(self.order).reshape(-1, positions, self.width)


def linear_maps(
    functions: Functions, sources: Sequence[Port], target: Port, fixed_batch: int | None
) -> tuple[list[Matrix], Vector]:
    """For a node that is affine in others, position by position: W of each, ``[out, in]``, and the constant ``[out]``.

    The constant is that of the first position (where the others have another, no one uses it).
    """
    run = functions.build([port.node for port in sources], [target.node])

    def forward(*x: Tensor) -> Tensor:
        return target.canonical(run(*(port.original(v) for port, v in zip(sources, x, strict=True)))[0])

    widest = max(port.width for port in sources)
    apart = all(port.positions == target.positions for port in sources)
    batch = fixed_batch or (-(-widest // target.positions) if apart else min(widest, 64))
    device = functions.device
    zeros = [torch.zeros(batch, p.positions, p.width, dtype=torch.float64, device=device) for p in sources]
    maps = []
    with torch.no_grad():
        constant = forward(*zeros)[0, 0]
        for i, port in enumerate(sources):
            columns = []
            for tangent, units in _unit_tangents(zeros[i], apart=apart):
                tangents = tuple(tangent if k == i else zero for k, zero in enumerate(zeros))
                moved = torch.func.jvp(forward, tuple(zeros), tangents)[1]
                columns.append(moved.flatten(0, 1)[:units] if apart else moved[:units, 0])
            maps.append(torch.cat(columns)[: port.width].T.contiguous())
    return maps, constant


def _unit_tangents(zero: Tensor, *, apart: bool) -> Iterator[tuple[Tensor, int]]:
    """Tangents that hold all unit vectors: one at each position, or one in each sample at all its positions."""
    batch, positions, width = zero.shape
    slots = batch * positions if apart else batch
    for start in range(0, width, slots):
        units = min(slots, width - start)
        rows = torch.arange(units, device=zero.device)
        tangent = torch.zeros(slots, 1 if apart else positions, width, dtype=zero.dtype, device=zero.device)
        tangent[rows, :, start + rows] = 1.0
        yield tangent.view(zero.shape), units
