"""What is read off a run of the model: a metric, one output, or a feature of a later site."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..basis import Basis
from ..cut import Record
from ..cut.layout import layout_of_tensor
from ..errors import OptionError, short
from ..intervene import Metric, MetricSpec, parse_metric
from ..types import Activations, Matrix

_NUMBERED = re.compile(r"(.+)\[(\d{1,9})\]")


def outputs_of(output: Tensor) -> Activations:
    """The model's output as ``[batch, position, output]``."""
    return layout_of_tensor(output).canonical(output)


def per_sample(values: Activations, record: Record, site: int = -1) -> Matrix:
    """The mean over the counted positions of each sample, float64 ``[batch, number]``; 0 where none counts.

    The values may be those of several runs of the batch, one after the other.
    """
    counted = record.counted[site]
    if counted is None or counted.shape[1] != values.shape[1]:
        return values.mean(1, dtype=torch.float64)
    counted = counted.repeat(len(values) // len(counted), 1)
    total = values.masked_fill(~counted[..., None], 0).sum(1, dtype=torch.float64)
    return total / counted.sum(1, keepdim=True).clamp(min=1)


@dataclass(frozen=True, eq=False)
class Readout:
    """A number for each sample of a run.

    Attributes:
        name: for the record.
        higher_is_better: whether a larger score is a better one; None where none is better.
        metric: what scores outputs; None where a number is read.
        number: of the output, or of the feature.
        site: the later site of a feature, and its number; None for outputs.
    """

    name: str
    higher_is_better: bool | None
    metric: Metric | None = None
    number: int = 0
    site: int | None = None
    basis: Basis | None = None

    def of(self, record: Record, result: Tensor, times: int = 1) -> Matrix:
        """The scores ``[times, batch]`` of a batch repeated ``times`` times; not a number for a sample without one."""
        if self.metric is None:
            return self._read(record, result, times)
        targets = self.metric.targets(record)
        if times > 1 and isinstance(targets, Tensor) and self.metric.plain:
            return self._scored(result, torch.cat([targets] * times)).view(times, -1)
        return torch.stack([self._scored(part, targets) for part in result.chunk(times)])

    def _scored(self, result: Tensor, targets: Any) -> Tensor:
        assert self.metric is not None  # noqa: S101 - `of` asked
        sums, counts = self.metric.scores(result, targets)
        return (sums / torch.where(counts > 0, counts, torch.nan)).cpu()

    def base(self, record: Record) -> Matrix:
        """The scores of a batch as it is, ``[1, batch]``."""
        return self.of(record, record.output if self.site is None else record.activations[self.site])

    def _read(self, record: Record, result: Tensor, times: int) -> Matrix:
        if self.site is not None:
            assert self.basis is not None  # noqa: S101 - of a feature
            own = self.basis.sites[self.site]
            values = ((result - own.mean.to(result)) @ own.C[:, self.number].to(result))[..., None]
        else:
            outputs = outputs_of(result)
            if self.number >= outputs.shape[2]:
                raise OptionError(f"metric is {self.name!r}, but the model has {outputs.shape[2]} outputs, from 0.")
            values = outputs[..., self.number, None]
        place = -1 if self.site is None else self.site
        return per_sample(values, record, place).view(times, -1).cpu()


def parse_readout(spec: MetricSpec, basis: Basis) -> Readout:
    """A metric as `parse_metric` takes it, ``"output[2]"`` or ``"fc3:in[5]"``.

    Raises:
        OptionError: it is none of them.
    """
    found = _NUMBERED.fullmatch(spec) if isinstance(spec, str) else None
    if found is None:
        metric = parse_metric(spec)
        return Readout(metric.name, metric.higher_is_better, metric)
    name, number = found[1], int(found[2])
    if name == "output":
        return Readout(str(spec), None, None, number)
    names = [site.name for site in basis]
    if name not in names or number >= basis[name].k:
        held = f"site {name!r} has {basis[name].k} features, from 0" if name in names else f"the sites are {names}"
        raise OptionError(f"metric is {short(spec)}, but {held}.")
    return Readout(str(spec), None, None, number, names.index(name), basis)
