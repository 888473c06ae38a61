"""What `collect` returns: plain data, and its file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import OptionError, StoreError
from ..files import write_text
from ..types import Plain

FORMAT = "libasis-cards"
VERSION = 1
KINDS = ("text", "image", "table", "number")
_KEYS = {"kind": str, "outputs": list, "groups": list, "cards": dict, "info": dict}


@dataclass(frozen=True, eq=False)
class FeatureCards:
    """What a person needs to understand features one by one, as plain data.

    Attributes:
        kind: of the samples' content: ``"text"``, ``"image"``, ``"table"`` or ``"number"``.
        outputs: names of the model's outputs.
        cards: by ``"site:index"``. Each card has ``n`` (values counted), ``mean``, ``std``, ``min``, ``max``,
            ``histogram``, ``top`` and ``bottom`` (examples), ``effects``, ``direction``, ``ablation`` (or None) and
            ``suggestions``; `collect` says what each of them is.
        groups: for each group of samples its ``name``, ``samples``, and ``[mean, standard error]`` of ``features`` (by
            ``"site:index"``) and ``outputs``.
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

    def to_plain(self) -> Plain:
        """Everything as JSON-serialisable data, with the format and its version."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "kind": self.kind,
            "outputs": self.outputs,
            "info": self.info,
            "groups": self.groups,
            "cards": self.cards,
        }

    def save(self, path: str | Path) -> Path:
        """Write as JSON, atomically; a file of that name is replaced."""
        return write_text(path, json.dumps(self.to_plain(), ensure_ascii=False, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> FeatureCards:
        """Read what `save` wrote.

        Raises:
            StoreError: the file is missing, is no file of cards, is damaged or from a newer version.
        """
        try:
            data: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise StoreError(f"The cards {str(path)!r} cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise StoreError(f"{path} is damaged: it is not JSON ({error}); collect the cards again.") from error
        return cls.from_plain(data, where=str(path))

    @classmethod
    def from_plain(cls, data: Any, *, where: str = "the data") -> FeatureCards:
        """The inverse of `to_plain`.

        Raises:
            StoreError: these are no cards, or they are damaged or from a newer version.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise StoreError(f"{where} holds no feature cards; give a file that FeatureCards.save wrote.")
        version = data.get("version")
        if not isinstance(version, int) or version > VERSION:
            raise StoreError(
                f"{where} has format version {version!r}, but this libasis reads versions up to {VERSION}; upgrade "
                "libasis."
            )
        wrong = [key for key, kind in _KEYS.items() if not isinstance(data.get(key), kind)]
        if not wrong and data["kind"] not in KINDS:
            wrong = ["kind"]
        if wrong:
            raise StoreError(f"{where} is damaged: {wrong[0]!r} is missing or wrong; collect the cards again.")
        return cls(data["kind"], data["outputs"], data["cards"], data["groups"], data["info"])


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
