"""What half precision adds to the derivatives behind importances: measured beside float32, on the same inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..cut import Record, pull_back
from ..importance import Fisher, Span, signs
from ..importance.fisher import LabelGradients, parts
from ..types import Matrix
from .rounding import Beside, InBoth

PROBES = 2
"""Random cotangents, or drawn labels, for each sample."""


class PulledRounding(InBoth[list[Matrix] | None]):
    r"""What rounding adds to M' at each of some sites: M' in half precision less that in float32, ``[d, d]``.

    Both on the same samples, by the same random cotangents, so that what they have in common is not noise here. Where
    nothing depends on a direction, its importance in half precision is all rounding. Where steps are taken at slightly
    different points, as in deep models, the derivatives differ but their squares do not on average.

    Args:
        run: see `InBoth`.
        share: see `InBoth`.
        widths: of the sites.
    """

    sums = ("grams", "n", *InBoth.sums)

    def __init__(self, run: Beside | None, share: float, widths: Sequence[int]) -> None:
        super().__init__(run, share)
        self.grams = [torch.zeros(d, d, dtype=torch.float64) for d in widths]
        self.n = torch.zeros(len(widths), dtype=torch.float64)

    def put(self, i: int, half: Tensor, precise: Tensor, counted: Tensor | None, count: int) -> None:
        """Add derivatives ``[probe, batch, position, d]`` of one site in both, at so many positions for each probe."""
        for sign, vectors in ((1, half), (-1, precise)):
            g = (vectors if counted is None else vectors[:, counted]).flatten(0, -2).double()
            self.grams[i] = self.grams[i].to(g.device).addmm(g.T, g, alpha=sign)
        self.n[i] += len(half) * count

    def finish(self) -> list[Matrix] | None:
        """By site; None where float32 failed on a batch, or nothing counted."""
        if self.failures or not bool((self.n > 0).all()) or not all(g.isfinite().all() for g in self.grams):
            return None
        return [gram / float(n) for gram, n in zip(self.grams, self.n, strict=True)]


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
