"""Which edges of a section are kept: all of them, or for each output feature only the strongest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import OptionError
from ..graphs import sparse
from ..types import Matrix

Jobs = list[tuple[int, slice]]
"""What is measured in one pass over the data: sections, each with some of its output features."""

DENSE = 32  # bytes of an edge of the features at work: two sums, and what sorting one of them takes


def check_top_k(top_k: int | None) -> None:
    """Refuse what is no number of edges.

    Raises:
        OptionError: it is none.
    """
    if top_k is not None and (not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1):
        raise OptionError(
            f"top_k is {top_k!r}; give the number of edges to keep for each output feature, a whole number from 1, or "
            "None to keep all."
        )


def passes(shapes: Sequence[tuple[int, int]], memory: int) -> list[Jobs]:
    """Passes over the data that cover the output features of all sections, each within ``memory`` bytes.

    Args:
        shapes: of the edges of each section, ``(k_out, k_in)``.
        memory: bytes that the dense rows of one pass may hold; it holds one row at least.
    """
    found: list[Jobs] = [[]]
    room = memory
    for l, (k_out, k_in) in enumerate(shapes):
        row, start = DENSE * k_in, 0
        while start < k_out:
            if room < row and found[-1]:
                found.append([])
                room = memory
            stop = min(k_out, start + max(1, int(room // row)))
            found[-1].append((l, slice(start, stop)))
            room -= (stop - start) * row
            start = stop
    return found


class Strongest:
    """The edges of one section, put together from blocks of output features.

    Args:
        shape: ``(k_out, k_in)``.
        top_k: edges to keep for each output feature; None for all, as dense matrices.

    Attributes:
        strength: sum of all edges measured, those not kept included.
    """

    def __init__(self, shape: tuple[int, int], top_k: int | None) -> None:
        self.shape, self.top_k = shape, top_k
        self.strength = 0.0
        self._blocks: list[tuple[Tensor, ...]] = []

    def add(self, edges: Matrix, signed: Matrix, stderr: Matrix | None = None) -> None:
        """Add the output features that follow those added before; ties go to the lower index.

        Standard errors are those of the edges, where these are estimates.
        """
        self.strength += float(edges.sum())
        sources = torch.zeros(0)
        if self.top_k is not None:
            sources = torch.sort(edges, descending=True, stable=True).indices[:, : self.top_k].sort().values
            edges, signed = edges.gather(1, sources), signed.gather(1, sources)
            stderr = None if stderr is None else stderr.gather(1, sources)
        every = (sources, edges, signed) if stderr is None else (sources, edges, signed, stderr)
        self._blocks.append(tuple(x.cpu() for x in every))

    def matrices(self) -> tuple[Matrix, ...]:
        """Squared and signed edges ``[k_out, k_in]``, and standard errors where there are any.

        Dense, or sparse (COO) with entries in the same places.
        """
        if len(self._blocks) == 1 and self.top_k is None:  # measured in one pass
            return self._blocks[0][1:]
        sources, *found = (torch.cat(parts) for parts in zip(*self._blocks, strict=True))
        if self.top_k is None:
            return tuple(found)
        targets = torch.arange(len(sources))[:, None].expand_as(sources)
        places = torch.stack([targets, sources]).flatten(1)
        return tuple(sparse(places, values.flatten(), self.shape) for values in found)

    def kept(self) -> float:
        """The kept edges' share of the strength; 1 where nothing has any."""
        kept = sum(float(block[1].sum()) for block in self._blocks)
        return min(1.0, kept / self.strength) if self.strength > 0 else 1.0


def facts(sections: Sequence[Strongest], top_k: int | None, count: int) -> dict[str, Any] | None:
    """What was kept, for the record; None where all was."""
    if top_k is None:
        return None
    return {
        "k": top_k,
        "kept_share": [section.kept() for section in sections],
        "strength": [section.strength for section in sections],
        "passes": count,
    }
