"""What is set around a call changes nothing: every state of torch, in every public call, also after an error."""

import contextlib
import os
import threading

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import libasis
from libasis.ambient import neutral
from libasis.errors import LibasisError, ModelStateError

SITES = ["0:in", "2:in", "output"]


class Net(nn.Sequential):
    """Has a tensor made in its forward, as positions of tokens are."""

    def forward(self, x):
        return super().forward(x) + torch.arange(3, device=x.device, dtype=x.dtype)


@contextlib.contextmanager
def set_for_a_while(get, put, value):
    before = get()
    put(value)
    try:
        yield
    finally:
        put(before)


def default_dtype():
    return set_for_a_while(torch.get_default_dtype, torch.set_default_dtype, torch.float64)


def precision(value):
    return lambda: set_for_a_while(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, value)


def deterministic():
    return set_for_a_while(torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True)


STATES = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "default_dtype": default_dtype,
    "default_device": lambda: torch.device("meta"),
    "set_default_device": lambda: set_for_a_while(lambda: None, torch.set_default_device, "meta"),
    "deterministic": deterministic,
    "medium": precision("medium"),
    "high": precision("high"),
}


def state():
    found = [
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        torch.backends.cuda.matmul.fp32_precision,
        torch.backends.mkldnn.matmul.fp32_precision,
    ]
    return [*found, torch.zeros(1).dtype, torch.zeros(1).device]


def data():
    made = torch.Generator().manual_seed(0)
    x = torch.randn(24, 4, generator=made, dtype=torch.float32, device="cpu")
    y = torch.randint(3, (24,), generator=made, device="cpu")
    return [(x[:16], y[:16]), (x[16:], y[16:])]


def made_before():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Net(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).eval()
    batches = data()
    traced = libasis.trace(model, batches[0][0], SITES)
    graph = libasis.build(model, batches, SITES, progress=False)
    return model, batches, traced, graph


MADE = made_before()


def numbers(value):
    """All tensors, and the text of everything else that is no time, path or object of the call."""
    if isinstance(value, libasis.Traced):
        return [x for batch, _ in data() for x in value.record(batch).activations]
    if isinstance(value, libasis.SiteTable):
        return repr(value)
    table = value.to_dataframe()
    return table.to_csv(index=False, float_format="%.12e")


def directions(m, x, t, g):
    decoder = {site.name: torch.eye(site.features, 3, dtype=torch.float64, device="cpu") for site in t.sites}
    return libasis.Basis.from_directions(decoder, traced=t, batches=x, progress=False)


CALLS = {
    "find_sites": lambda m, x, t, g: libasis.find_sites(m, x[0][0]),
    "trace": lambda m, x, t, g: libasis.trace(m, x[0][0], SITES),
    "fit": lambda m, x, t, g: libasis.fit(t, x, progress=False),
    "build": lambda m, x, t, g: libasis.build(m, x, SITES, progress=False),
    "sparse": lambda m, x, t, g: libasis.fit(t, x, sparse=True, progress=False),
    "interactions": lambda m, x, t, g: libasis.interactions(t, g.basis, x, method="integrated", progress=False),
    "ablate_nodes": lambda m, x, t, g: libasis.ablate_nodes(t, g, x, "cross_entropy", progress=False),
    "ablate_edges": lambda m, x, t, g: libasis.ablate_edges(t, g, x, "cross_entropy", progress=False),
    "collect": lambda m, x, t, g: libasis.collect(t, g, x, progress=False),
    "diff": lambda m, x, t, g: libasis.diff(g, g, traced=(t, t), batches=x, progress=False),
    "from_directions": directions,
    "edge_effects": lambda m, x, t, g: libasis.edge_effects(t, g, x, strongest=1, controls=3, progress=False),
    "contributions": lambda m, x, t, g: libasis.local.contributions(t, g, x, "2:in", samples=[0, 3], progress=False),
    "counterfactual": lambda m, x, t, g: libasis.local.counterfactual(t, g, x, "2:in", samples=[0], progress=False),
    "sensitivity": lambda m, x, t, g: libasis.local.sensitivity(t, g, x, "2:in", samples=[0], progress=False),
    "diagnose": lambda m, x, t, g: libasis.diagnose(m, x, [one + 1 for one, _ in x], sites=["0:out"]),
    "intervene": lambda m, x, t, g: libasis.intervene(
        t, g, x, [libasis.Intervention("2:in", [0])], "cross_entropy", progress=False
    ),
}


CLAIM = libasis.Hypothesis("2:in", [0], "cross_entropy", name="one")


def planned(t, x, g):
    return libasis.plan(t, g, x, CLAIM, controls=9, progress=False)


CALLS |= {
    "explore": lambda m, x, t, g: libasis.explore(t, g.basis.on(t), x, "cross_entropy", seed=1, progress=False),
    "plan": lambda m, x, t, g: planned(t, x, g),
}


@pytest.fixture(scope="module")
def plain():
    return {name: numbers(call(*MADE)) for name, call in CALLS.items()}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("around", STATES)
def test_results_are_those_of_the_plain_call(plain, around, name):
    with STATES[around]():
        before = state()
        found = CALLS[name](*MADE)
        assert state() == before
    found = numbers(found)
    if isinstance(found, str):
        assert found == plain[name]
    else:
        torch.testing.assert_close(found, plain[name], rtol=0, atol=0)


@pytest.mark.parametrize("around", STATES)
def test_it_is_put_back_after_an_error(around):
    model, batches, traced, _ = MADE
    with STATES[around]():
        before = state()
        with pytest.raises(LibasisError):
            libasis.fit(traced, [torch.full((2, 4), torch.nan, device="cpu", dtype=torch.float32)], progress=False)
        with pytest.raises(LibasisError):
            libasis.trace(model, batches[0][0], ["nothing", "output"])
        assert state() == before


def test_data_and_model_made_in_inference_mode(plain):
    with torch.inference_mode():
        batches, model = data(), nn.Sequential(nn.Linear(4, 3)).eval()
    assert numbers(libasis.build(MADE[0], batches, SITES, progress=False)) == plain["build"]
    with pytest.raises(ModelStateError, match="'0.weight' was made in inference mode; make or load"):
        libasis.trace(model, batches[0][0], ["input", "output"])


def test_data_and_model_still_see_the_callers_default_dtype():
    """A model made under a default of float64 may make tensors of its own, and so may its data."""

    class Doubled(nn.Linear):
        def forward(self, x):
            return super().forward(x + torch.zeros(4)) @ torch.eye(3)

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return 12

        def __getitem__(self, i):
            return torch.tensor([i * 0.1, i % 3, 1.0 / (i + 1), (i % 5) * 0.3])

    with default_dtype():
        model = Doubled(4, 3).eval()
        batches = torch.utils.data.DataLoader(Rows(), batch_size=5)
        graph = libasis.build(model, batches, ["input", "output"], progress=False)
    assert (graph.basis[0].d, graph.basis[0].k) == (4, 3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_process_forked_during_a_call_of_another_thread_can_call():
    """Its copy of the lock is held by a thread that it does not have."""
    inside, leave = threading.Event(), threading.Event()

    class Slow(nn.Module):
        def forward(self, x):
            inside.set()
            leave.wait(20)
            return x * 2

    thread = threading.Thread(target=lambda: libasis.find_sites(Slow().eval(), torch.randn(2, 3)))
    thread.start()
    assert inside.wait(20)
    child = os.fork()
    if child == 0:
        call = threading.Thread(target=neutral(lambda: None), daemon=True)
        call.start()
        call.join(10)
        os._exit(int(call.is_alive()))
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        leave.set()
        thread.join()


def test_hooks_on_saved_tensors_change_no_derivative():
    model, x = Net(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double().eval(), torch.randn(9, 4).double()
    traced = libasis.trace(model, x, SITES)
    expected, seen = libasis.fit(traced, [x], moments="exact", progress=False), []
    pack = lambda t: (seen.append(t), t.round())[1]  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        found = libasis.fit(traced, [x], moments="exact", progress=False)
        assert seen == []
        torch.ones(1, requires_grad=True).exp()
        assert len(seen) == 1
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.importances, b.importances)


def test_where_tensors_have_no_values_nothing_is_measured():
    model, x = Net(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).eval(), torch.randn(9, 4)
    with FakeTensorMode(), pytest.raises(ModelStateError, match="within a FakeTensorMode.*make it outside"):
        libasis.trace(model, x, SITES)
    libasis.trace(model, x, SITES)
