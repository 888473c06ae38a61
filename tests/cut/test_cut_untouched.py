"""The user's model and torch's global state are the same before and after every call, also after an error."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import libasis
from cut.cutting import F64, everything, randn
from libasis.errors import BatchError, LibasisError
from models import CNN_CASE, MLP_CASE


def prepared(case):
    """A model with hooks, gradients and a frozen weight."""
    model = case.model()
    for i, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(i % 2 == 0)
        parameter.grad = torch.full_like(parameter, float(i)) if i % 2 == 0 else None
    child = next(model.children())
    child.register_forward_hook(lambda *_: None)
    child.register_forward_pre_hook(lambda *_: None)
    model.register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize("case", [MLP_CASE, CNN_CASE], ids=lambda c: c.name)
def test_every_call(case):
    model, batches = prepared(case), case.batches()
    copies, before = copy.deepcopy(batches), everything(model)
    traced = libasis.trace(model, case.example(), case.sites)
    assert everything(model) == before
    for record in traced.to(dtype=torch.float32).stream(batches):
        record.rest(0, record.activations[0])
    record = traced.record(batches[0])
    record.contexts[0](record.activations[0].clone().requires_grad_()).sum().backward()
    assert everything(model) == before
    assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(batches, copies, strict=True))
    model.zero_grad()
    model(batches[0]).sum().backward()  # it still trains
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


class Fragile(nn.Module):
    """Counts, stores what it saw, and fails on request: at its n-th call, or where a branch depends on values."""

    def __init__(self, fail_at=None, branch=False):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 3)
        self.register_buffer("runs", torch.zeros(()))
        self.config = SimpleNamespace(use_cache=True)
        self.seen, self.last, self.count = [], None, 0
        self.fail_at, self.branch = fail_at, branch

    def forward(self, x):
        self.count += 1
        self.runs += 1
        h = self.a(x)
        self.last = h
        self.seen.append(h)
        if self.fail_at is not None and self.count > self.fail_at:
            raise RuntimeError("boom")
        if self.branch and h.sum() > 0:
            h = -h
        return self.b(h)


@pytest.mark.parametrize("options", [{}, {"fail_at": 0}, {"branch": True}, {"fail_at": 1}], ids=str)
def test_a_model_that_keeps_things_or_fails(options):
    model = Fragile(**options).to(F64).eval()
    before = everything(model)
    try:
        libasis.trace(model, randn(4, 6), ["input", "b:in", "output"])
    except LibasisError:
        assert options
    assert everything(model) == before
    assert (model.seen, model.last, model.count) == ([], None, 0)


def test_an_error_in_the_forward_is_told():
    with pytest.raises(BatchError, match="does not run on inputs of shape.*boom"):
        libasis.trace(Fragile(fail_at=0).to(F64).eval(), randn(4, 6), ["input", "output"])


def test_a_failing_batch_and_a_failing_cut(zoo):
    case, model, traced = zoo["mlp"]
    before = everything(model)
    for bad in (lambda: traced.record(randn(2, 9)), lambda: libasis.trace(model, case.example(), ["output", "input"])):
        with pytest.raises(LibasisError):
            bad()
        assert everything(model) == before


def test_gradients_may_be_on_or_off(zoo):
    case, model, _ = zoo["mlp"]
    with torch.no_grad():
        libasis.trace(model, case.example(), case.sites)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        traced = libasis.trace(model, case.example(), case.sites)
    assert torch.is_grad_enabled()
    record = traced.record(case.example())
    torch.func.vjp(record.contexts[0], record.activations[0])


def test_the_weights_are_shared_not_copied(zoo):
    _, model, traced = zoo["mlp"]
    (cut,) = traced._cuts.values()
    arguments = pytree.tree_leaves([step.args for f in cut.functions for step in f._steps])
    held = {t.data_ptr() for t in arguments if isinstance(t, torch.Tensor)}
    assert model.fc2.weight.data_ptr() in held
