"""What `collect` returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import OptionError
from ..store import Stored
from ..types import Plain

KINDS = ("text", "image", "table", "number")


@dataclass(frozen=True, eq=False)
class FeatureCards(Stored, kind="cards"):
    """What a person needs to understand features one by one, as plain data.

    Attributes:
        kind: of the samples' content: ``"text"``, ``"image"``, ``"table"`` or ``"number"``.
        outputs: names of the model's outputs.
        cards: by ``"site:index"``. Each card has ``reads`` (columns), ``n`` (values counted), ``mean``, ``std``,
            ``min``, ``max``, ``histogram``, ``top`` and ``bottom`` (examples), ``effects``, ``direction``, ``ablation``
            (or None) and ``suggestions``; `collect` says what each of them is.
        groups: for each group of samples its ``name``, ``samples``, how its ``rows`` were taken, and ``[mean, standard
            error]`` of ``features`` (by ``"site:index"``), ``outputs`` and, of a table, ``columns`` (by name).
        info: how they were made: data, seed, samples, what was decided, the model's fingerprint, versions.
    """

    kind: str
    outputs: list[str]
    cards: dict[str, Plain]
    groups: list[Plain] = field(default_factory=list)
    info: Plain = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.cards)

    def __getitem__(self, feature: str) -> Plain:
        if feature not in self.cards:
            raise OptionError(f"There is no card of {feature!r}; those there are: {_some(list(self.cards))}.")
        return self.cards[feature]

    def __repr__(self) -> str:
        return f"FeatureCards({len(self.cards)} features, kind={self.kind!r}, {len(self.groups)} groups)"

    def flaw(self) -> str | None:
        """What makes them no cards; None if they are."""
        return None if self.kind in KINDS else f"their kind is {self.kind!r}, but it must be one of {list(KINDS)}"

    def rows(self) -> list[Plain]:
        """One plain row per feature: its id, the column it reads first, its first suggested label, its numbers."""
        return [{"id": key, **_numbers(card)} for key, card in self.cards.items()]


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _numbers(card: Plain) -> Plain:
    """What of a card fits in a row; None for what it lacks."""
    tables = {
        "reads_": (next(iter(card.get("reads") or ()), {}), ("column", "weight", "step", "mean", "std")),
        "suggestion_": (next(iter(card.get("suggestions") or ()), {}), ("kind", "value", "effect")),
        "": (card, ("n", "mean", "std", "min", "max")),
        "effect_": (next(iter(card.get("effects") or ()), {}), ("output", "effect", "low", "high")),
        "ablation_": (card.get("ablation") or {}, ("change", "low", "high", "p", "passed", "tested")),
    }
    return {f"{prefix}{key}": part.get(key) for prefix, (part, keys) in tables.items() for key in keys}
