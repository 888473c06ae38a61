"""Computing in another dtype than the model's own."""

import pytest
import torch
from torch import nn

import libasis
from cut.cutting import F64, assert_close, call, calls, counted_exports, randn
from libasis.cut.trace import fingerprint
from models import MLP_CASE, TRANSFORMER_CASE, copy_of


@pytest.mark.parametrize("case", [MLP_CASE, TRANSFORMER_CASE], ids=lambda c: c.name)
def test_float32_model_in_float64(case):
    model = case.model(torch.float32)
    traced = libasis.trace(model, case.example(torch.float32), case.sites, dtype="float64")
    double = copy_of(model, F64)
    for inputs in case.batches(torch.float32):
        record = traced.record(inputs)
        assert {a.dtype for a in record.activations} == {F64}
        wide = inputs.to(F64) if inputs.is_floating_point() else inputs
        assert_close(record.output, call(double, wide))
        assert_close(record.rest(0, record.activations[0]), call(double, wide))
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def casting(m, x):
    """Casts to float32, makes new tensors and uses the lowest number of its dtype, like language models do."""
    h = m.a(x).to(torch.float32)
    h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)
    h = h + torch.zeros(6, dtype=torch.float32) + torch.arange(6, dtype=torch.float32) / 7
    h = h.to(x.dtype).masked_fill(x.float() > 1.5, torch.finfo(x.dtype).min).softmax(-1, dtype=torch.float32)
    return m.b(h.to(x.dtype))


def test_casts_written_in_the_model():
    single = calls(casting, a=nn.Linear(6, 6), b=nn.Linear(6, 3)).float()
    x = randn(5, 6)
    traced = libasis.trace(single, x.float(), ["input", "b:in", "output"], dtype=F64)
    p = {k: v.double() for k, v in single.state_dict().items()}
    h = x.float().double() @ p["a.weight"].T + p["a.bias"]
    h = h / (h.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() + torch.arange(6, dtype=F64) / 7
    h = h.masked_fill(x > 1.5, -torch.inf).softmax(-1)
    record = traced.record(x.float())
    assert_close(record.activations[1][:, 0], h, 1e-12)
    assert_close(record.output, h @ p["b.weight"].T + p["b.bias"], 1e-12)


def test_float64_model_in_float32():
    model = calls(casting, a=nn.Linear(6, 6), b=nn.Linear(6, 3))
    record = libasis.trace(model, randn(5, 6), ["input", "b:in", "output"], dtype="float32").record(randn(5, 6))
    assert record.output.dtype == torch.float32
    assert_close(record.output, call(model, randn(5, 6)), 1e-5)


def test_batches_of_any_precision_when_a_dtype_is_named():
    model = calls(lambda m, x: m.b(m.a(x).relu()), a=nn.Linear(6, 6), b=nn.Linear(6, 3)).float()
    traced = libasis.trace(model, randn(2, 4, 6).float(), ["input", "b:in", "output"], dtype="torch.float64")
    for shape in [(3, 4, 6), (3, 5, 6)]:
        x = randn(*shape)
        assert_close(traced.record(x).output, call(copy_of(model, F64), x))


def test_to_does_not_export_again(zoo, monkeypatch):
    case, _, traced = zoo["residual_cnn"]
    with counted_exports(monkeypatch) as exports:
        first, second = traced.to(dtype=torch.float32), traced.to(dtype=torch.float32)
        back = first.to(dtype=F64)
        for other in (first, second, back):
            other.record(case.example())
        assert not exports
    assert traced.to() is traced
    assert traced.to(dtype=None) is traced
    assert_close(back.record(case.example()).output, traced.record(case.example()).output)


def test_float16_model_runs_in_float32():
    model = calls(lambda m, x: m.b(m.a(x).relu()), a=nn.Linear(6, 6), b=nn.Linear(6, 3)).to(torch.bfloat16)
    x = randn(4, 6).to(torch.bfloat16)
    record = libasis.trace(model, x, ["input", "output"], dtype="float32").record(x)
    assert_close(record.output, call(copy_of(model, F64), x.double()), 1e-5)


def test_facts(zoo):
    case, model, traced = zoo["mlp"]
    facts = traced.facts()
    assert (facts["model"], facts["sites"], facts["dtype"]) == ("MLP", list(case.sites), "float64")
    assert traced.to(dtype=torch.float32).facts()["dtype"] == "float32"
    assert fingerprint(case.model()) == facts["fingerprint"] != fingerprint(case.model(seed=1))
