"""The samples that a question is about, and what a person sees of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..arguments import check_fields
from ..basis import Basis, check_fits
from ..cards.contents import Contents, Naming
from ..cut import Record, Traced
from ..errors import BatchError, OptionError, short
from ..graphs import InteractionGraph
from ..measure import Records, shares
from ..provenance import versions
from ..types import Plain

SHOWN = 8
"""So many samples are kept to be shown."""
TOKENS = 512
"""At most so many tokens of a text are shown."""

Samples = int | Sequence[int] | None


@dataclass(frozen=True)
class Show(Naming):
    """How samples are shown.

    Attributes:
        kind: ``"text"``, ``"image"``, ``"table"`` or ``"number"``; ``"auto"`` decides by the data, as `collect` does.
        columns: names of the inputs' columns.
        tokenizer: has a method ``decode``.
        vocabulary: texts of the tokens by their numbers, or a function of the numbers of one sample.
        image_shape: ``[height, width]`` or ``[channels, height, width]`` of images given as flat numbers.
        outputs: names of the model's outputs.
        standardiser: what made the columns of a table of values in units: an object with ``mean_`` and ``scale_`` (as
            StandardScaler of scikit-learn), or a pair of both, a number for each column. Columns are then shown, and
            derivatives by them given, in these units.
    """

    outputs: Sequence[str] | None = None
    standardiser: Any = field(default=None)

    def __post_init__(self) -> None:
        check_fields(self)
        super().__post_init__()

    def scale(self, width: int) -> tuple[Tensor, Tensor] | None:
        """Mean and scale of each column ``[width]``, where they are known.

        Raises:
            OptionError: they are no such numbers.
        """
        given = self.standardiser
        if given is None:
            return None
        pair = (given.mean_, given.scale_) if hasattr(given, "mean_") and hasattr(given, "scale_") else given
        try:
            mean, scale = (torch.as_tensor(part, dtype=torch.float64).flatten() for part in pair)
        except (TypeError, ValueError, RuntimeError):
            mean = scale = torch.zeros(0)
        finite = bool(torch.isfinite(mean).all()) and bool(torch.isfinite(scale).all()) and bool(scale.all())
        if len(mean) != width or len(scale) != width or not finite:
            raise OptionError(
                f"standardiser is {short(given)}; give means and scales of the {width} columns, finite and not 0, or "
                "an object with mean_ and scale_."
            )
        return mean, scale


@dataclass(eq=False)
class Inquiry:
    """The samples in question among the data.

    Attributes:
        records: the data.
        basis: the features.
        labels: of features, by id.
        model: what it is, for the record.
        samples: numbers of the samples ``[n]``, ascending; None for all.
    """

    records: Records
    basis: Basis
    labels: dict[str, str]
    model: Plain
    samples: Tensor | None

    @classmethod
    def of(
        cls, traced: Traced, given: Any, batches: Any, samples: Samples, *, memory: int | str, progress: bool | None
    ) -> Inquiry:
        """Read what every call is given.

        Raises:
            OptionError: it has no basis, or samples are no numbers.
        """
        kept = shares(memory, traced)[0]
        basis = getattr(given, "basis", given)
        if not isinstance(basis, Basis):
            raise OptionError(f"The features are those of a basis or a graph, but got {type(given).__name__}.")
        labels = given.labels if isinstance(given, InteractionGraph) else {}
        chosen = None
        if samples is not None:
            listed = [int(n) for n in (samples if isinstance(samples, Sequence) else [samples])]
            if not listed or min(listed) < 0 or max(listed) >= 2**63 or len(set(listed)) < len(listed):
                raise OptionError(f"samples is {short(samples)}; give numbers of samples from 0, none of them twice.")
            chosen = torch.tensor(sorted(listed), dtype=torch.int64)
        model = check_fits(traced, basis)
        records = Records.of(traced, batches, kept, progress=progress)
        return cls(records, basis, {key: label.label for key, label in labels.items()}, model, chosen)

    def site(self, name: str) -> int:
        """The number of a site.

        Raises:
            OptionError: there is none of that name.
        """
        names = [site.name for site in self.basis]
        if name not in names:
            raise OptionError(f"site is {short(name)}, but the sites are {names}.")
        return names.index(name)

    def batches(self, label: str) -> Iterator[tuple[Record, Tensor]]:
        """Each batch that holds samples of the group, and their places in it.

        Raises:
            OptionError: the data have no such sample.
        """
        met = 0
        for record in self.records.stream(label=label):
            rows = torch.arange(record.size)
            if self.samples is not None:
                rows = rows[torch.isin(record.numbers, self.samples)]
            met += len(rows)
            if len(rows):
                yield record, rows
        if self.samples is not None and met < len(self.samples):
            raise OptionError(
                f"samples goes up to {int(self.samples.max())}, but the data have {self.records.samples}, from 0."
            )
        if not met:
            raise BatchError("The data hold no sample; give at least one.")

    def facts(self) -> Plain:
        """For the record."""
        return {
            "basis": self.basis.method,
            "data": self.records.facts(),
            "stands_on": {"basis": self.basis.digest()},
            "traced": self.model,
            "versions": versions(),
        }


class Shown:
    """What is shown of the first samples of a group."""

    def __init__(self, show: Show) -> None:
        self.show = show
        self.contents: Contents | None = None
        self._raw: list[tuple[int, Tensor, Plain]] = []

    def add(self, record: Record, rows: Tensor, more: Sequence[Plain] = ()) -> None:
        """Look at samples of a batch; ``more``: what else is said of each."""
        if self.contents is None:
            self.contents = Contents(record.batch, record.size, self.show)
        inputs = self.contents.of(record.batch)
        self.contents.look(inputs)
        for place, row in enumerate(rows.tolist()[: SHOWN - len(self._raw)]):
            said = more[place] if more else {}
            self._raw.append((int(record.numbers[row]), self.contents.raw(inputs, row), said))

    def plain(self) -> list[Plain]:
        """Samples as plain data: their number, and what is seen of them."""
        return [{"sample": number, "content": self._content(raw), **said} for number, raw, said in self._raw]

    def _content(self, raw: Tensor) -> Plain:
        assert self.contents is not None  # noqa: S101 - something was added
        if self.contents.kind == "text":
            return {"kind": "text", "tokens": self.contents.tokens(raw)[:TOKENS]}
        content = self.contents.plain(raw, None, None)
        if self.contents.kind == "table" and (scale := self.show.scale(len(content["values"]))):
            content["values"] = (raw.flatten().double() * scale[1] + scale[0]).tolist()
        return content

    def output(self, number: int, count: int) -> str:
        """The name of an output of so many."""
        names = self.show.outputs
        if names is not None:
            if len(names) != count:
                raise OptionError(f"outputs has {len(names)} names, but the model has {count} outputs; name all.")
            return str(names[number])
        named = None if self.contents is None else self.contents.vocabulary_of(count)
        return str(number) if named is None else named(number)
