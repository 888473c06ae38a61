"""Small models, their data, bases and cards."""

import math
from functools import cache

import pytest
import torch
from torch import nn

import libasis
from chains import F64, random


class Readout(nn.Module):
    """Two named layers with a tanh between them, [batch, d] -> [batch, out]."""

    def __init__(self, d=6, hidden=5, out=3):
        super().__init__()
        torch.manual_seed(3)
        self.first, self.act, self.last = nn.Linear(d, hidden), nn.Tanh(), nn.Linear(hidden, out)

    def forward(self, x):
        return self.last(self.act(self.first(x)))


class Linear(nn.Module):
    """[batch, d] -> [batch, out], linear, cut in the middle."""

    def __init__(self, d=6, middle=5, out=3):
        super().__init__()
        torch.manual_seed(5)
        self.first, self.last = nn.Linear(d, middle), nn.Linear(middle, out)

    def forward(self, x):
        return self.last(self.first(x))


@cache
def readout():
    model = Readout().to(F64).eval()
    x = random(60, 6, seed=1) @ random(6, 6, seed=2) + random(6, seed=3)
    traced = libasis.trace(model, x, ["first:in", "last:in", "output"])
    return model, x, traced, libasis.fit(traced, [x], progress=False)


@cache
def linear():
    model = Linear().to(F64).eval()
    x = random(60, 6, seed=1) @ random(6, 6, seed=2) + random(6, seed=3)
    traced = libasis.trace(model, x, ["first:in", "last:in", "output"])
    return model, x, traced, libasis.fit(traced, [x], progress=False)


def collect(traced, basis, batches, **options):
    return libasis.collect(traced, basis, batches, **{"progress": False, "controls": 20, **options})


def same(a, b, rel=1e-9, absolute=1e-9, at=""):
    """Plain data are equal, numbers up to rounding."""
    assert type(a) is type(b) or {type(a), type(b)} == {int, float}, at
    if isinstance(a, dict):
        assert list(a) == list(b), at
        for key in a:
            same(a[key], b[key], rel, absolute, f"{at}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), at
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, rel, absolute, f"{at}[{i}]")
    elif isinstance(a, float):
        assert math.isclose(a, b, rel_tol=rel, abs_tol=absolute), f"{at}: {a} and {b}"
    else:
        assert a == b, at


def approx(x, **options):
    return pytest.approx(x, **{"rel": 1e-9, "abs": 1e-12, **options})
