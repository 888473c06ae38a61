"""What `compare` returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..store import Stored
from ..types import Plain


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Stored, kind="comparison"):
    """Bases compared by the features and edges that a model, or several of them, need.

    Attributes:
        runs: by the name of the model, then by method, all that was measured: ``sites`` (rows of
            `feature_statistics`), ``nodes`` and ``edges`` (one row per site or section: counts needed, with intervals,
            and curves), ``replicates`` (the counts of each bootstrap replicate; None where no count passes),
            ``base_score``, ``samples``, ``cpu_seconds``. Replicates of different methods belong together.
        summary: what `summarise` says of the runs.
        info: how it was made.
    """

    runs: dict[str, dict[str, Plain]]
    summary: Plain
    info: Plain = field(default_factory=dict)

    def rows(self) -> list[Plain]:
        """One plain row per method and section, then site: the count needed, and its ratio to the reference, with ends.

        Counts are means over the models; None where a count does not exist.
        """
        keys = ("method", "models", "mean", "low", "high", "ratio", "ratio_low", "ratio_high")
        return [
            {"needed": kind, "place": row[place], **{key: row[key] for key in keys}}
            for kind, table, place in (("edges", "edges", "section"), ("features", "nodes", "site"))
            for row in self.summary.get(table, [])
        ]

    def __repr__(self) -> str:
        methods = dict.fromkeys(method for results in self.runs.values() for method in results)
        return f"Comparison({', '.join(methods)}; {len(self.runs)} model{'s' if len(self.runs) != 1 else ''})"
