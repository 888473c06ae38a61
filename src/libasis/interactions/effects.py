"""What each feature of a site contributes to each feature of the next in one batch, in three ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..anatomy import Anatomy
from ..basis import SiteBasis
from ..cut import Record, pull_back, push_forward
from ..errors import OptionError
from ..importance import one_hot
from ..numerics import gauss_legendre, slices
from .closed_form import ClosedEffects, Sizes


@dataclass(frozen=True)
class GradientPath:
    """Where the derivative is taken: at the activation, or averaged over a straight path from a baseline to it."""

    alphas: tuple[float, ...]
    weights: tuple[float, ...]
    baseline: str

    @classmethod
    def parse(cls, method: str, n_steps: int, baseline: str) -> GradientPath:
        """Read the options of `interactions`.

        Raises:
            OptionError: an option is unknown.
        """
        if method not in ("gradient", "integrated"):
            raise OptionError(f'method is {method!r}; interactions are "gradient" or "integrated".')
        if baseline not in ("mean", "zero"):
            raise OptionError(f'baseline is {baseline!r}; use "mean" or "zero".')
        if method == "gradient":
            return cls((1.0,), (1.0,), "mean")
        alphas, weights = gauss_legendre(n_steps)
        return cls(tuple(alphas.tolist()), tuple(weights.tolist()), baseline)

    def origin(self, basis: SiteBasis, x: Tensor) -> Tensor:
        """The baseline activation ``[d]``."""
        return basis.mean.to(x) if self.baseline == "mean" else torch.zeros_like(basis.mean.to(x))


class FeatureEffects:
    r"""What features contribute to output features in one batch, before squaring:
    :math:`\sum_s \partial\hat f_{tj}/\partial\hat f_{si}\,\hat f_{si}` at counted positions t.

    Args:
        record: the batch.
        l: number of the section.
        source: basis of its input.
        target: basis of its output.
        path: where derivatives are taken.
        outputs: the output features wanted; j counts from the first of them.
    """  # noqa: D205

    def __init__(
        self,
        record: Record,
        l: int,
        source: SiteBasis,
        target: SiteBasis,
        path: GradientPath,
        outputs: slice = slice(None),
    ) -> None:
        self.path = path
        self.x = x = record.activations[l]
        self.origin = path.origin(source, x)
        self.amounts = (x - self.origin) @ source.C.to(x)  # [batch, s, i]
        if (counted := record.counted[l]) is not None:
            self.amounts = self.amounts * counted[..., None].to(x)
        self.counted = record.counted[l + 1]
        self.C_pinv, self.readout = source.C_pinv.to(x), target.C.to(record.activations[l + 1])[:, outputs]
        self.k_in, self.k_out = len(self.C_pinv), self.readout.shape[1]
        self.context = record.contexts[l]

    def points(self, samples: slice = slice(None)) -> Iterator[tuple[Tensor, float]]:
        """The points of the path at which the derivative is taken, with their weights."""
        for alpha, weight in zip(self.path.alphas, self.path.weights, strict=True):
            yield self.origin + alpha * (self.x[samples] - self.origin), weight

    def closed(self, made: ClosedEffects, anatomy: Anatomy, memory: int) -> Iterator[tuple[slice, slice, Tensor]]:
        """Slices of j and of i, and effects ``[some (batch, t), j, i]``, float64, without derivatives."""
        size, positions, _ = self.x.shape
        held = memory / self.x.element_size()
        sizes = Sizes.within(held, anatomy, (size, positions), (self.k_in, self.k_out), len(self.path.alphas))
        for samples in slices(size, size if self.context.fixed_batch else sizes.samples):
            keep = None if self.counted is None else self.counted[samples]
            values = self.context.of(samples)
            points, amounts = list(self.points(samples)), self.amounts[samples]
            for columns, which, effect in made(points, amounts, keep, values, sizes):
                yield columns, which, effect.to(torch.float64)

    def forward(self, chunk: int) -> Iterator[tuple[slice, Tensor]]:
        """One pass per input feature: slices of i and effects ``[i, counted (batch, t), j]``, float64."""
        for which in slices(self.k_in, chunk):
            tangents = torch.einsum("bsi,id->ibsd", self.amounts[..., which], self.C_pinv[which])
            total: Any = 0.0
            for point, weight in self.points():
                push = push_forward(self.context, point, [self.context])
                total = total + weight * (push(tangents) @ self.readout)
            effect = total.flatten(1, 2) if self.counted is None else total[:, self.counted]
            yield which, effect.to(torch.float64)

    def reverse(self, chunk: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass per output feature and position: indices j and effects ``[(t, j), batch, i]``, float64."""
        pulls = [
            (pull_back(lambda z: self.context(z) @ self.readout, point, [self.context]), weight)
            for point, weight in self.points()
        ]
        for index, cotangents in one_hot(pulls[0][0][0], chunk):
            if self.counted is not None:
                cotangents = cotangents * self.counted[..., None].to(cotangents)
            pulled = sum(weight * pull(cotangents) for (_, pull), weight in pulls)
            effect = torch.einsum("cbsd,id,bsi->cbi", pulled, self.C_pinv, self.amounts)
            yield index % self.k_out, effect.to(torch.float64)
