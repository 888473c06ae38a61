"""Whatever a public call is given: a result, or one sentence; nothing of the process is changed."""

import os
import random

import pytest
import torch

from libasis import LibasisError

from .calls import VALUES, World

MANY = int(os.environ.get("LIBASIS_FUZZ", "240"))
OWN_CODE = {"mask", "metric", "model", "output", "tokenizer", "units", "vocabulary"}
"""What may be the user's own code, whose errors are the user's."""


@pytest.fixture(scope="module")
def world():
    return World()


def state():
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        torch.random.get_rng_state().tolist(),
        sorted(os.environ),
        os.getcwd(),
    )


def unforeseen(world, call):
    """What an attempt said that is no sentence of ours."""
    try:
        world.run(call)
    except LibasisError as error:
        text = str(error)
        return None if 10 < len(text) < 2100 and "Traceback" not in text else f"{call}: {text[:300]!r}"
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        own = call.parameter in OWN_CODE and callable(world.value(call.value))
        return None if own else f"{call}: {type(error).__name__}: {str(error)[:300]}"
    return None


def test_one_argument_out_of_place_is_told_in_a_sentence(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = sorted(world.calls(), key=str)
    random.Random(0).shuffle(calls)
    weights = {name: value.clone() for name, value in world.model.state_dict().items()}
    before = state()
    assert [found for call in calls[:MANY] if (found := unforeseen(world, call))] == []
    assert state() == before
    assert all(torch.equal(value, weights[name]) for name, value in world.model.state_dict().items())
    assert not any(module._forward_hooks for module in world.model.modules())
