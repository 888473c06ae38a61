"""Whether targets can be those of a model, by what it returns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..intervene.metrics import IGNORED
from ..types import Plain
from .alarm import ModelRuns
from .groups import Groups
from .sentences import finding


def unfit(model: nn.Module, groups: Groups) -> list[Plain]:
    """That labels are none of the model's classes, or targets of other numbers than its outputs, as a finding."""
    targets = next((one for one in groups.targets if one is not None), None)
    if targets is None or not len(targets) or not len(groups.normal):
        return []
    out = ModelRuns(model, groups.normal[:2], groups.shape)(groups.normal[:2])
    if out.ndim != 2 or out.shape[1] < 2:
        return []
    count = out.shape[1]
    if targets.is_floating_point():
        return _numbers(targets, count) if tuple(out.shape[1:]) != groups.shape or count < 3 else []
    own = torch.unique(targets[targets != IGNORED]) if targets.ndim == 1 else torch.zeros(0)
    if not len(own) or (int(own[0]) >= 0 and int(own[-1]) < count):
        return []
    return [finding("labels", least=int(own[0]), most=int(own[-1]), outputs=count, last=count - 1)]


def _numbers(targets: Tensor, outputs: int) -> list[Plain]:
    values, first = targets[0].numel(), float(targets.flatten()[0])
    fits = values == outputs
    return [] if fits else [finding("goals", values=values, first=first, outputs=outputs, last=outputs - 1)]
