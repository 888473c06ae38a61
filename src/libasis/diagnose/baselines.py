"""What plain methods say of the same question, beside ours."""

from __future__ import annotations

import numpy as np
import torch

from .effects import Effects

REPEATS = 3


def mean_z(effects: Effects) -> np.ndarray:
    """The mean distance of anomalous rows from the normal mean, in the normal rows' standard deviations."""
    change = effects.exchange
    z = ((change.rows - change.mean) / change.deviation).abs().mean(0)
    return _by_input(effects, z.numpy())


def permutation(effects: Effects, inputs: list[int], seed: int) -> np.ndarray:
    """How much worse the alarm tells the groups apart when an input is shuffled over all rows; 0 where not asked."""
    change, alarm = effects.exchange, effects.exchange.alarm
    rows = torch.cat([change.rows, change.normal])
    known = [one for one in change.targets if one is not None]
    targets = torch.cat(known) if len(known) == 2 else None
    weight = torch.cat(
        [
            torch.full((len(change.rows),), 1 / len(change.rows)),
            torch.full((len(change.normal),), -1 / len(change.normal)),
        ]
    ).double()
    generator = torch.Generator().manual_seed(seed)
    base = float(torch.cat([effects.before, effects.normal_before]) @ weight)
    out = np.zeros(len(change.groups.parts))
    for i in inputs:
        own = change.groups.parts[i]
        for _ in range(REPEATS):
            shuffled = rows.clone()
            shuffled[:, own] = rows[torch.randperm(len(rows), generator=generator)][:, own]
            out[i] += (base - float(alarm.alarms(alarm.scores(shuffled, targets)) @ weight)) / REPEATS
    return out


def gradient_times_input(effects: Effects) -> np.ndarray | None:
    """The derivative of the score by each value times its distance from the normal mean; None without a derivative."""
    change = effects.exchange
    grad = change.alarm.gradient(change.rows, change.targets[0])
    return None if grad is None else _by_input(effects, (grad * (change.rows - change.mean)).abs().mean(0).numpy())


def contributions(effects: Effects) -> np.ndarray | None:
    """Of a model that reconstructs: the squared error of each input, mean over anomalous rows."""
    errors = effects.exchange.alarm.errors(effects.exchange.rows)
    return None if errors is None else _by_input(effects, errors.mean(0).numpy())


def _by_input(effects: Effects, values: np.ndarray) -> np.ndarray:
    return np.array([values[part.numpy()].mean() for part in effects.exchange.groups.parts])
