"""What one pass over a little data says of every site: spread, sensitivity, and where in the sequence they are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..cut import Record, differentiable
from ..numerics import StreamingMoments
from ..types import Matrix, Vector


class SiteSums:
    r"""Sums at one site.

    Attributes:
        moments: mean and covariance.
        pulled: :math:`\sum g g^T` of the even and of the odd samples, ``[2, d, d]``: g is the gradient of a random sum
            :math:`\sum\pm y` of the model's output, so that :math:`E[gg^T]` is M' of everything that follows.
        counts: vectors by their place among those that count in their sample, ``[t]``.
        squares: by place the squared distance from the first batch's mean, ``[t]``.
        gradients: by place the squared gradient, ``[t]``.
    """

    def __init__(self, d: int) -> None:
        self.moments = StreamingMoments(d)
        self.pulled = torch.zeros(2, d, d, dtype=torch.float64)
        self.counts = self.squares = self.gradients = torch.zeros(0, dtype=torch.float64)
        self.shift: Vector | None = None

    def add(self, x: Tensor, g: Tensor, counted: Tensor, numbers: Tensor) -> None:
        """Activations and gradients ``[batch, position, d]`` of samples with their numbers."""
        vectors = x[counted]
        self.moments.update(vectors)
        if self.shift is None:
            self.shift = vectors.double().mean(0)
        for half in (0, 1):
            own = g[numbers.to(g.device) % 2 == half][counted[numbers.to(g.device) % 2 == half]]
            self.pulled[half] += (own.T @ own).double().cpu()
        places = (counted.cumsum(1) - 1)[counted].cpu()
        terms = torch.ones(len(places)), (vectors.double() - self.shift).square().sum(1), g[counted].square().sum(1)
        self.counts, self.squares, self.gradients = (
            _added(total, places, term.double().cpu())
            for total, term in zip((self.counts, self.squares, self.gradients), terms, strict=True)
        )


def _added(total: Vector, places: Tensor, terms: Vector) -> Vector:
    size = max(len(total), int(places.max()) + 1 if len(places) else 0)
    return torch.nn.functional.pad(total, (0, size - len(total))).index_add(0, places, terms)


def gradients(record: Record, seed: int) -> list[Tensor]:
    """At every site but the last the gradient of the last one's activation, summed up with random signs."""
    with torch.enable_grad():
        points = [record.activations[0].detach().requires_grad_()]
        for context in record.contexts:
            points.append(context(points[-1]))
        y = points[-1]
        generator = torch.Generator().manual_seed(seed + int(record.numbers[0]))
        signs = torch.randint(0, 2, y.shape, generator=generator, dtype=torch.int8).to(y) * 2 - 1
        counted = record.counted[-1]
        if counted is not None:
            signs = signs * counted[..., None]
        with differentiable():
            return list(torch.autograd.grad(y, points[:-1], signs))


def add(sums: dict[int, SiteSums], record: Record, seed: int) -> None:
    """Add one batch to the sums of some sites."""
    pulled = gradients(record, seed)
    for l, own in sums.items():
        x, counted = record.activations[l], record.counted[l]
        whole = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        own.add(x, pulled[l], whole if counted is None else counted, record.numbers)


def curves(G: Matrix, halves: Sequence[Matrix]) -> tuple[Vector, Vector, Vector]:
    """Eigenvalues of the covariance, and the share of the importance in the leading directions of PCA and of LIB.

    LIB's directions are those of one half of the samples, their importance that in the other half: noise gains nothing.
    """
    g, U = torch.linalg.eigh(G)
    g, U = g.flip(0).clamp_min(0), U.flip(1)
    W = U * g.sqrt()
    A, B = (W.T @ half @ W for half in halves)
    crossed = torch.zeros_like(g)
    for own, other in ((A, B), (B, A)):
        V = torch.linalg.eigh(own)[1].flip(1)
        crossed += (V * (other @ V)).sum(0)
    tiny = torch.finfo(torch.float64).tiny
    total = (A + B).trace().clamp_min(tiny)
    return g, (A + B).diagonal().cumsum(0) / total, crossed.cumsum(0) / total
