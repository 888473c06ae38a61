"""Closed forms in the dtypes of models: squares neither overflow nor lose their digits, an eps is the model's own."""

import copy

import pytest
import torch
from torch import nn

import libasis
from chains import random


class Gated(nn.Module):
    """A norm of small numbers, whose slopes' squares are beyond float16, and a gated MLP."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.gate, self.up, self.down = nn.RMSNorm(8), nn.Linear(8, 12), nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x):
        z = self.norm(x)
        return x + self.down(nn.functional.silu(self.gate(z)) * self.up(z))


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        z = self.norm(x)
        return x + self.attention(z, z, z, need_weights=False)[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("model", "rule"), [(Gated, "pointwise"), (Attending, "attention")])
@pytest.mark.parametrize("size", [0.003, 1.0])
def test_importances_are_those_of_the_float32_copy(dtype, model, rule, size):
    x, half = (random(300, 5, 8, seed=1) * size).to(dtype), model().to(dtype).eval()
    found, precise = (
        libasis.fit(libasis.trace(m, y[:3], ["input", "output"]), list(y.split(100)), moments=moments, progress=False)
        for m, y, moments in ((half, x, "auto"), (copy.deepcopy(half).float(), x.float(), "exact"))
    )
    assert found.info["rules"][0]["rule"] == f"closed form, {rule}"
    assert found["input"].k == precise["input"].k == 8
    torch.testing.assert_close(found["input"].importances, precise["input"].importances, rtol=5e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_norm_without_eps_has_that_of_its_dtype(dtype):
    """Of numbers so small that it matters: in float64 it is another."""
    x, model = random(300, 8, seed=1).to(dtype) * 5e-4, nn.Sequential(nn.RMSNorm(8), nn.Linear(8, 6)).eval().to(dtype)
    traced = libasis.trace(model, x[:3], ["input", "output"])
    closed, exact = (libasis.fit(traced, [x], moments=rule, progress=False) for rule in ("closed_form", "exact"))
    torch.testing.assert_close(closed["input"].importances, exact["input"].importances, rtol=1e-4, atol=0)
    precise = libasis.fit(traced.to(dtype="float64"), [x], progress=False)
    torch.testing.assert_close(precise["input"].importances, exact["input"].importances, rtol=1e-4, atol=0)
