"""Mean and covariance of every site, from one pass over the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..cut import Record, Traced
from ..errors import SiteError
from ..files import memory
from ..measure import Accumulator
from ..numerics import StreamingMoments
from .outliers import sums_of
from .spanned import SpannedMoments, span_of

WORK = 8
"""Matrices of a site's width that are there for a while when it is decomposed."""


def _check_widths(traced: Traced, spanned: int | None) -> None:
    """Each site keeps three matrices of its width: its covariance, C and its pseudo-inverse.

    A wide last site keeps them of what is spanned there. Decomposing one takes more for a while.

    Raises:
        SiteError: they need more memory than the machine has.
    """
    has = memory()
    needs = [(24 * site.features**2, site) for site in traced.sites]
    if spanned is not None:
        needs[-1] = (24 * traced.sites[-1].features * spanned, traced.sites[-1])
    kept, widest = max(needs, key=lambda pair: pair[0])
    work = kept // 3 * WORK
    if sum(one for one, _ in needs) + work <= has:
        return
    takes = (kept + work) / 2**30
    raise SiteError(
        f"Site {widest.name!r} has {widest.features} features, whose covariance and basis take {takes:.0f} GiB, "
        f"but this machine has {has / 2**30:.0f} GiB of memory; take a narrower site, such as the input of the layer "
        "before logits."
    )


SiteMoments = StreamingMoments | SpannedMoments


class SiteStatistics(Accumulator[list[SiteMoments]]):
    """Mean and covariance of every site.

    Attributes:
        moments: one for each site; none before the first batch.
        norms: sums of squared norms by site, see `sums_of`.
        samples: how many there are.
        dtype: what the activations are computed in; None where no batch was added here.
    """

    sums = ("moments", "norms", "samples")

    def __init__(self, traced: Traced) -> None:
        self.traced = traced
        self.moments: list[SiteMoments] = []
        self.norms: Tensor | None = None
        self.samples = 0
        self.dtype: torch.dtype | None = None

    def add(self, record: Record) -> None:
        """See `Accumulator`.

        Raises:
            SiteError: a site is too wide for this machine's memory.
        """
        if not self.moments:
            Q, (*sites, last) = span_of(record), self.traced.sites
            _check_widths(self.traced, None if Q is None else Q.shape[1])
            end = StreamingMoments(last.features) if Q is None else SpannedMoments(last.name, Q)
            self.moments = [*(StreamingMoments(site.features) for site in sites), end]
        self.seen(record)
        self.dtype = record.activations[0].dtype
        found = sums_of(record)
        self.norms = found if self.norms is None else self.norms + found
        self.samples += record.size
        for i, moments in enumerate(self.moments):
            moments.update(record.vectors(i))

    def seen(self, record: Record) -> None:
        """A batch says what a wide last site spans, where the sums were read."""
        if self.moments and isinstance(end := self.moments[-1], SpannedMoments) and not end.directions.numel():
            end.directions = end.directions if (Q := span_of(record)) is None else Q

    def load(self, state: Mapping[str, Any]) -> None:
        """See `Sums`."""
        seen = "moments.0.n" in state
        self.moments = [StreamingMoments(0) for _ in self.traced.sites if seen]  # the state has their sizes
        if f"moments.{len(self.moments) - 1}.total" in state:
            self.moments[-1] = SpannedMoments(self.traced.sites[-1].name, torch.zeros(0, 0))
        super().load(state)

    def finish(self) -> list[SiteMoments]:
        """The moments."""
        return self.moments
