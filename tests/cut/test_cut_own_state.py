"""Hooks, threads and what torch keeps for the whole process: as the user left them, during a call too."""

import collections
import functools
import logging
import sys
import threading
import warnings
import weakref
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm
from torch.utils import _pytree as pytree

import libasis
from cut.cutting import F64, assert_close, call, calls, everything, randn, refused
from libasis import presets
from libasis.errors import ActivationError, ExportError, ModelStateError

SITES = ["input", "b:in", "output"]


def parts():
    return {"a": nn.Linear(4, 5), "b": nn.Linear(5, 3)}


def mlp(**more):
    return calls(lambda m, x: m.b(torch.tanh(m.a(x))), **parts(), **more)


def all_verbs(model, x):
    traced = libasis.trace(model, x, SITES)
    basis = libasis.fit(traced, [x])
    libasis.interactions(traced, basis, [x])
    libasis.find_sites(model, x)
    return [site.importances for site in basis]


def test_hooks_that_look_on_see_values_and_only_those_of_the_example():
    model, seen = mlp(), []
    model.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    model.a.register_forward_hook(lambda m, args, out: seen.append(float(out.sum())))  # reads the value
    model.b.register_forward_hook(lambda m, args, kwargs, out: seen.append(out.numpy().copy()), with_kwargs=True)
    model.b.register_full_backward_hook(lambda *_: seen.append(None))
    x = randn(6, 4)
    expected = call(model, x)
    assert len(seen) == 3
    traced = libasis.trace(model, x, SITES)
    assert len(seen) == 6  # once, to see whether they change anything
    assert type(seen[3]) is torch.Tensor
    assert torch.equal(seen[3], x)
    assert seen[4] == seen[1]
    libasis.fit(traced, [randn(6, 4, seed=5), randn(3, 4, seed=6)])
    assert len(seen) == 6
    assert_close(traced.record(x).output, expected)
    call(model, x)
    assert len(seen) == 9


def old_weight_norm(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.a = torch.nn.utils.weight_norm(model.a)


def old_spectral_norm(model):
    model.a = torch.nn.utils.spectral_norm(model.a).eval()


def in_place(module, args, out):
    out.mul_(2)


CHANGES = {
    "the output": lambda model: model.a.register_forward_hook(lambda m, args, out: out * 2 + 1),
    "the output in place": lambda model: model.a.register_forward_hook(in_place),
    "the input": lambda model: model.a.register_forward_pre_hook(lambda m, args: (args[0] - 1,)),
    "the weight": old_weight_norm,
    "the weight, otherwise": old_spectral_norm,
    "pruned": lambda model: prune.l1_unstructured(model.a, "weight", 0.5),
    "a parametrization": lambda model: weight_norm(model.a).eval(),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_hooks_that_change_something_are_part_of_the_model(kind):
    model, seen = mlp(), []
    before = call(model, randn(6, 4))
    CHANGES[kind](model)
    model.a.register_forward_hook(lambda m, args, out: seen.append(type(out)))
    expected = call(model, randn(6, 4))
    if "norm" not in getattr(CHANGES[kind], "__name__", "") and kind != "a parametrization":
        assert (before - expected).abs().max() > 1e-3
    assert_close(libasis.trace(model, randn(6, 4), SITES).record(randn(6, 4)).output, expected)
    assert set(seen) == {torch.Tensor}


def test_a_hook_on_all_modules():
    model, seen = mlp(), []
    handle = register_module_forward_hook(lambda m, args, out: seen.append(type(out)))
    try:
        all_verbs(model, randn(6, 4))
    finally:
        handle.remove()
    assert set(seen) == {torch.Tensor}
    handle = register_module_forward_hook(lambda m, args, out: out * 2)
    try:
        expected = call(model, randn(6, 4))
        assert_close(libasis.trace(model, randn(6, 4), SITES).record(randn(6, 4)).output, expected)
    finally:
        handle.remove()


def of_the_process(models):
    return {
        "streams": (sys.stderr, sys.stdout),
        "warnings": list(warnings.filters),
        "loggers": {name: logging.getLogger(name).level for name in ("torch", "torch.export", "torch._dynamo")},
        "gradients": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "fused attention": torch.backends.mha.get_fastpath_enabled(),
        "random": torch.get_rng_state().tolist(),
        "hooks": [dict(vars(m)[kind]) for model in models for m in model.modules() for kind in ("_forward_hooks",)],
    }


class Numbers(torch.utils.data.Dataset):
    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i]


@pytest.mark.parametrize(("shared", "dtype"), [(True, torch.float32), (False, torch.float64)])
def test_eight_threads(shared, dtype):
    torch.manual_seed(0)
    x = randn(6, 4)
    models = [mlp()] * 8 if shared else [mlp() for _ in range(8)]
    expected = [all_verbs(model, x) for model in models]
    seen, found, errors = [], [None] * 8, []
    models[0].a.register_forward_hook(lambda m, args, out: seen.append(type(out)))

    def work(i):
        try:
            found[i] = all_verbs(models[i], x)
            loader = torch.utils.data.DataLoader(Numbers(x), batch_size=2, shuffle=True)
            libasis.fit(libasis.trace(models[i], x, SITES), loader)
        except Exception as error:
            errors.append(error)

    torch.set_default_dtype(dtype)
    try:
        before = of_the_process(models)
        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = of_the_process(models)
    finally:
        torch.set_default_dtype(torch.float32)
    assert errors == []
    assert after == before
    for mine, true in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, true, strict=True))
    assert set(seen) == {torch.Tensor}


def test_threads_whose_export_fails():
    model = calls(lambda m, x: m.a(x)[: int(x.sum())], a=nn.Linear(4, 3))
    before, errors = of_the_process([model]), []

    def work():
        try:
            libasis.trace(model, randn(6, 4), ["input", "output"])
        except Exception as error:
            errors.append(type(error))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [ExportError] * 8
    assert of_the_process([model]) == before
    libasis.trace(mlp(), randn(6, 4), SITES)


def test_the_process_is_usable_from_a_thread_without_gradients():
    model, x = mlp(), randn(6, 4).to(F64)
    expected, found = all_verbs(model, x), []

    def work():
        with torch.inference_mode():
            found.extend(all_verbs(model, x))
            assert torch.is_inference_mode_enabled()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def recorded(seen, change):
    """A hook that reads numbers, records what it was given, and returns a value."""

    def hook(module, *given, **_):
        tensors = [t for t in pytree.tree_leaves(given) if isinstance(t, torch.Tensor)]
        seen.extend((type(t), t.numpy().sum(), len(t)) for t in tensors)
        return change(given)

    return hook


doubled = lambda given: given[-1] * 2 + 1  # noqa: E731


def pruned_by_hand(seen):
    def hook(module, args):
        seen.append((type(args[0]), float(args[0].sum()), 0))
        module.weight = nn.Parameter(module.weight * (module.weight.abs() > 0.3))

    return hook


RECORDING = {
    "forward": lambda m, seen: m.a.register_forward_hook(recorded(seen, doubled)),
    "always called": lambda m, seen: m.a.register_forward_hook(recorded(seen, doubled), always_call=True),
    "with keywords": lambda m, seen: m.a.register_forward_hook(recorded(seen, doubled), with_kwargs=True),
    "before": lambda m, seen: m.a.register_forward_pre_hook(recorded(seen, lambda given: (given[0][0] - 1,))),
    "before, with keywords": lambda m, seen: m.a.register_forward_pre_hook(
        recorded(seen, lambda given: ((given[0][0] - 1,), given[1])), with_kwargs=True
    ),
    "on the model": lambda m, seen: m.register_forward_hook(recorded(seen, doubled)),
    "in place": lambda m, seen: m.a.register_forward_hook(
        recorded(seen, lambda given: in_place(None, None, given[-1]))
    ),
    "in place, through data": lambda m, seen: m.a.register_forward_hook(
        recorded(seen, lambda given: (given[-1].data[:, 1].fill_(0.5), None)[1])
    ),
    "a weight": lambda m, seen: m.a.register_forward_pre_hook(pruned_by_hand(seen)),
    "another module": lambda m, seen: m.a.register_forward_hook(
        recorded(seen, lambda given: given[-1] + m.b(given[-1]).sum(-1, True))
    ),
    "global": lambda m, seen: register_module_forward_hook(recorded(seen, doubled)),
    "on a traced module": lambda m, seen: m.scripted.register_forward_hook(recorded(seen, doubled)),
}


@pytest.mark.parametrize("kind", RECORDING)
def test_a_hook_that_records_and_returns_a_value_sees_values_and_is_part_of_the_model(kind):
    scripted = torch.jit.trace(nn.Linear(4, 4).to(F64), randn(2, 4))
    model, seen, x = (
        calls(lambda m, x: m.b(torch.tanh(m.a(m.scripted(x)))), **parts(), scripted=scripted),
        [],
        randn(6, 4),
    )
    plain = call(model, x)
    handle = RECORDING[kind](model, seen)
    try:
        expected, before = call(model, x), everything(model)
        assert (plain - expected).abs().max() > 1e-3
        traced = libasis.trace(model, x, SITES)
        assert everything(model) == before
        other = randn(9, 4, seed=3)
        assert_close(traced.record(x).output, expected)
        assert_close(traced.record(other).output, call(model, other))
    finally:
        handle.remove()
    assert {kind for kind, *_ in seen} <= {torch.Tensor, nn.Parameter}


UNTOLD = {
    "a number": lambda m, args, out: out / float(out.abs().max()),
    "a number, rarely": lambda m, args, out: out * 2 if float(out.max()) > 10 else out * 3,
    "a branch": lambda m, args, out: out * 2 if out.sum() > out.numel() else out * 3,
    "another library": lambda m, args, out: torch.from_numpy(out.numpy() * 2),
    "the number of samples": lambda m, args, out: out / len(out),
}


@pytest.mark.parametrize("kind", UNTOLD)
def test_a_hook_of_which_a_graph_cannot_say_what_it_does_is_refused(kind):
    model = mlp()
    model.a.register_forward_hook(UNTOLD[kind])
    with refused(ModelStateError, "module 'a'", "write the change into a module, or remove the hook"):
        libasis.trace(model, randn(6, 4), SITES)


def test_another_thread_may_run_the_model_meanwhile():
    model, seen, x, found, stop = mlp(), [], randn(6, 4), [], threading.Event()
    model.config = SimpleNamespace(use_cache=True)
    model.a.register_forward_hook(lambda m, args, out: seen.append(type(out)))
    model.b.register_forward_hook(lambda m, args, out: (seen.append(type(out)), out * 2)[1])
    expected, before = call(model, x), everything(model)

    def run():
        while not stop.is_set():
            calls_before = len(seen)
            try:
                found.append((call(model, x), model.config.use_cache, len(seen) >= calls_before + 2, everything(model)))
            except Exception as error:
                found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        for _ in range(3):
            libasis.trace(model, x, SITES)
    finally:
        stop.set()
        thread.join()
    for answer, cache, hooked, state in found:
        assert torch.equal(answer, expected)
        assert cache
        assert hooked
        assert {k: v for k, v in state.items() if k != "rng"} == {k: v for k, v in before.items() if k != "rng"}
    assert set(seen) == {torch.Tensor}


def held(kind, model):
    """The model's second part, reached in another way than as a child."""
    b = model.b
    model.way = {
        "a list": [b],
        "a dict": {"b": (b,)},
        "a bound method": b.__call__,
        "a partial call": functools.partial(nn.Module.__call__, b),
        "a closure": lambda h: b(h),
        "a default": lambda h, b=b: b(h),
        "another object": SimpleNamespace(part=b),
        "an object of a class without a dict": Slots(b),
        "an object in an object": SimpleNamespace(inner=[Driver(model)]),
        "a weak reference": weakref.ref(b),
        "a weak reference to the whole": [weakref.proxy(model)],
        "a named tuple": Named(b),
        "a dict of a class of the user's": Registry(b=b),
    }[kind]


class Slots:
    __slots__ = ("b",)

    def __init__(self, b):
        self.b = b


class Driver:
    """As TransformerLens' bridge has it: what runs the model knows it, and the model knows what runs it."""

    def __init__(self, model):
        self.model = model

    def run(self, h):
        return self.model.b(h)


class Registry(dict):
    def update(self, *_):
        raise TypeError


Named = collections.namedtuple("Named", "b")


WAYS = {
    "a list": lambda m, h: m.way[0](h),
    "a dict": lambda m, h: m.way["b"][0](h),
    **dict.fromkeys(["a bound method", "a partial call", "a closure", "a default"], lambda m, h: m.way(h)),
    "another object": lambda m, h: m.way.part(h),
    "an object of a class without a dict": lambda m, h: m.way.b(h),
    "an object in an object": lambda m, h: m.way.inner[0].run(h),
    "a weak reference": lambda m, h: m.way()(h),
    "a weak reference to the whole": lambda m, h: m.way[0].b(h),
    "a named tuple": lambda m, h: m.way.b(h),
    "a dict of a class of the user's": lambda m, h: m.way["b"](h),
}


@pytest.mark.parametrize("kind", WAYS)
def test_modules_that_are_reached_in_other_ways_than_as_children(kind):
    model = calls(lambda m, x: WAYS[kind](m, torch.tanh(m.a(x))), **parts())
    held(kind, model)
    seen, x = [], randn(6, 4)
    model.b.register_forward_hook(lambda m, args, out: (seen.append(type(out)), out * 2)[1])
    expected = call(model, x)
    assert_close(libasis.trace(model, x, SITES).record(x).output, expected)
    assert set(seen) == {torch.Tensor}


def hooking(m, h):
    """A hook that the first forward puts on a part, and that refers to the model weakly."""
    if not hasattr(m, "ready"):
        me = weakref.proxy(m)
        m.factor = 2.0
        m.ready = m.b.register_forward_pre_hook(lambda part, args: (args[0] * me.factor,))
        m.after = m.b.register_forward_hook(lambda part, args, kwargs, out: out + me.factor, with_kwargs=True)
    return m.b(h)


def built(m, h):
    if not hasattr(m, "norm"):
        m.norm = nn.LayerNorm(5, dtype=F64).eval()
    return m.b(m.norm(h))


def cached(m, h):
    if m.known.get("mask") is None:
        m.known["mask"] = torch.arange(5, dtype=F64).cos()
    return m.b(h * m.known["mask"])


def counted(m, h):
    m.driver.calls += 1
    return m.driver.run(h)


LAZY = {"hooks on a part": hooking, "a part": built, "a tensor in a dict": cached, "a number of an object": counted}


@pytest.mark.parametrize("kind", LAZY)
def test_what_the_first_forward_builds_is_not_built_in_the_users_model(kind):
    model = calls(lambda m, x: LAZY[kind](m, torch.tanh(m.a(x))), **parts())
    model.known, model.driver = {}, Driver(model)
    model.driver.calls = 0
    x = randn(6, 4)
    names = set(vars(model)), [name for name, _ in model.named_modules()]
    before = [all_verbs(model, x), libasis.trace(model, x, SITES).record(x).output, presets.residual_stream(model, x)]
    assert (set(vars(model)), [name for name, _ in model.named_modules()]) == names
    assert not model.known
    assert not model.driver.calls
    assert not model.b._forward_pre_hooks
    assert not model.b._forward_hooks
    expected = call(model, x)
    assert_close(before[1], expected)
    after = [all_verbs(model, x), libasis.trace(model, x, SITES).record(x).output, presets.residual_stream(model, x)]
    assert kind == "a part" or after[2] == before[2]  # a module that is there before has names
    assert_close(after[1], expected)
    for one, other in zip(before[0], after[0], strict=True):
        assert_close(one, other)


def test_a_part_that_the_first_forward_draws_at_random():
    def forward(m, x):
        if not hasattr(m, "c"):
            m.c = nn.Linear(5, 5, dtype=F64).eval()
        return m.b(torch.tanh(m.c(m.a(x))))

    model, x = calls(forward, **parts()), randn(6, 4)
    with refused(ActivationError, "run it once"):
        libasis.trace(model, x, SITES)
    assert not hasattr(model, "c")
    expected = call(model, x)
    assert_close(libasis.trace(model, x, SITES).record(x).output, expected)
