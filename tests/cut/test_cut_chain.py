"""A Chain of plain callables is used like a traced model."""

import pytest
import torch
from torch import nn

import libasis
from cut.cutting import F64, assert_close, randn, refused
from libasis.cut import Record
from libasis.errors import BatchError, ModelStateError, SiteError
from models import CNN_CASE, MLP_CASE


def pieces(model):
    """The MLP by hand."""
    return [
        nn.Sequential(model.fc1, model.act1),
        lambda h: torch.tanh(model.fc2(h)),
        model.head,
    ]


def pair(names=("input", "fc2:in", "head:in", "output")):
    model = MLP_CASE.model()
    return libasis.Chain(pieces(model), names), libasis.trace(model, MLP_CASE.example(), list(names))


def test_equals_the_traced_model():
    chain, traced = pair()
    for inputs in MLP_CASE.batches():
        ours, theirs = chain.record((inputs, torch.arange(len(inputs)))), traced.record((inputs, None))
        assert isinstance(ours, Record)
        assert torch.equal(ours.targets, torch.arange(len(inputs)))
        assert_close(ours.output, theirs.output)
        for section, a, b in zip(chain.sections, ours.activations, theirs.activations, strict=False):
            assert_close(a, b)
            x = torch.randn_like(a)
            assert_close(section(x, ours), traced.sections[section.index](x, theirs))
        doubled = torch.cat([ours.activations[1]] * 2)
        assert_close(ours.rest(1, doubled, times=2), theirs.rest(1, doubled, times=2))
    assert [(s.name, s.features) for s in chain.sites] == [(s.name, s.features) for s in traced.sites]
    v = torch.randn_like(ours.activations[0])
    slopes = [torch.func.jvp(r.contexts[0], (r.activations[0],), (v,))[1] for r in (ours, theirs)]
    assert_close(*slopes)


def test_equals_the_traced_images(zoo):
    _, model, traced = zoo["residual_cnn"]
    stem, rest = nn.Sequential(model.stem, model.bn, model.relu), [model.block1, model.pool]
    head = nn.Sequential(model.gap, nn.Flatten(), model.head).eval()
    chain = libasis.Chain([stem, nn.Sequential(*rest), head], ["input", "block1:in", "gap:in"])
    ours, theirs = chain.record(CNN_CASE.example()), traced.record(CNN_CASE.example())
    for i, j in enumerate([CNN_CASE.sites.index("input"), CNN_CASE.sites.index("block1:in")]):
        assert_close(ours.activations[i], theirs.activations[j])
    assert_close(ours.activations[-1], theirs.activations[-1])
    assert_close(ours.rest(1, ours.activations[1]), theirs.output)


def test_fits_the_same_basis():
    chain, traced = pair()
    bases = [libasis.fit(t, [randn(20, 6), randn(9, 6, seed=2)], progress=False) for t in (chain, traced)]
    for a, b in zip(*bases, strict=True):
        assert_close(a.importances, b.importances, 1e-8)


def test_names():
    functions = [torch.tanh, torch.relu]
    assert [s.name for s in libasis.Chain(functions).sites] == ["input", "site1", "output"]
    assert [s.name for s in libasis.Chain(functions, ["a", "b"]).sites] == ["a", "b", "output"]
    assert [s.name for s in libasis.Chain(functions, ["a", "b", "c"]).sites] == ["a", "b", "c"]
    for names in (["a"], ["a", "a", "b"], ["a", "output"], list("abcd")):
        with refused(SiteError, "A Chain of 2 sections has 3 sites"):
            libasis.Chain(functions, names)


def test_errors():
    with refused(SiteError, "at least one callable"):
        libasis.Chain([])
    with refused(SiteError, "callable"):
        libasis.Chain([torch.tanh, 3])
    with refused(ModelStateError, "training mode"):
        libasis.Chain([torch.tanh, nn.Linear(3, 3)])
    chain = libasis.Chain([torch.tanh, nn.Linear(6, 3).to(F64).eval()], ["a", "b", "c"])
    with refused(BatchError, "Section 1 of the Chain", "'b' to 'c'", r"\[2, 5\]", "batch 1"):
        list(chain.stream([randn(2, 6), randn(2, 5)]))
    with refused(BatchError, "Batch 0", "a tensor"):
        chain.record({"x": randn(2, 6)})
    with refused(BatchError, "one-shot"):
        list(chain.stream(iter([randn(2, 6)])))


def test_a_section_that_returns_no_tensor():
    with refused(BatchError, "Section 0 of the Chain", "tuple", "one tensor"):
        libasis.Chain([lambda x: (x, x)]).record(randn(2, 6))


def test_another_dtype_leaves_the_modules_alone():
    module = nn.Linear(6, 3).eval()
    chain = libasis.Chain([module, torch.tanh])
    double = chain.to(dtype=F64)
    assert double.record(randn(2, 6).float()).output.dtype == F64
    assert module.weight.dtype == chain.record(randn(2, 6).float()).output.dtype == torch.float32
    assert double.to(dtype=F64) is double
    assert_close(double.record(randn(2, 6)).output, torch.tanh(module.to(F64)(randn(2, 6))))


def test_a_section_may_work_in_place():
    chain = libasis.Chain([lambda x: x.relu_(), lambda x: x.add_(1.0)])
    x = randn(4, 6)
    record = chain.record(x)
    assert torch.equal(x, randn(4, 6))
    assert_close(record.activations[1][:, 0], x.relu())
    assert_close(record.activations[2][:, 0], x.relu() + 1)
    record.contexts[0](record.activations[0])
    assert_close(record.activations[0][:, 0], x)


def test_mask():
    chain = libasis.Chain([torch.tanh], mask=lambda inputs: inputs[0][..., 0] > 0)
    x = randn(2, 4, 6)
    assert chain.record(x).count(0) == int((x[..., 0] > 0).sum())
    assert chain.to(mask=None).record(x).count(0) == 8
    with pytest.raises(libasis.LibasisError):
        chain.to(mask="attention_mask").record(x)
