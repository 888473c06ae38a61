"""The experiment with sparse dictionaries, on a tiny MLP: its parts against autograd, the model and the package."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments import sparse_dictionary as sparse  # noqa: E402

D, HIDDEN, LATENTS, K = 6, 10, 24, 4
SETTINGS = {"latents": LATENTS, "k": K, "batch": 64, "rate": 0.01, "jacobian": 16}


@pytest.fixture(scope="module")
def mlp():
    generator = torch.Generator().manual_seed(0)
    gate, up = torch.randn(2, D, HIDDEN, generator=generator) / D**0.5
    return sparse.GatedMLP(gate, up, torch.randn(HIDDEN, D, generator=generator))


@pytest.fixture(scope="module")
def data(mlp):
    generator = torch.Generator().manual_seed(1)
    atoms = torch.randn(16, D, generator=generator)
    x = torch.rand(1024, 16, generator=generator) * (torch.rand(1024, 16, generator=generator) < 0.15) @ atoms
    return x, mlp(x)


@pytest.fixture(scope="module")
def trained(mlp, data):
    made = {}
    for coefficient in (0.0, 1.0):
        trainer = sparse.Trainer(mlp, data, SETTINGS, coefficient)
        made[coefficient] = trainer, trainer.run(300)
    return made


def test_training_explains_more_and_the_penalty_makes_derivatives_smaller(mlp, data, trained):
    for trainer, lines in trained.values():
        assert lines[-1]["x"] + lines[-1]["y"] < 0.5 * (lines[0]["x"] + lines[0]["y"])
    size = [sparse.mean_jacobian(mlp, trainer.pair, data) for trainer, _ in trained.values()]
    assert size[1] < 0.8 * size[0]


def test_the_finished_dictionary_is_the_trained_one(data, trained):
    trainer, _ = trained[0.0]
    for one, finished, x in zip(trainer.pair, trainer.finished(), data, strict=True):
        which, z, back = one(one.scaled(x))
        assert torch.allclose(finished.encode(x).gather(1, which), z, atol=1e-5)
        assert torch.allclose(finished.decode(finished.encode(x)), back * one.spread + one.mean, atol=1e-5)
        left = sparse.unexplained(finished, x, x.mean(0))
        assert left == pytest.approx(
            float((finished.decode(finished.encode(x)) - x).var(0, correction=0).sum() / x.var(0, correction=0).sum()),
            rel=0.05,
        )


def test_the_jacobian_is_that_of_autograd(mlp, data, trained):
    trainer, _ = trained[0.0]
    source, target = trainer.pair
    x, y = (one.scaled(part[:5]) for one, part in zip(trainer.pair, data, strict=True))
    found = sparse.active_jacobian(mlp, source, target, x, y)
    for n in range(5):
        ins, z, _ = source(x[n : n + 1])
        outs, z_out, _ = target(y[n : n + 1])

        def section(z, ins=ins, outs=outs):
            back = z @ source.decoder[ins[0]] + source.centre
            y = target.scaled(mlp(back * source.spread + source.mean))
            return ((y - target.centre) @ target.encoder + target.bias)[outs[0]]

        J = torch.func.jacrev(section)(z[0])
        J = J * (z_out[0] > 0)[:, None] * (z[0] > 0)
        assert torch.allclose(found[n], J, atol=1e-5)
