import math

import pytest
import torch

import libasis
from libasis.demo import modadd
from libasis.evaluate.fourier import by_frequency, label, label_by_frequency, power

P = 113
A, B = torch.meshgrid(torch.arange(P), torch.arange(P), indexing="ij")
W = 2 * math.pi / P


def test_power_is_the_mean_square():
    z = torch.randn(2, P, P, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(power(z).sum((-1, -2)), z.square().mean((-1, -2)))


@pytest.mark.parametrize(
    ("values", "frequency", "kind"),
    [
        (torch.cos(14 * W * (A + B) + 0.3), 14, "sum"),
        (torch.cos(56 * W * (A - B)), 56, "difference"),
        (torch.sin(3 * W * A), 3, "one"),
        (torch.sin(99 * W * B), 14, "one"),  # of a real function -99 = 14
        (torch.cos(5 * W * A) + 0.2 * torch.cos(9 * W * (A + B)), 5, "one"),
    ],
)
def test_a_wave_gets_its_frequency(values, frequency, kind):
    found = label(power(values)[None])
    assert (found["frequency"], found["kind"]) == (frequency, kind)
    assert found["share"] > 0.95
    assert found["positions"] == pytest.approx(0, abs=1e-9)
    assert found["mixed"] == pytest.approx(0, abs=1e-9)


def test_shares_by_hand():
    """Two frequencies at once: half of the power of the second one is in neither."""
    values = torch.cos(4 * W * (A + B)) + torch.cos(7 * W * A) * torch.cos(9 * W * B)
    found = label(power(values)[None])
    assert found["share"] == pytest.approx(0.5 / 0.75)
    assert found["mixed"] == pytest.approx(0.25 / 0.75)
    total = sum(values.sum() for values in by_frequency(power(values)).values())
    assert float(total) == pytest.approx(0.5)


def test_positions_add_up_and_their_differences_have_no_frequency():
    z = torch.stack([torch.cos(2 * W * A) + 1, torch.cos(2 * W * B) - 1])
    found = label(power(z))
    assert (found["frequency"], found["kind"]) == (2, "one")
    assert found["share"] == pytest.approx(1 / 3)
    assert found["positions"] == pytest.approx(2 / 3)


def test_the_model_computes_with_few_frequencies():
    """As the paper found: features at the unembedding are waves of the sum, of the few frequencies of the model."""
    prompts = modadd.batches_train()
    traced = libasis.trace(modadd.load(), prompts[0][0], ["blocks.0.ln1:in", "blocks.0.ln2:in", "unembed:in", "output"])
    basis = libasis.fit(traced, prompts)
    found = label_by_frequency(traced, basis, modadd.prompts(), P)
    site = found["sites"][-1]
    assert site["site"] == "unembed:in"
    assert site["share"] > 0.6
    assert sum(list(site["frequencies"].values())[:6]) > 0.95
    assert sum(site["frequencies"].values()) == pytest.approx(1)
    assert found["features"]["unembed:in:0"]["kind"] == "sum"
    assert set(found["features"]) == {f"{s.name}:{i}" for s in basis.sites[:-1] for i in range(s.k)}
