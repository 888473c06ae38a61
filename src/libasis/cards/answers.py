"""Outputs and targets in words: their names, what a sample's target is, and what the model says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..errors import OptionError
from ..intervene.metrics import IGNORED
from ..types import Activations
from .contents import Contents

LISTED = 1024
"""Of more outputs only those that some card speaks of are listed."""

SHOWN = 3
"""At most so many numbers of a target or prediction are shown."""


class Answers:
    """Names of outputs; targets and predictions in words.

    Targets of whole numbers are classes, numbered as the outputs, and the prediction is the largest output. Other
    targets are numbers. Without targets the outputs of a text model are tokens, a single output is a number, and of
    anything else no prediction is shown.

    Args:
        outputs: of the first batch, ``[batch, position, output]``.
        targets: of the first batch.
        contents: of the first batch; its vocabulary names outputs where there are as many.
        names: the user's names of outputs.

    Raises:
        OptionError: there are not as many names as outputs.
    """

    def __init__(self, outputs: Activations, targets: Any, contents: Contents, names: Sequence[str] | None) -> None:
        self.count = outputs.shape[-1]
        self.contents = contents
        self.names = None if names is None else [str(name) for name in names]
        if self.names is not None and len(self.names) != self.count:
            raise OptionError(f"outputs has {len(self.names)} names, but the model has {self.count} outputs; name all.")
        self.kind = self._kind(targets)

    def _kind(self, targets: Any) -> str | None:
        if isinstance(targets, Tensor):
            return "number" if targets.is_floating_point() or self.count == 1 else "class"
        if self.count == 1:
            return "number"
        return "class" if self.contents.kind == "text" else None

    def name(self, output: int) -> str:
        """The name of an output."""
        if self.names is not None:
            return self.names[output] if 0 <= output < self.count else str(output)
        named = self.contents.vocabulary_of(self.count)
        return str(output) if named is None else named(output)

    def class_name(self, label: int) -> str:
        """The name of a class; that of an output only where targets number the outputs."""
        return self.name(label) if self.kind == "class" else str(label)

    def listed(self, used: set[int]) -> list[int]:
        """The outputs to list: all, or of very many those used."""
        return list(range(self.count)) if self.count <= LISTED else sorted(used)

    def target(self, targets: Any, row: int, at: int, positions: int) -> Tensor | None:
        """The numbers of a sample's target (at a position), no more than tell what to show."""
        if not isinstance(targets, Tensor) or not targets.ndim or len(targets) <= row:
            return None
        own = targets[row]
        if own.ndim and positions > 1 and len(own) == positions:
            own = own[at]
        return _held(own)

    def prediction(self, outputs: Activations, row: int, at: int, positions: int) -> Tensor | None:
        """The numbers of what the model says of a sample (at a position); None where its positions are others."""
        own = outputs[row]
        if self.kind is None or (len(own) > 1 and len(own) != positions):
            return None
        said = own[at if len(own) > 1 else 0]
        return _held(said.argmax() if self.kind == "class" else said)

    def words(self, numbers: Tensor | None) -> str | None:
        """A target or a prediction in words."""
        if numbers is None or not len(numbers):
            return None
        if self.kind == "class":
            return None if len(numbers) > 1 or int(numbers) == IGNORED else self.name(int(numbers))
        values = numbers.tolist()
        return ", ".join(f"{v:.4g}" for v in values[:SHOWN]) + (", …" if len(values) > SHOWN else "")


def _held(x: Tensor) -> Tensor:
    """Copied numbers, one more of them than are shown."""
    return x.detach().flatten()[: SHOWN + 1].to("cpu", copy=True)
