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
from .drawn import Drawn


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

    def closed(
        self, made: ClosedEffects, anatomy: Anatomy, memory: int, drawn: Drawn | None = None
    ) -> Iterator[tuple[slice, slice, slice, Tensor]]:
        """Slices of j, of i and of the (batch, t), with their effects ``[(batch, t), j, i]``, float64; no derivatives.

        Those that are drawn, the samples with most of them first; or all that count.
        """
        size, positions, _ = self.x.shape
        held, read, done = memory / self.x.element_size(), positions if drawn is None else drawn.rows.shape[1], 0
        shape = (size, positions, read if anatomy.read is None else min(read, len(anatomy.read)))
        sizes = Sizes.within(held, anatomy, shape, (self.k_in, self.k_out), len(self.path.alphas))
        for samples in slices(size, size if self.context.fixed_batch else sizes.samples):
            keep, rows = None if self.counted is None else self.counted[samples], None
            if drawn is not None:
                rows, keep = drawn.of(samples)
            values = self.context.of(samples)
            points, amounts = list(self.points(samples)), self.amounts[samples]
            for columns, which, some, effect in made(points, amounts, keep, values, sizes, rows):
                yield columns, which, slice(done + some.start, done + some.stop), effect.to(torch.float64)
            done += 0 if keep is None else int(keep.sum())

    def strengths(self, signs: Tensor) -> Tensor:
        """For each output position about the sum of all squared effects: unbiased, by random signs of the features.

        Args:
            signs: ``[probes, k_in]``.

        Returns:
            ``[batch, t]`` in float64, 0 where positions do not count.
        """
        tangents = torch.einsum("bsi,ri,id->rbsd", self.amounts, signs.to(self.x), self.C_pinv)
        found = self._pushed(tangents).to(torch.float64).square().sum(-1).mean(0)
        return found if self.counted is None else found * self.counted

    def _pushed(self, tangents: Tensor) -> Any:
        """The change of output features ``[c, batch, t, j]`` by tangents ``[c, batch, s, d]``, along the path."""
        total: Any = 0.0
        for point, weight in self.points():
            push = push_forward(self.context, point, [self.context])
            total = total + weight * (push(tangents) @ self.readout)
        return total

    def forward(self, chunk: int) -> Iterator[tuple[slice, Tensor]]:
        """One pass per input feature: slices of i and effects ``[i, counted (batch, t), j]``, float64."""
        for which in slices(self.k_in, chunk):
            tangents = torch.einsum("bsi,id->ibsd", self.amounts[..., which], self.C_pinv[which])
            total = self._pushed(tangents)
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

    def drawn_reverse(self, chunk: int, drawn: Drawn) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """One pass per output feature for each position that a sample has drawn.

        Slices of j, which of those drawn, and effects ``[drawn, j, i]``, float64.
        """
        sample = torch.arange(len(self.x), device=self.x.device)
        number = (drawn.real.flatten().cumsum(0) - 1).view_as(drawn.real)
        for rows, real, which in zip(drawn.rows.T, drawn.real.T, number.T, strict=True):
            for columns in slices(self.k_out, chunk):
                total: Any = 0.0
                for point, weight in self.points():
                    y, pull = pull_back(lambda z: self.context(z) @ self.readout, point, [self.context])
                    j = torch.arange(columns.start, columns.stop, device=y.device)
                    cotangents = y.new_zeros(len(j), *y.shape)
                    cotangents[torch.arange(len(j), device=y.device)[:, None], sample, rows, j[:, None]] = 1.0
                    total = total + weight * pull(cotangents)
                effect = torch.einsum("cbsd,id,bsi->bci", total, self.C_pinv, self.amounts)
                yield columns, which[real], effect[real].to(torch.float64)
