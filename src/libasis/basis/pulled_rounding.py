"""What half precision adds to the derivatives behind importances: measured beside float32, on the same inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..cut import Record, pull_back
from ..importance import Fisher, Span, signs
from ..importance.fisher import LabelGradients, parts
from ..numerics import eigh_descending
from ..numerics.eigen import accumulation_noise
from ..types import Matrix, Vector
from .rounding import Beside, InBoth

PROBES = 2
"""Random cotangents, or drawn labels, for each sample."""


@dataclass(frozen=True, eq=False)
class PulledTwice:
    """M' of a part of the samples ``[d, d]``, in half precision and in float32."""

    half: Matrix
    precise: Matrix

    def shrunk(self, alpha: float, mean: float) -> PulledTwice:
        """Both drawn towards the same multiple of the identity, see `Fisher`."""
        if not alpha:
            return self
        rest = torch.eye(len(self.half)).to(self.half) * (alpha * mean)
        return PulledTwice((1 - alpha) * self.half + rest, (1 - alpha) * self.precise + rest)

    def noise(self, directions: Matrix, values: Vector) -> Vector:
        r"""Twice the part of each importance ``[r]`` that float32 has not, beyond what it has along earlier directions.

        Rounding tilts directions: one that is nothing but rounding can lie so near to an important one that float32 has
        much along it too. So both :math:`M'` are taken along the directions, the most important first, and each is
        judged by its pivot, :math:`p_i = A_{ii} - A_{iK} A_{KK}^{-1} A_{Ki}` with K the directions before it that are
        kept: what they do not explain. The noise is :math:`2 \lambda_i (1 - p_i^{32} / p_i^{half})`: a share of all,
        since few samples can have most of an importance, and those that were looked at need not be among them.

        Args:
            directions: ``[r, d]``.
            values: their importances, descending, in any unit.
        """
        half, precise = (directions @ A.to(directions) @ directions.T for A in (self.half, self.precise))
        sums = noise_of_sums(half.diagonal().max(), len(values))  # so that zeros have a ratio, 1, and no factor fails
        both = [A + sums * torch.eye(len(values)).to(A) for A in (half, precise)]
        L, K = (torch.linalg.cholesky_ex(A).L for A in both)  # their pivots as if all were kept
        noise = 2 * values * (1 - (K.diagonal() / L.diagonal()).square()).clamp_min(0)
        least = noise_of_sums(values[0], len(values))
        lost = (~(values > noise + least)).nonzero()  # pyright: ignore - or not a number
        first = int(lost[0]) if len(lost) else len(values)
        half, precise = (
            A[first:, first:] - F[first:, :first] @ F[first:, :first].T for A, F in zip(both, (L, K), strict=True)
        )
        for i in range(len(values) - first):
            at, p, q = first + i, half[i, i].clamp_min(sums), precise[i, i].clamp_min(sums)
            noise[at] = 2 * values[at] * (1 - q / p).clamp_min(0)
            if bool(values[at] > noise[at] + least):
                for A, pivot in ((half, p), (precise, q)):
                    A[i + 1 :, i + 1 :] -= A[i + 1 :, i, None] * A[i, i + 1 :] / pivot
        return noise

    def real(self, pulled: Matrix) -> Matrix:
        """An orthonormal basis ``[d, r]`` of what in M' of all samples is more than rounding."""
        values, V = eigh_descending(pulled)
        return V[:, values > self.noise(V.T, values) + noise_of_sums(values[0], len(values))]


def noise_of_sums(top: Tensor, size: int) -> float:
    """What float64 sums and the eigen-solver can make of an importance, beside the largest one."""
    return 4 * accumulation_noise(float(top), size)


class PulledRounding(InBoth[list[PulledTwice] | None]):
    r"""M' in half precision beside that in float32, at each of some sites.

    Both on the same samples, by the same random cotangents, so that what they have in common is not noise here. Where
    nothing depends on a direction, its importance in half precision is all rounding. Where steps are taken at slightly
    different points, as in deep models, the derivatives differ but their squares do not on average.

    Args:
        run: see `InBoth`.
        share: see `InBoth`.
        widths: of the sites.
    """

    sums = ("half", "precise", "n", *InBoth.sums)

    def __init__(self, run: Beside | None, share: float, widths: Sequence[int]) -> None:
        super().__init__(run, share)
        self.half, self.precise = ([torch.zeros(d, d, dtype=torch.float64) for d in widths] for _ in range(2))
        self.n = torch.zeros(len(widths), dtype=torch.float64)

    def put(self, i: int, half: Tensor, precise: Tensor, counted: Tensor | None, count: int) -> None:
        """Add derivatives ``[probe, batch, position, d]`` of one site in both, at so many positions for each probe."""
        for grams, vectors in ((self.half, half), (self.precise, precise)):
            g = (vectors if counted is None else vectors[:, counted]).flatten(0, -2).double()
            grams[i] = grams[i].to(g.device).addmm(g.T, g)
        self.n[i] += len(half) * count

    def finish(self) -> list[PulledTwice] | None:
        """By site; None where float32 failed on a batch, or nothing counted."""
        if self.failures or not bool((self.n > 0).all()):
            return None
        if not all(gram.isfinite().all() for gram in (*self.half, *self.precise)):
            return None
        return [
            PulledTwice(half / float(n), precise / float(n))
            for half, precise, n in zip(self.half, self.precise, self.n, strict=True)
        ]


class SpanRounding(PulledRounding):
    """That of one span of sections; see `PulledRounding`.

    Args:
        run: see `InBoth`.
        share: see `InBoth`.
        span: the sections.
        readout: C of the target ``[d, k]``.
        full: whether importances are computed in float32, at activations in half precision.
    """

    def __init__(self, run: Beside | None, share: float, span: Span, readout: Matrix, *, full: bool = False) -> None:
        super().__init__(run, share, [span.traced.sites[span.source].features])
        self.span, self.readout, self.full = span, readout, full

    def compare(self, part: Record, run: Beside) -> None:
        """See `InBoth`."""
        source, target = self.span.source, self.span.target
        y, counted = part.activations[target], part.counted[target]
        shape = PROBES, y.shape[1], self.readout.shape[1]
        drawn = signs(part.numbers, math.prod(shape), (source,), like=y).view(-1, *shape).movedim(1, 0)
        cotangents = drawn if counted is None else drawn * counted[..., None].to(drawn)

        def pulled(record: Record) -> Tensor:
            x, y = record.activations[source], record.activations[target]
            readout, through = self.readout.to(y), record.contexts[source:target]
            _, pull = pull_back(lambda z: record.forward(z, source, target) @ readout, x, through)
            return pull(cotangents.to(y))

        precise = run.record(part)
        there = precise.with_activation(source, part.activations[source].float()) if self.full else part
        self.put(0, pulled(there), pulled(precise), part.counted[source], part.count(source))


class LabelRounding(PulledRounding):
    """That of the model's own labels at all sites but the last; see `PulledRounding`.

    Args:
        run: see `InBoth`.
        share: see `InBoth`.
        readout: whose labels are drawn.
        widths: of the sites.
        memory: bound in bytes for what goes through the model together.
    """

    def __init__(self, run: Beside | None, share: float, readout: Fisher, widths: Sequence[int], memory: int) -> None:
        super().__init__(run, share, widths)
        self.readout, self.memory = readout, memory

    def compare(self, part: Record, run: Beside) -> None:
        """See `InBoth`."""
        for piece in parts(part, self.memory):
            half, precise = LabelGradients(piece), LabelGradients(run.record(piece))
            for draw in range(PROBES):
                labels = half.labels(self.readout, draw)
                both = (told.gradients(labels, keep=draw + 1 < PROBES) for told in (half, precise))
                for l, (a, b) in enumerate(zip(*both, strict=True)):
                    self.put(l, a[None], b[None], piece.counted[l], piece.count(l))
