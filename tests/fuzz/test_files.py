"""Damaged settings, data and results: one sentence and exit code 2, or a result; never a traceback, never a hang."""

import os
import random
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import libasis
from libasis import LibasisError
from run.conftest import code, command, folder, settings  # noqa: F401 - fixtures

from .calls import World
from .mutate import damaged

MANY = int(os.environ.get("LIBASIS_FUZZ", "48"))
SECONDS = 20


@pytest.fixture(autouse=True)
def no_hang():
    """What takes longer fails."""

    def late(*_):
        raise AssertionError(f"not done after {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, late)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def attempt(command, *arguments):  # noqa: F811
    """What a run of the command line did wrong, or None."""
    signal.alarm(SECONDS)
    status, out, err = command(*arguments)
    signal.alarm(0)
    if status == 0:
        return None
    told = [line for line in err.splitlines() if line.strip()]
    if status == 2 and told and "Traceback" not in err and len(err) < 4000:
        return None
    return f"exit code {status}: {err[-500:]}"


FULL = """
sites = ["fc1:in", "fc2:in", "output"]
output = "out"

[model]
source = "{code}:model"

[data]
source = "{code}:train_and_test"
batch_size = 16
seed = 0

[trace]
dtype = "float64"

[fit]
method = "lib"
truncation = "auto"
memory = 100000000

[interactions]
method = "gradient"
"""


@pytest.mark.parametrize("seed", range(MANY))
def test_damaged_settings(command, code, folder, seed):  # noqa: F811
    (folder / "libasis.toml").write_bytes(damaged(FULL.format(code=code).encode(), random.Random(seed)))
    assert attempt(command, "fit") is None


def csv(rng):
    rows = rng.normal(size=(12, 3)).round(3)
    return "a,b,c,y\n" + "".join(",".join(map(str, row)) + f",{int(row[0] > 0)}\n" for row in rows)


WRITERS = {
    "data.csv": lambda path, rng: path.write_text(csv(rng)),
    "data.npz": lambda path, rng: np.savez(path, x=rng.normal(size=(12, 3)).astype("f4"), y=np.arange(12) % 2),
    "data.npy": lambda path, rng: np.save(path, rng.normal(size=(12, 3)).astype("f4")),
    "data.safetensors": lambda path, rng: save_file({"x": torch.randn(12, 3), "y": torch.arange(12) % 2}, path),
}


@pytest.mark.parametrize("seed", range(MANY // 2))
@pytest.mark.parametrize("name", WRITERS)
def test_damaged_data(command, settings, folder, name, seed):  # noqa: F811
    path = folder / name
    WRITERS[name](path, np.random.default_rng(seed))
    path.write_bytes(damaged(path.read_bytes(), random.Random(seed)))
    target = ["--set", "data.target=y"] if name == "data.csv" else []
    assert attempt(command, "fit", "--set", f"data.source={path}", *target) is None


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A result of each of a few kinds."""
    world = World()
    nodes = libasis.ablate_nodes(world.traced, world.graph, world.batches, progress=False)
    results = {"basis": world.basis, "graph": world.graph, "cards": world.cards, "nodes": nodes}
    base = tmp_path_factory.mktemp("stored")
    return {name: result.save(base / name) for name, result in results.items()}


@pytest.mark.parametrize("seed", range(MANY))
@pytest.mark.parametrize("kind", ["basis", "graph", "cards", "nodes"])
def test_a_damaged_result_is_refused_or_the_same(stored, tmp_path, kind, seed):
    rng, folder = random.Random(seed), tmp_path / "result"  # noqa: F811
    folder.mkdir()
    files = sorted(stored[kind].iterdir())
    victim = rng.choice([one for one in files if one.is_file()])
    for one in files:
        data = one.read_bytes()
        (folder / one.name).write_bytes(damaged(data, rng) if one == victim else data)
    whole = libasis.load(stored[kind])
    signal.alarm(SECONDS)
    try:
        found = libasis.load(folder)
    except LibasisError:
        return
    assert found.to_plain() == whole.to_plain()
    assert repr(found) == repr(whole)
