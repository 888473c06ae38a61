"""What the model decides of a sample, and how far it is from deciding otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..cut import Record
from ..errors import OptionError
from ..types import Activations, Matrix, Vector
from ..verify import outputs_of
from .target import Target

RIVALS = 5
"""Of more classes the nearest rivals are tried one by one; any class that wins counts."""


@dataclass(frozen=True, eq=False)
class Decision:
    """A class, or the side of a threshold.

    Attributes:
        target: the number that is compared with the threshold; of a class the outputs it is made of.
        classes: whether the largest output decides.
        threshold: of the number.
        wanted: the class that is to win; None for any other than before.
        before: class number of each sample, or 1 above the threshold and 0 at most there ``[batch]``.
    """

    target: Target
    classes: bool
    threshold: float
    wanted: int | None
    before: Tensor

    @classmethod
    def of(cls, record: Record, site: int, target: Target, threshold: float, wanted: int | None) -> Decision:
        """What the model decides of the samples of a batch.

        Raises:
            OptionError: there is no such output or class.
        """
        _, which = target.fixed(record)
        largest = target.metric is None and target.site is None and target.index is None
        count = outputs_of(record.output).shape[-1] if largest else 1
        if count > 1:
            if wanted is not None and not 0 <= wanted < count:
                raise OptionError(f"to is {wanted!r}, but the model has the classes 0 to {count - 1}.")
            assert which is not None  # noqa: S101 - of a largest output
            return cls(target, True, 0.0, wanted, which)
        if wanted is not None:
            raise OptionError(f"to is {wanted!r}, but {target.words} decides by a threshold and has no classes.")
        found = cls(target, False, threshold, None, torch.zeros(record.size, dtype=torch.int64))
        values = found.numbers(record, site, record.activations[site])[:, 0]
        return cls(target, False, threshold, None, (values > threshold).long())

    def numbers(self, record: Record, site: int, x: Activations) -> Matrix:
        """What decides, at an activation of the site: outputs ``[batch, classes]``, or one number ``[batch, 1]``."""
        if self.target.metric is not None or self.target.site is not None:
            return self.target(record, site, x)[:, None]
        found = self.target.at(outputs_of(record.rest(site, x)), record.counted[-1])
        return found if self.target.index is None else found[:, self.target.index, None]

    def decided(self, numbers: Matrix) -> Tensor:
        """Classes (or sides) ``[batch]``."""
        return numbers.argmax(1) if self.classes else (numbers[:, 0] > self.threshold).long()

    def margin(self, numbers: Matrix, before: Tensor) -> Vector:
        """How far each is beyond its decision, ``[batch]``: above 0 where it is another one (the one wanted)."""
        if not self.classes:
            side = 1.0 - 2.0 * before.to(numbers)
            return side * (numbers[:, 0] - self.threshold)
        goal = before if self.wanted is None else torch.full_like(before, self.wanted)
        own = numbers.gather(1, goal[:, None])[:, 0]
        others = numbers.scatter(1, goal[:, None], -torch.inf).amax(1)
        return others - own if self.wanted is None else own - others

    def rivals(self, numbers: Matrix, before: int) -> list[int]:
        """Classes that could win over the one of a sample, of its outputs ``[1, classes]``; the nearest first."""
        if not self.classes:
            return [0]
        if self.wanted is not None:
            return [self.wanted]
        order = numbers[0].argsort(descending=True).tolist()
        return [c for c in order if c != before][:RIVALS]

    def over(self, rival: int) -> Target:
        """By how much a class leads over the one of the sample: a number that can be differentiated."""
        return _Lead(f"class {rival}", decision=self, rival=rival)


@dataclass(frozen=True, eq=False)
class _Lead(Target):
    """The lead of a rival over the class decided, or the margin to the threshold."""

    decision: Decision | None = None
    rival: int = 0

    def __call__(self, record: Record, site: int, x: Activations, which: Tensor | None = None) -> Vector:
        assert self.decision is not None  # noqa: S101 - see `over`
        assert which is not None  # noqa: S101 - the class decided
        numbers = self.decision.numbers(record, site, x)
        if not self.decision.classes:
            return self.decision.margin(numbers, which).double()
        return (numbers[:, self.rival] - numbers.gather(1, which[:, None])[:, 0]).double()
