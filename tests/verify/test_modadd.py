"""Modular addition: without one frequency the model fails at the sums that Fourier analysis says, and at no others."""

import math

import pytest
import torch

import libasis
from libasis.demo import modadd

P = modadd.PRIME


@pytest.fixture(scope="module")
def world():
    a, b = torch.meshgrid(torch.arange(P), torch.arange(P), indexing="ij")
    prompts = torch.stack([a.flatten(), b.flatten(), torch.full((P * P,), modadd.EQUALS)], 1)
    sums = (prompts[:, 0] + prompts[:, 1]) % P
    model = modadd.load()
    traced = libasis.trace(model, prompts[:4], ["unembed:in", "output"])
    batches = list(zip(prompts.split(2048), sums.split(2048), strict=True))
    basis = libasis.fit(traced, batches, progress=False)
    with torch.no_grad():
        hidden = torch.cat([traced.record(x).activations[0][:, 0] for x, _ in batches]).double()
    return model, traced, basis, batches, sums, hidden


@pytest.mark.parametrize("frequency", [15, 22])
def test_a_frequency_mediates_its_sums(world, frequency):
    model, traced, basis, batches, sums, hidden = world
    angle = 2 * math.pi * frequency * sums.double() / P
    waves = torch.stack([angle.cos(), angle.sin()])  # of a + b
    written = 2 / len(sums) * waves @ (hidden - hidden.mean(0))  # [2, d]: the Fourier coefficients
    with torch.no_grad():
        left = (hidden - waves.T @ written) @ model.unembed.weight.double().T + model.unembed.bias.double()
    fails = (left.argmax(1) != sums).double()
    share = torch.zeros(P, dtype=torch.float64).index_add_(0, sums, fails) / P  # by sum, as Fourier analysis says
    lost, kept = (share == 1).nonzero()[:, 0].tolist(), (share == 0).nonzero()[:, 0].tolist()
    assert len(lost) > 20
    assert len(kept) > 10

    found = libasis.intervene(
        traced, basis, batches, libasis.Intervention("unembed:in", directions=written), progress=False
    )
    observed = torch.zeros(P, dtype=torch.float64).index_add_(0, sums, 1 - found.scores[0]) / P
    assert float(observed[lost].min()) > 0.9
    assert float(observed[kept].max()) < 0.1

    parts = libasis.parts(batches, shares=(0.7, 0.1, 0.2))
    groups = {name: lambda _, y, which=which: torch.isin(y, torch.tensor(which))
              for name, which in (("lost", lost), ("kept", kept))}  # fmt: skip
    shared = {"directions": written, "direction": "decrease", "delta": 0.1}
    claims = [
        libasis.Hypothesis("unembed:in", group="lost", name="lost", **shared),
        libasis.Hypothesis("unembed:in", group="kept", name="kept", kinds=["mean"], **shared),
    ]
    plan = libasis.plan(traced, basis, parts.explore, claims, controls=99, groups=groups, progress=False)
    told = libasis.verify(traced, basis, parts.confirm, plan, groups=groups, progress=False)
    assert told.verdicts == {"lost": "supported", "kept": "no effect above delta"}
    low, _ = told["lost"].kinds[0].control_range
    assert told["lost"].kinds[0].effect.value < -0.9 < 3 * low  # random directions do not a third of it
