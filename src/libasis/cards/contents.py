"""What a person sees of a sample: its text, image, table row or numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..data.batches import Batch
from ..errors import BatchError, OptionError
from ..numerics import Sums
from ..numerics.means import Mean, Range
from ..types import Plain
from .images import SIDE, Format, grey_range, pillow, png
from .result import KINDS

WINDOW = 64
"""At most so many tokens of a text are shown, most of them before the place in question."""

NUMBERS = 256
"""At most so many numbers are shown."""

SIDE_INPUTS = ("mask", "position_ids", "token_type", "cache_position", "labels")


@dataclass(frozen=True)
class Naming:
    """How the user wants content to be shown, see `collect`."""

    kind: str = "auto"
    columns: Sequence[str] | None = None
    tokenizer: Any = None
    vocabulary: Sequence[str] | Callable[[list[int]], Sequence[str]] | None = None
    image_shape: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("auto", *KINDS):
            raise OptionError(f"kind is {self.kind!r}; use one of {['auto', *KINDS]}.")


class Contents(Sums):
    """Reads the content of samples and, once all data are seen, turns it into plain data.

    Args:
        batch: the first batch; what it holds decides the kind.
        size: its number of samples.
        naming: what the user said.

    Attributes:
        kind: ``"text"``, ``"image"``, ``"table"`` or ``"number"``.
        why: what decided it, in words.
        name: the input that is shown.
        range: of the numbers of images.
        rows: of the numbers of a table, column by column.
        reference: the same of the group from which columns are counted; None counts from these samples.
    """

    sums = ("range", "rows")

    def __init__(self, batch: Batch, size: int, naming: Naming) -> None:
        self.naming = naming
        self.name, example = _main_input(batch, size)
        self.kind, self.why = _kind_of(example, self.name, naming)
        self.format: Format | None = None
        self.columns: list[str] | None = None
        if self.kind == "text":
            self._check_text(example)
        elif self.kind == "image":
            self.format = Format.of(example, naming.image_shape)
            pillow()
        else:
            self.columns = _columns(example, naming.columns, table=self.kind == "table")
        self.range, self.rows = Range(), Mean()
        self.reference: Mean | None = None

    def _check_text(self, example: Tensor) -> None:
        if example.is_floating_point() or example.ndim > 2:
            raise OptionError(
                f'kind is "text", but the input {self.name} is {_shown(example)}, no token numbers [batch, position]; '
                "choose another kind."
            )

    def of(self, batch: Batch) -> Tensor:
        """The input that is shown, of one batch."""
        found: Any = batch.kwargs[self.name] if isinstance(self.name, str) else batch.args[self.name]
        return found

    def look(self, inputs: Tensor) -> None:
        """Add a batch to what is known of all data: the range of images, mean and deviation of columns."""
        if self.kind == "image":
            self.range.add(inputs.flatten())
        elif self.kind == "table":
            self.rows.add(inputs.reshape(len(inputs), -1))

    def usual(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each column of a table, ``[columns]``: of the reference, or of these samples.

        A column that never changes in the reference has the deviation that it has in these samples.
        """
        mean, deviation = self.rows.mean, self.spread()
        if self.reference is None:
            return mean, deviation
        own = self._varying(self.reference)
        return self.reference.mean, torch.where(own > 0, own, deviation)

    def spread(self) -> Tensor:
        """The deviation of each column of a table in these samples, ``[columns]``."""
        return self._varying(self.rows)

    @staticmethod
    def _varying(rows: Mean) -> Tensor:
        deviation = rows.deviation()  # of a column of one value it is rounding and nothing else
        return torch.where(deviation > 1e-7 * rows.mean.abs(), deviation, torch.zeros_like(deviation))

    def moved(self, batch: Batch, column: int, step: float) -> Batch:
        """A batch with one column of a table higher by a step."""
        found = self.of(batch)
        inputs = found.reshape(len(found), -1).clone()
        inputs[:, column] += step
        inputs = inputs.reshape(found.shape)
        if isinstance(self.name, str):
            return replace(batch, kwargs={**batch.kwargs, self.name: inputs})
        return replace(batch, args=(*batch.args[: self.name], inputs, *batch.args[self.name + 1 :]))

    def raw(self, inputs: Tensor, row: int) -> Tensor:
        """One sample, small enough to be held."""
        x = inputs[row].detach()
        return x.to("cpu", copy=True) if self.format is None else self.format.small(x)

    def tokens(self, ids: Tensor) -> list[str]:
        """The tokens of one sample as texts."""
        numbers = [int(t) for t in ids.flatten().tolist()]
        named = _named(numbers, self.naming)
        if len(named) != len(numbers):
            raise OptionError(
                f"vocabulary gave {len(named)} texts for {len(numbers)} tokens; give a list of texts, or a function "
                "that takes the token numbers of one sample and returns a text for each."
            )
        return [str(text) for text in named]

    def vocabulary_of(self, count: int) -> Callable[[int], str] | None:
        """Names of outputs where the outputs are the vocabulary's tokens, one for each; None elsewhere."""
        words = self.naming.vocabulary
        if words is not None and not callable(words):
            return (lambda token: str(words[token])) if len(words) == count else None
        if words is None and self.naming.tokenizer is not None:
            known = getattr(self.naming.tokenizer, "__len__", lambda: 0)()
            if 0 < known <= count:  # a vocabulary is often filled up to a round number
                return lambda token: str(self.naming.tokenizer.decode([token])) if token < known else str(token)
        return None

    def plain(self, raw: Tensor, values: Sequence[float | None] | None, position: int | None) -> Plain:
        """The content of a sample as plain data.

        Args:
            raw: from `raw`.
            values: of a text, the feature's value at each token, where it has one.
            position: where the feature is extreme, or None.
        """
        if self.kind == "text":
            return self._text(raw, values, position)
        if self.kind == "image":
            return png(raw, *self._greys())
        if raw.ndim > 1 and position is not None and position < len(raw):
            raw = raw[position]
        numbers = [_number(v) for v in raw.flatten()[:NUMBERS].tolist()]
        names = None if self.columns is None else self.columns[: len(numbers)]
        if self.kind == "number":
            return {"kind": "number", "values": numbers, "names": names}
        return {"kind": "table", "columns": names, "values": numbers, "z": self._z(raw)[: len(numbers)]}

    def _text(self, raw: Tensor, values: Sequence[float | None] | None, position: int | None) -> Plain:
        tokens = self.tokens(raw)
        start = 0
        if len(tokens) > WINDOW:
            start = min(max(0, (position or 0) - 3 * WINDOW // 4), len(tokens) - WINDOW)
        part = slice(start, start + WINDOW)
        at = None if values is None or position is None else position - start
        return {
            "kind": "text",
            "tokens": tokens[part],
            "values": [None] * len(tokens[part]) if values is None else list(values[part]),
            "at": at,
        }

    def _z(self, raw: Tensor) -> list[float | None]:
        mean, deviation = self.usual()
        z = (raw.flatten().to(torch.float64) - mean) / deviation
        return [float(v) if d > 0 else None for v, d in zip(z, deviation, strict=True)]

    def _greys(self) -> tuple[float, float]:
        return grey_range(float(self.range.low), float(self.range.high))

    def coordinates(self) -> list[str] | None:
        """Names of a sample's numbers in their order, pixels or columns; None where they have none."""
        return self.columns if self.format is None else self.format.pixels()

    def facts(self) -> Plain:
        """What was decided, for the record."""
        out: Plain = {"kind": self.kind, "why": self.why, "input": str(self.name)}
        if self.kind == "image":
            out["range"] = list(self._greys())
            out["shown_up_to_pixels"] = SIDE
        if self.kind == "text":
            out["shown_up_to_tokens"] = WINDOW
        return out


def _main_input(batch: Batch, size: int) -> tuple[str | int, Tensor]:
    """The input that people would look at: ``input_ids``, or the first that is no mask or position."""
    named: list[tuple[str | int, Any]] = [*enumerate(batch.args), *batch.kwargs.items()]
    own = [(n, t) for n, t in named if isinstance(t, Tensor) and t.ndim and len(t) == size]
    shown = [
        (n, t)
        for n, t in own
        if t.dtype != torch.bool and not (isinstance(n, str) and any(word in n for word in SIDE_INPUTS))
    ]
    for name, tensor in [*((n, t) for n, t in shown if n == "input_ids"), *shown, *own]:
        return name, tensor
    raise BatchError("The inputs hold no tensor with one entry per sample, so there is nothing to show of a sample.")


def _kind_of(x: Tensor, name: str | int, naming: Naming) -> tuple[str, str]:
    if naming.kind != "auto":
        return naming.kind, "asked for"
    what = f"the input {name} is {_shown(x)}"
    if naming.image_shape is not None:
        return "image", "image_shape was given"
    if (naming.tokenizer is not None or naming.vocabulary is not None) and not x.is_floating_point():
        return "text", "names of tokens were given"
    if x.ndim == 4 and (x.shape[1] in (1, 3) or x.shape[3] in (1, 3)):
        return "image", f"{what}: images of one or three channels"
    if not x.is_floating_point() and x.ndim <= 2 and naming.columns is None:
        return "text", f"{what}: token numbers"
    if naming.columns is not None:
        return "table", "columns were given"
    return "number", f"{what}, and neither columns nor an image_shape were given"


def _columns(x: Tensor, given: Sequence[str] | None, *, table: bool) -> list[str] | None:
    if table and x.ndim > 2:
        raise OptionError(f'kind is "table", but the input is {_shown(x)}, no rows [batch, column]; use "number".')
    width = x.shape[-1] if x.ndim > 1 else 1
    if given is None:
        return [str(i) for i in range(width)] if table else None
    if len(given) != width:
        raise OptionError(f"columns has {len(given)} names, but a sample has {width} numbers; name each of them.")
    return [str(name) for name in given]


def _named(ids: list[int], naming: Naming) -> Sequence[Any]:
    if callable(naming.vocabulary):
        return naming.vocabulary(ids)
    if naming.vocabulary is not None:
        words = naming.vocabulary
        return [words[t] if 0 <= t < len(words) else str(t) for t in ids]
    if naming.tokenizer is not None:
        return [naming.tokenizer.decode([t]) for t in ids]
    return [str(t) for t in ids]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _shown(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} [{', '.join(['batch', *map(str, x.shape[1:])])}]"
