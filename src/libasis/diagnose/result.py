"""What a diagnosis found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..pages import write_page
from ..store import Stored
from ..store.result import frame_of, listed
from ..types import Plain

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(Stored, kind="diagnosis"):
    """Which inputs mediate a model's alarm; never what causes the fault in the plant.

    Attributes:
        tested_inputs: one row per input, best first: see `inputs`.
        tested_sets: one row per set: see `sets`.
        tested_features: one row per feature: see `features`.
        plain_methods: one row per input: see `baselines`.
        found_first: what to know first: see `findings`.
        info: how it was made.
    """

    tested_inputs: list[Plain]
    tested_sets: list[Plain]
    tested_features: list[Plain]
    plain_methods: list[Plain]
    found_first: list[Plain]
    info: Plain = field(default_factory=dict)

    @property
    def inputs(self) -> pandas.DataFrame:
        """One row per input, those with a verdict first, then by importance.

        ``input``; ``verdict``; ``normal`` and ``anomalous``: its mean in each group, in its own units
        (``normal_std``, ``anomalous_std``: its standard deviation); ``before`` and
        ``after``: the alarm rate (or mean score) of the anomalous rows, as they are and with the input set to matched
        normal values; ``low`` and ``high``: the 95% interval of ``effect``, the change from before to after; ``p``: of
        both nulls, corrected for all inputs; ``collateral``: the change on normal rows by the same edit; ``alone``: the
        alarm rate of normal rows with this input alone as in the anomalous rows; ``share`` of the excess score;
        ``importance``, by which inputs are ranked; ``stability``: how often it stays among the first three when the
        units are resampled; ``difference`` of the groups in standard deviations and its ``q``; ``units``; ``why``.
        """
        return frame_of(self.tested_inputs)

    @property
    def sets(self) -> pandas.DataFrame:
        """One row per set of inputs set to normal together.

        As `inputs`, with ``set``, ``members``, ``confirmed`` (tested on other units than those that chose it),
        ``normal_before`` and ``normal_after``: the alarm on normal rows; and for two inputs ``contrast``: what they do
        together beyond the sum of what each does alone, with its interval.
        """
        return frame_of(self.tested_sets)

    @property
    def features(self) -> pandas.DataFrame:
        """One row per feature inside the model that was tested, named by the columns that it reads."""
        return frame_of(self.tested_features)

    @property
    def baselines(self) -> pandas.DataFrame:
        """One row per input, in our order, with the value and the rank that each plain method gives it."""
        return frame_of(self.plain_methods)

    @property
    def findings(self) -> list[str]:
        """What to know first, in sentences, each with its remedy."""
        return [one["text"] for one in self.found_first]

    def rows(self) -> Sequence[Plain]:
        """Those of `inputs`."""
        return self.tested_inputs

    def to_html(self, path: str | Path, lang: str = "en", *, title: str | None = None) -> Path:
        """Write a self-contained page that shows it; opens in English or Japanese."""
        return write_page(self, path, lang, title=title)

    def __repr__(self) -> str:
        rows = [
            f"{row['input']}: {row['normal']:.4g} -> {row['anomalous']:.4g}; set to normal, the alarm goes from "
            f"{self.amount(row['before'])} to {self.amount(row['after'])} [{row['verdict']}]"
            for row in self.tested_inputs
        ]
        return listed(f"Diagnosis({len(rows)} inputs; alarm: {self.info['alarm']})", rows)

    def amount(self, value: float) -> str:
        """An alarm rate or a score, as text."""
        return f"{value:.1%}" if self.info["rates"] else f"{value:.4g}"

    def flaw(self) -> str | None:
        """See `Stored`."""
        keys: tuple[tuple[Any, str], ...] = (
            (self.tested_inputs, "input"), (self.tested_sets, "set"), (self.plain_methods, "input"),
        )  # fmt: skip
        lacking = next((key for rows, key in keys for row in rows if key not in row), None)
        return f"a row has no {lacking!r}" if lacking else None
