"""Two groups of rows and models set by hand that see some columns."""

import numpy as np
import torch
from torch import nn

COLUMNS = ["valve", "temperature", "flow", "level", "pressure", "speed"]
MEAN = np.array([40.0, 120.0, 9.0, 50.0, 2700.0, 0.3])
SPREAD = np.array([0.5, 0.02, 0.1, 1.0, 7.0, 0.01])


def rows(n=120, shift=None, seed=0):
    """Independent rows; the shift in standard deviations by column."""
    z = np.random.default_rng(seed).normal(size=(n, len(COLUMNS)))
    for name, amount in (shift or {}).items():
        z[:, COLUMNS.index(name)] += amount
    return z * SPREAD + MEAN


class Margin(nn.Module):
    """Two logits: 0, and a function of the standardised columns."""

    def __init__(self, of, raw=True):
        super().__init__()
        self.of = of
        self.register_buffer("centre", torch.tensor(MEAN if raw else 0 * MEAN))
        self.register_buffer("size", torch.tensor(SPREAD if raw else 0 * SPREAD + 1))

    def forward(self, x):
        z = (x.double() - self.centre) / self.size
        margin = self.of({name: z[:, i] for i, name in enumerate(COLUMNS)})
        return torch.stack([torch.zeros_like(margin), margin], 1)


def one(raw=True):
    """Alarm by the valve alone; a little of the level."""
    return Margin(lambda z: 2 * (z["valve"] - 3.5) + 0.1 * z["level"], raw).eval()


def either():
    """Alarm where the valve or the temperature is high."""
    return Margin(lambda z: 2 * (torch.maximum(z["valve"], z["temperature"]) - 3.5)).eval()


class Copy(nn.Module):
    """Returns standardised rows through one direction that they share, and the columns of the rest as their mean."""

    def __init__(self, raw=True):
        super().__init__()
        self.register_buffer("centre", torch.tensor(MEAN if raw else 0 * MEAN))
        self.register_buffer("size", torch.tensor(SPREAD if raw else 0 * SPREAD + 1))

    def forward(self, x):
        z = (x.double() - self.centre) / self.size
        return 0.7 * z.clamp(-3, 3) * self.size + self.centre


FAULT = {"valve": 6, "pressure": 9}
"""The valve is what the models use, the pressure moves more and is not used."""
