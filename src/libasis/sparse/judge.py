"""What decides between rotations: how many interactions each section needs, on samples the search did not see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..ablation import ablate_edges
from ..basis import Basis
from ..errors import BatchError
from ..interactions import interactions
from ..intervene import parse_metric
from ..measure import Records
from ..types import Matrix, Plain, Vector
from .objective import strengths
from .responses import Response, drawn, to_judge, too_few
from .rotate import Rotations, turned

SAMPLES = 2048
"""Samples of the data of the fit on which interactions are ablated; none of them is one the rotations are fitted to."""

MAX_DROP = 0.001
"""The accuracy that may be lost."""

MOST = 2**16
"""Sections with more interactions than this are not ablated: it would take hours."""

RESTS = (3e-2, 1e-2, 3e-3, 1e-3)
"""Interactions are counted that carry all but these parts of a section's strength."""


class Judge(Protocol):
    """Counts the interactions that each section needs."""

    def counts(self, rotations: Rotations) -> list[Vector]:
        """Per section one count, or several that are all to be small."""
        ...

    def facts(self) -> Plain:
        """How it counts, as plain data."""
        ...


def ablatable(records: Records, basis: Basis) -> bool:
    """Whether `ByAblation` can judge: the batches have classes as targets, and the sections are not too large."""
    first = records.first()
    if not isinstance(first.targets, Tensor) or first.targets.is_floating_point():
        return False
    try:
        parse_metric("accuracy").scores(first.output, first.targets)
    except BatchError:  # one logit, say
        return False
    return max(a.k * b.k for a, b in zip(basis.sites[:-1], basis.sites[1:], strict=True)) <= MOST


class ByStrength:
    """Counts the strongest interactions that together carry almost all of a section's strength."""

    def __init__(self, held_out: Sequence[Response], importances: Sequence[Vector]) -> None:
        self.held_out, self.importances = held_out, importances

    def counts(self, rotations: Rotations) -> list[Vector]:
        """One for each of `RESTS`."""
        return [carriers(E, RESTS) for E in strengths(self.held_out, self.importances, rotations)]

    def facts(self) -> Plain:
        """See `Judge`."""
        what = "interactions that carry all but these parts of a section's strength"
        return {"count": what, "rests": list(RESTS), "samples": [response.rows for response in self.held_out]}


def carriers(E: Matrix, rests: Sequence[float]) -> Vector:
    """How many of the strongest interactions carry all but these parts of a section's strength."""
    carried = E.flatten().sort(descending=True).values.cumsum(0)
    return torch.stack([(carried < (1 - rest) * carried[-1]).sum() + 1.0 for rest in rests])


class ByAblation:
    """Counts the interactions needed to keep the accuracy, by edge ablation and the stable count.

    Edges are measured on all data of the fit; the ablated samples are drawn from those the rotations are not fitted to.

    Raises:
        BatchError: there are none.
    """

    def __init__(self, records: Records, basis: Basis, *, seed: int, memory: int) -> None:
        self.records, self.basis, self.memory = records, basis, memory
        self.samples = _samples(records, seed)

    def counts(self, rotations: Rotations) -> list[Vector]:
        """One per section."""
        traced = self.records.traced
        basis = self.basis if all(R is None for R in rotations) else turned(self.basis, rotations)
        graph = interactions(traced, basis, self.records, progress=False, memory=self.memory)
        needed = ablate_edges(
            traced, graph, self.samples, "accuracy", max_drop=MAX_DROP, progress=False, memory=self.memory
        )
        totals = needed.edges_total
        found = {name: totals[name] if m is None else max(m, 1) for name, m in needed.edges_required_stable.items()}
        return [torch.tensor([float(found[name])], dtype=torch.float64) for name in graph.sites[:-1]]

    def facts(self) -> Plain:
        """See `Judge`."""
        what = f"stable count of edge ablation, accuracy within {MAX_DROP:g} of the model's"
        return {"count": what, "samples": self.samples.samples}


def _samples(records: Records, seed: int) -> Records:
    kept = []
    for record, chances in drawn(records, seed):
        which = to_judge(chances[:, 0], SAMPLES, records.samples)
        if len(which):
            kept.append(record.select(which))
    if not kept:
        raise too_few(records.samples)
    return records.some(kept)
