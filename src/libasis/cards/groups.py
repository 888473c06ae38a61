"""Groups of samples side by side: means of features and outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..cut import Record
from ..types import Plain
from .intervene import outputs_of, per_sample
from .means import Mean
from .tally import Tally


def group_facts(
    name: str, pairs: Iterable[tuple[Any, Record]], tallies: Sequence[Tally], outputs: Sequence[int]
) -> Plain:
    """Mean and standard error over samples of each feature with a card and of the outputs listed.

    A sample's feature or output is its mean over the counted positions; samples without one are left out.
    """
    features, answers = [Mean() for _ in tallies], Mean()
    samples = 0
    for _, record in pairs:
        samples += record.size
        for tally, mean in zip(tallies, features, strict=True):
            z = tally.features(record.activations[tally.index])[..., tally.columns]
            mean.add(_pooled(z, tally.counted(record)))
        answers.add(per_sample(outputs_of(record.output), record)[:, list(outputs)])
    found = {}
    for tally, mean in zip(tallies, features, strict=True):
        rows = torch.stack([mean.mean, mean.error()], 1).tolist()
        found.update({f"{tally.site.name}:{i}": row for i, row in zip(tally.chosen, rows, strict=True)})
    return {
        "name": name,
        "samples": samples,
        "features": found,
        "outputs": torch.stack([answers.mean, answers.error()], 1).tolist(),
    }


def _pooled(z: Tensor, counted: Tensor | None) -> Tensor:
    if counted is None:
        return z.mean(1)
    some = counted.any(1)
    weight = counted[some].to(z)[..., None]
    return (z[some] * weight).sum(1) / weight.sum(1)
