"""What is explained of a sample: an output, a score or a later feature, as one number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from ..basis import Basis, SiteBasis
from ..cut import Record
from ..errors import OptionError, short
from ..intervene import Metric, parse_metric
from ..types import Activations, Vector
from ..verify import outputs_of

Output = int | str | Sequence[Any] | Callable[[Tensor, Any], Tensor] | None
"""An output's number, a metric's name or function, a feature ``(site, number)``; None is the largest output."""


@dataclass(frozen=True, eq=False)
class Target:
    """One number of each sample.

    Attributes:
        words: what it is, in short.
        site: number of the site whose feature it is; None where it is made of the model's output.
        basis: of that site.
        index: number of the output or feature; None for the largest output of each sample.
        metric: what scores the output, in place of an output.
        position: of the output or feature, from the end where negative; None takes the last one that counts of an
            output and the mean over those that count of a feature.
        own: function of the user, whose scores are the metric's before they are taken off the graph of derivatives.
    """

    words: str
    site: int | None = None
    basis: SiteBasis | None = None
    index: int | None = None
    metric: Metric | None = None
    position: int | None = None
    own: Callable[[Tensor, Any], Tensor] | None = None

    @classmethod
    def of(cls, output: Output, basis: Basis, position: int | None, after: int = -1) -> Target:
        """Read what a call was given.

        Args:
            output: see `Output`.
            basis: whose features can be named.
            position: see the class.
            after: number of the site behind which a feature must stand.

        Raises:
            OptionError: there is no such site, feature or metric, or the site does not come later.
        """
        if isinstance(output, Sequence) and not isinstance(output, str):
            return cls._feature(output, basis, position, after)
        if isinstance(output, Integral):
            output = int(output)
            if output < 0:
                raise OptionError(f"output is {output}; outputs are numbered from 0.")
        if output is None or isinstance(output, int):
            return cls("the largest output" if output is None else f"output {output}", index=output, position=position)
        metric = parse_metric(output)
        if metric.name == "accuracy":
            raise OptionError(
                'output is "accuracy", which has no derivative; use "cross_entropy" or an output\'s number.'
            )
        return cls(metric.name, metric=metric, own=output if callable(output) else None)

    @classmethod
    def _feature(cls, output: Sequence[Any], basis: Basis, position: int | None, after: int) -> Target:
        names = [site.name for site in basis]
        whole = len(output) == 2 and isinstance(output[1], Integral) and not isinstance(output[1], bool)
        if not whole or output[0] not in names:
            raise OptionError(f"output is {short(output)}; a feature is a pair (site, number) with a site of {names}.")
        index, own = names.index(output[0]), basis[output[0]]
        number = int(output[1])
        if not 0 <= number < own.k:
            raise OptionError(f"output names the feature {number} of {own.name!r}, which has {own.k}, from 0.")
        if index <= after:
            raise OptionError(f"output is a feature of {own.name!r}; name a site behind {names[after]!r}.")
        return cls(f"feature {own.name}:{number}", index, own, number, position=position)

    def told(self, count: int, name: Callable[[int, int], str]) -> str:
        """What it is in words, where it is an output of so many: ``name(number, count)`` names one."""
        if count == 1:
            return "the output"
        return self.words if self.index is None else f"output {name(self.index, count)}"

    def fixed(self, record: Record) -> tuple[Target, Tensor | None]:
        """The target for a batch, and the output of each sample that it takes ``[batch]`` where it takes the largest.

        Raises:
            OptionError: there is no such output or position.
        """
        if self.metric is not None:
            return self, None
        if self.site is not None:
            self.at(record.activations[self.site], record.counted[self.site])
            return self, None
        found = self.at(outputs_of(record.output), record.counted[-1])
        if self.index is not None and self.index >= found.shape[-1]:
            raise OptionError(f"output is {self.index}, but the model has {found.shape[-1]} outputs, from 0.")
        if self.index is None:
            return self, found.argmax(-1)
        return self, found.new_full((len(found),), self.index, dtype=torch.int64)

    def __call__(self, record: Record, site: int, x: Activations, which: Tensor | None = None) -> Vector:
        """The numbers ``[batch]`` where the activation at a site is ``x``; ``which``: see `fixed`."""
        if self.site is not None and self.basis is not None:
            z = record.forward(x, site, self.site) if self.site >= site else x
            features = (z - self.basis.mean.to(z)) @ self.basis.C.to(z)[:, self.index]
            return self.at(features[..., None], record.counted[self.site])[:, 0].double()
        return self.of_output(record, record.rest(site, x), which)

    def of_output(self, record: Record, output: Tensor, which: Tensor | None) -> Vector:
        """The numbers of the model's output."""
        if self.own is not None and self.metric is not None:
            self.metric.scores(output.detach(), self.metric.targets(record))  # which checks them
            return self.own(output, self.metric.targets(record)).reshape(len(output), -1).double().mean(1)
        if self.metric is not None:
            sums, counts = self.metric.scores(output, self.metric.targets(record))
            return sums / counts.clamp(min=1)
        assert which is not None  # noqa: S101 - see `fixed`
        found = self.at(outputs_of(output), record.counted[-1])
        return found.gather(1, which[:, None])[:, 0].double()

    def at(self, values: Tensor, counted: Tensor | None) -> Tensor:
        """Values ``[batch, position, c]`` at the position asked for, ``[batch, c]``."""
        length = values.shape[1]
        if counted is not None and tuple(counted.shape) != tuple(values.shape[:2]):
            counted = None
        if self.position is not None:
            if not -length <= self.position < length:
                raise OptionError(f"position is {self.position}, but there are {length}, from 0.")
            return values[:, self.position]
        if self.site is not None:
            if counted is None:
                return values.mean(1)
            share = counted.to(values) / counted.sum(1, keepdim=True).clamp(min=1)
            return (values * share[..., None]).sum(1)
        if counted is None:
            return values[:, -1]
        last = length - 1 - counted.to(torch.int8).flip(1).argmax(1)
        return values[torch.arange(len(values), device=values.device), last]
