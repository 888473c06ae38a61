"""Models whose causes are known, since their weights are set by hand."""

from __future__ import annotations

import torch
from torch import nn

import libasis

WIDTH = 24
TRUE, DECOY, DORMANT, IDLE = 0, 1, 2, 3
COPY = (4, 5)
BOTH = (6, 7)


class Plant(nn.Module):
    """Coordinates at ``"mid"``, read in one way.

    - ``true``: coordinate 0 alone decides; 1 varies ten times as much and does nothing; 2 goes through a ReLU that
    never
      opens.
    - ``copy``: 4 or 5 is enough, and each says the same.
    - ``both``: only the product of 6 and 7 decides.
    """

    def __init__(self, way: str) -> None:
        super().__init__()
        self.mid, self.way = nn.Identity(), way

    def forward(self, x):
        h = self.mid(x)
        if self.way == "true":
            logit = h[:, TRUE] + torch.relu(h[:, DORMANT] - 100)
        elif self.way == "copy":
            logit = torch.maximum(h[:, COPY[0]], h[:, COPY[1]]) - 0.7
        else:
            logit = h[:, BOTH[0]] * h[:, BOTH[1]]
        return torch.stack([torch.zeros_like(logit), logit], 1)


def rows(way: str, n: int, seed: int = 0):
    """Inputs [n, 24] and the class that the model says of each."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, WIDTH, generator=generator, dtype=torch.float64)
    x[:, DECOY] *= 10
    if way == "copy":
        on = (torch.rand(n, generator=generator, dtype=torch.float64) < 0.5).double()
        x[:, COPY[0]] = on + 0.02 * x[:, COPY[0]]
        x[:, COPY[1]] = on + 0.02 * x[:, COPY[1]]
    return x, Plant(way)(x).argmax(1)


def data(way: str, n: int, seed: int = 0, size: int = 64):
    """The same in batches."""
    x, y = rows(way, n, seed)
    return list(zip(x.split(size), y.split(size), strict=True))


class Study:
    """A planted model with its cut, its own coordinates as the basis, and three data sets."""

    def __init__(self, way: str = "true", n: int = 240, seed: int = 0) -> None:
        self.way, self.n, self.seed = way, n, seed
        self.fit, self.explore, self.confirm = (data(way, n, 10 * seed + part) for part in range(3))
        self.traced = libasis.trace(Plant(way).eval(), self.fit[0][0], ["mid", "output"])
        self.basis = libasis.fit(self.traced, self.fit, method="neuron", progress=False)

    def hypothesis(self, features, **options):
        return libasis.Hypothesis("mid", features, **options)

    def plan(self, hypotheses, batches=None, **options):
        options = {"controls": 199, "progress": False, **options}
        return libasis.plan(self.traced, self.basis, batches or self.explore, hypotheses, **options)

    def verify(self, plan, confirm=None, **options):
        return libasis.verify(self.traced, self.basis, confirm or self.confirm, plan, progress=False, **options)

    def explored(self, **options):
        return libasis.explore(self.traced, self.basis, self.explore, progress=False, **options)

    def of(self, *hypotheses, **options):
        return self.verify(self.plan(list(hypotheses), **options))
