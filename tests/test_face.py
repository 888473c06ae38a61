"""The public face: options where they belong, and old names that say the new ones."""

import pytest
import torch

import libasis
from libasis.errors import OptionError
from models import MLP_CASE


@pytest.fixture(scope="module")
def made():
    case = MLP_CASE
    batches = [(x, torch.zeros(len(x), dtype=torch.long)) for x in case.batches()]
    traced = libasis.trace(case.model(), batches[0][0], case.sites)
    basis = libasis.fit(traced, batches, progress=False)
    return traced, basis, libasis.interactions(traced, basis, batches, progress=False), batches


CALLS = {
    "fit": lambda t, b, g, x, **o: libasis.fit(t, x, **o),
    "interactions": lambda t, b, g, x, **o: libasis.interactions(t, b, x, **o),
    "ablate_nodes": lambda t, b, g, x, **o: libasis.ablate_nodes(t, g, x, **o),
    "ablate_edges": lambda t, b, g, x, **o: libasis.ablate_edges(t, g, x, **o),
    "collect": lambda t, b, g, x, **o: libasis.collect(t, g, x, **o),
}


@pytest.mark.parametrize("option", ["dtype", "device", "mask"])
@pytest.mark.parametrize("name", CALLS)
def test_what_belongs_to_the_traced_model_is_named_there(made, name, option):
    with pytest.raises(OptionError, match=rf"^{name} .*{option}.*libasis\.trace.*traced\.to\({option}="):
        CALLS[name](*made, **{option: None})


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("fit", "relative_error", r"rules\.Auto\(relative_error="),
        ("interactions", "nodes", "n_steps"),
        ("ablate_edges", "seed", "nothing there is random"),
    ],
)
def test_an_old_name_says_the_new_one(made, name, old, new):
    with pytest.raises(OptionError, match=f"^{name} .*'{old}'.*{new}"):
        CALLS[name](*made, **{old: 1})


@pytest.mark.parametrize(
    ("options", "new"),
    [
        ({"nodes": 3}, "n_steps"),
        ({"edges": "integrated"}, 'method="gradient" or "integrated"'),
        ({"method": "pca"}, "basis='pca'"),
    ],
)
def test_an_old_name_of_build_says_the_new_one(options, new):
    with pytest.raises(OptionError, match=new):
        libasis.build(MLP_CASE.model(), MLP_CASE.batches(), MLP_CASE.sites, **options)


def test_an_option_that_never_was_is_python_s_own_error(made):
    with pytest.raises(TypeError, match="colour"):
        libasis.fit(*made[::3], colour="red")


def test_to_changes_what_is_named_and_nothing_else(made):
    traced = made[0]
    moved = traced.to(dtype="float32")
    assert moved.to(mask=None) is moved
    assert moved.record(made[3][0][0].float()).activations[0].dtype == torch.float32
    assert traced.record(made[3][0][0]).activations[0].dtype == torch.float64
    with pytest.raises(OptionError, match="dtype is 'float16'"):
        traced.to(dtype="float16")


@pytest.mark.parametrize("seed", [2**62, 2**63 - 1])
def test_any_seed_below_the_bound_is_one(made, seed):
    traced, _, graph, batches = made
    assert libasis.fit(traced, batches, moments="sketch", seed=seed).info["seed"] == seed
    libasis.collect(traced, graph, batches, seed=seed, controls=20)
    libasis.communities(graph, seed=seed)


@pytest.mark.parametrize("seed", [-1, 2**63, 10**50])
def test_a_seed_beyond_the_bound_is_told(made, seed):
    traced, _, graph, batches = made
    calls = [
        lambda: libasis.fit(traced, batches, seed=seed),
        lambda: libasis.collect(traced, graph, batches, seed=seed),
        lambda: libasis.communities(graph, seed=seed),
    ]
    for call in calls:
        with pytest.raises(OptionError, match=r"^seed is .*whole number from 0 to 2\*\*63 - 1"):
            call()
