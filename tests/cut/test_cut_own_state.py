"""Hooks, threads and what torch keeps for the whole process: as the user left them, during a call too."""

import logging
import sys
import threading
import warnings

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm

import libasis
from cut.cutting import F64, assert_close, call, calls, randn, refused
from libasis.errors import ActivationError, ExportError

SITES = ["input", "b:in", "output"]


def mlp(**more):
    return calls(lambda m, x: m.b(torch.tanh(m.a(x))), a=nn.Linear(4, 5), b=nn.Linear(5, 3), **more)


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
        with refused(ActivationError, "does not reproduce the model", "hook"):
            libasis.trace(model, randn(6, 4), SITES)
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
