"""Mean and covariance of every site, from one pass over the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..cut import Record, Traced
from ..errors import SiteError
from ..files import memory
from ..measure import Accumulator
from ..numerics import StreamingMoments


def _check_widths(traced: Traced) -> None:
    """Each site takes three matrices of its width: its covariance, C and its pseudo-inverse.

    Raises:
        SiteError: they need more memory than the machine has.
    """
    has = memory()
    needs = [(24 * site.features**2, site) for site in traced.sites]
    if sum(need for need, _ in needs) <= has:
        return
    need, widest = max(needs, key=lambda pair: pair[0])
    raise SiteError(
        f"Site {widest.name!r} has {widest.features} features, whose covariance and basis take {need / 2**30:.0f} GiB, "
        f"but this machine has {has / 2**30:.0f} GiB of memory; take a narrower site, such as the input of the layer "
        "before logits."
    )


class SiteStatistics(Accumulator[list[StreamingMoments]]):
    """Mean and covariance of every site.

    Attributes:
        moments: one for each site; none before the first batch.
        dtype: what the activations are computed in; None where no batch was added here.
    """

    sums = ("moments",)

    def __init__(self, traced: Traced) -> None:
        self.traced = traced
        self.moments: list[StreamingMoments] = []
        self.dtype: torch.dtype | None = None

    def add(self, record: Record) -> None:
        """See `Accumulator`.

        Raises:
            SiteError: a site is too wide for this machine's memory.
        """
        if not self.moments:
            _check_widths(self.traced)
            self.moments = [StreamingMoments(site.features) for site in self.traced.sites]
        self.dtype = record.activations[0].dtype
        for i, moments in enumerate(self.moments):
            moments.update(record.vectors(i))

    def load(self, state: Mapping[str, Any]) -> None:
        """See `Sums`."""
        self.moments = [StreamingMoments(0) for _ in self.traced.sites if state]  # the state has their sizes
        super().load(state)

    def finish(self) -> list[StreamingMoments]:
        """The moments."""
        return self.moments
