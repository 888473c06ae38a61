"""Sections are pure functions: forward mode, reverse mode and vmap agree with autograd."""

import pytest
import torch

from cut.conftest import tokens
from cut.cutting import F64, assert_close


def assert_derivatives(traced, record):
    for section in traced.sections:
        x = record.activations[section.index]
        context = record.contexts[section.index]
        leaf = x.clone().requires_grad_()
        y = section(leaf, record)
        cotangents = torch.randn(3, *y.shape, dtype=y.dtype)
        expected = torch.stack([torch.autograd.grad(y, leaf, c, retain_graph=True)[0] for c in cotangents])
        value, pull = torch.func.vjp(context, x)
        assert_close(value, y.detach())
        assert_close(torch.func.vmap(pull)(cotangents)[0], expected)
        tangents = torch.randn(2, *x.shape, dtype=x.dtype)
        pushed = torch.func.vmap(lambda t, f=context, x=x: torch.func.jvp(f, (x,), (t,))[1])(tangents)
        one = torch.func.jvp(context, (x,), (tangents[0],))[1]
        assert_close(pushed[0], one)
        # <c, J t> = <J^T c, t>
        left = torch.einsum("c...,t...->ct", cotangents, pushed)
        right = torch.einsum("c...,t...->ct", expected, tangents)
        assert_close(left, right, 1e-9)


def test_zoo(traced_case):
    case, _, traced = traced_case
    assert_derivatives(traced, traced.record(case.inputs(3, F64)))


@pytest.mark.parametrize(
    ("name", "attention"), [("gpt2", "eager"), ("llama", "sdpa"), ("gpt_neox", "eager"), ("bert", "sdpa")]
)
def test_language_models(language_models, name, attention):
    pytest.importorskip("transformers")
    traced = language_models(name, attention)[1].to(dtype=torch.float64)
    assert_derivatives(traced, traced.record(tokens([0, 2])))


def test_slopes_by_finite_differences(traced_case):
    case, _, traced = traced_case
    record = traced.record(case.inputs(3, F64))
    x, context, step = record.activations[-2], record.contexts[-1], 1e-6
    t = torch.randn_like(x)
    slope = torch.func.jvp(context, (x,), (t,))[1]
    assert_close(slope, (context(x + step * t) - context(x - step * t)) / (2 * step), 1e-6)


def test_samples_do_not_mix(traced_case):
    case, _, traced = traced_case
    record = traced.record(case.inputs(3, F64))
    for section in traced.sections:
        x = record.activations[section.index]
        t = torch.zeros_like(x)
        t[1] = 1.0
        slope = torch.func.jvp(record.contexts[section.index], (x,), (t,))[1]
        assert slope[[0, 2]].abs().max() == 0


def test_weights_get_no_gradient(traced_case):
    case, model, traced = traced_case
    record = traced.record(case.inputs(3, F64))
    x = record.activations[0].clone().requires_grad_()
    record.rest(0, x).sum().backward()
    assert x.grad is not None
    assert all(p.grad is None for p in model.parameters())
