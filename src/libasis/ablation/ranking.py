"""The edges of a section from the strongest to the weakest, and the masks that the first of them make."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..graphs import InteractionGraph, sparse
from ..types import Matrix


def sizes(graph: InteractionGraph) -> dict[str, tuple[int, int]]:
    """By section how many edges there are to keep, and how many there could be between sites of these widths."""
    pairs = zip(graph.edges, graph.basis.sites[:-1], graph.basis.sites[1:], strict=True)
    return {a.name: (e.coalesce().values().numel() if e.is_sparse else e.numel(), a.d * b.d) for e, a, b in pairs}


class Ranking:
    """Edges by falling strength, ties by index; of sparse edges only the entries are ranked.

    Args:
        edges: strengths ``[k_out, k_in]``, dense or sparse.

    Attributes:
        total: how many edges there are to keep.
    """

    def __init__(self, edges: Matrix) -> None:
        self.k_out, self.k_in = edges.shape
        self.sparse = edges.is_sparse
        if self.sparse:
            edges = edges.coalesce()
            targets, sources = edges.indices()
            order = torch.argsort(edges.values(), descending=True, stable=True)
            self._places = (targets * self.k_in + sources)[order]
        else:
            self._places = torch.argsort(edges.flatten(), descending=True, stable=True)
        self.total = len(self._places)

    def mask(self, count: int) -> Matrix:
        """The ``count`` strongest edges: bool ``[k_out, k_in]``, sparse where the edges are."""
        places = self._places[:count]
        if self.sparse:
            places = places.sort().values
            there = torch.ones(len(places), dtype=torch.bool)
            index = torch.stack([places // self.k_in, places % self.k_in])
            return sparse(index, there, (self.k_out, self.k_in))
        kept = torch.zeros(self.k_out * self.k_in, dtype=torch.bool)
        kept[places] = True
        return kept.view(self.k_out, self.k_in)

    def rows(self, which: Tensor, count: int) -> Matrix:
        """The rows ``which`` of `mask`, dense: bool ``[len(which), k_in]``."""
        row = torch.full((self.k_out,), -1)
        row[which] = torch.arange(len(which))
        places = self._places[:count]
        row, sources = row[places // self.k_in], places % self.k_in
        kept = torch.zeros(len(which), self.k_in, dtype=torch.bool)
        kept[row[row >= 0], sources[row >= 0]] = True
        return kept

    def changed(self, one: int | None, other: int) -> Tensor:
        """Output features whose rows differ between two counts, ascending; all of them if there is no first count."""
        if one is None:
            return torch.arange(self.k_out)
        between = self._places[min(one, other) : max(one, other)]
        return torch.unique(between // self.k_in)


def rows_alike(masks: Matrix, which: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Each different row of bool ``[n, k_in]``, with those of ``which`` ``[n]`` that have it."""
    rows, group = torch.unique(masks, dim=0, return_inverse=True)
    for number, row in enumerate(rows):
        yield row, which[group == number]
