"""What `intervene` returns: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..numerics import Estimate, paired
from ..store import Stored
from ..types import Matrix, Plain, Vector
from .intervention import Intervention


@dataclass(frozen=True, eq=False, repr=False)
class InterventionResult(Stored, kind="interventions"):
    """What each sample scores, untouched and under each intervention.

    Attributes:
        interventions: as they were asked for.
        base: the mean score of each sample in the model as it is, ``[n]`` in the order of the data; not a number where
            a sample has no score (all its targets are -100).
        scores: the same under each intervention, ``[interventions, n]``.
        counts: number of scores of each sample, ``[n]``.
        metric: the metric's name.
        higher_is_better: whether a larger score is a better one.
        info: basis, data, number of donors, model, versions.
    """

    interventions: tuple[Intervention, ...]
    base: Vector
    scores: Matrix
    counts: Vector
    metric: str
    higher_is_better: bool
    info: Plain = field(default_factory=dict)

    @cached_property
    def effects(self) -> list[Estimate]:
        """The mean over samples of score minus base, with interval and p-value: one for each intervention.

        Each sample counts once, however many scores it has; ablations and cards count each score once.
        """
        return [paired(scores - self.base) for scores in self.scores]

    def rows(self) -> list[dict[str, Any]]:
        """One plain row for each intervention: what it is, and its effect."""
        return [
            {
                "intervention": one.label,
                "site": one.site,
                "to": one.to,
                "where": one.where,
                **{key: getattr(effect, key) for key in ("value", "low", "high", "p", "n", "units")},
            }
            for one, effect in zip(self.interventions, self.effects, strict=True)
        ]

    def __repr__(self) -> str:
        return (
            f"InterventionResult({len(self.interventions)} interventions, {len(self.base)} samples, "
            f"metric={self.metric!r}, base={float(self.base.nanmean()):.4g})"
        )
