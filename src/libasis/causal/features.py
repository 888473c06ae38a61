"""Features of a basis as columns, one value for each sample, to be joined with process variables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..ambient import neutral
from ..arguments import typed
from ..basis import Basis, check_fits
from ..cut import Record, Traced
from ..errors import OptionError, short
from ..intervene import BySample
from ..measure import Accumulator, Records, measure


@typed
@neutral
def features(
    traced: Traced,
    basis_or_graph: Any,
    batches: Iterable[Any],
    chosen: Mapping[str, Sequence[int]],
    *,
    columns: Mapping[str, Sequence[float]] | None = None,
    progress: bool | None = None,
) -> dict[str, np.ndarray]:
    """Values of features for each sample, in the order of the data, joined with other columns.

    Args:
        traced: from `trace` or `Chain`.
        basis_or_graph: whose features.
        batches: the data; targets are not needed.
        chosen: by site the indices of features, such as ``{"fc2:in": [0, 3]}``; they are called ``"fc2:in:0"``.
        columns: process variables of the same samples, by name.
        progress: show a progress bar; None shows one on a terminal only.

    Raises:
        OptionError: there is no such site or feature, or a column is not one number a sample.
    """
    basis = getattr(basis_or_graph, "basis", basis_or_graph)
    if not isinstance(basis, Basis):
        raise OptionError(f"features needs a basis or a graph, but got {type(basis_or_graph).__name__}.")
    if not any(len(indices) for indices in chosen.values()):
        raise OptionError("chosen names no feature; give by site the indices of some.")
    for site, indices in chosen.items():
        if bad := [i for i in indices if not 0 <= i < basis[site].k]:
            raise OptionError(f"chosen names feature {bad[0]} at {short(site)}, which has {basis[site].k}, from 0.")
    check_fits(traced, basis)
    records = Records.of(traced, batches, 1, progress=progress)
    values = measure(records, _Values(basis, chosen), "features")
    names = [f"{site}:{i}" for site, indices in chosen.items() for i in indices]
    found = dict(zip(names, values.T, strict=True))
    for name, column in (columns or {}).items():
        if len(column) != len(values) or name in found:
            raise OptionError(
                f"columns has {short(name)} with {len(column)} values for {len(values)} samples; give one for each, "
                "under a name of its own."
            )
        found[name] = np.asarray(column)
    return found


class _Values(Accumulator[np.ndarray]):
    """Each sample's mean of a feature over its counted positions."""

    sums = ("samples",)

    def __init__(self, basis: Basis, chosen: Mapping[str, Sequence[int]]) -> None:
        self.places = [(l, site, list(chosen[site.name])) for l, site in enumerate(basis) if site.name in chosen]
        order = list(chosen)
        self.places.sort(key=lambda place: order.index(place[1].name))
        self.samples = BySample()

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        parts = []
        for l, site, indices in self.places:
            values = site.encode(record.activations[l].double())[..., indices].cpu()
            counted = record.counted[l]
            weight = torch.ones(values.shape[:2]) if counted is None else counted.cpu()
            weight = weight.to(values)[..., None]
            parts.append(torch.where(weight > 0, values, 0).sum(1) / weight.sum(1))
        self.samples.add(record.numbers, torch.cat(parts, 1))

    def finish(self) -> np.ndarray:
        """See `Accumulator`; ``[samples, features]``."""
        return self.samples.table()[1].numpy()
