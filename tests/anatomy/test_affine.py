"""A section said to be one affine map of each position alone is one."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import libasis
from cut.cutting import assert_close, calls, randn
from libasis.anatomy import read, why_not_affine


def is_affine(context, x):
    """Checked on the function itself: one Jacobian for all samples and positions, and no other."""
    jacobian = torch.func.jacrev(context)
    here, there = jacobian(x), jacobian(x + 1.0)
    blocks = [here[b, s, :, b, s, :] for b in range(x.shape[0]) for s in range(x.shape[1])]
    return (
        torch.allclose(here, there)
        and all(torch.allclose(block, blocks[0]) for block in blocks)
        and torch.allclose(here.abs().sum(), sum(block.abs().sum() for block in blocks))
    )


VECTOR = torch.randn(5, dtype=torch.float64)


def affine(context):
    found = read(context)
    return not isinstance(found, str) and found.affine


YES = {
    "linear": (lambda m, x: m.l(m.a(x)), (2, 4, 5)),
    "two linear": (lambda m, x: m.k(m.l(m.a(x))) / 3.0, (2, 4, 5)),
    "residual": (lambda m, x: (h := m.a(x)) + m.l(h) - 2 * h, (2, 4, 5)),
    "position bias": (lambda m, x: m.a(x) + m.bias, (2, 4, 5)),
    "scaled by a vector": (lambda m, x: m.a(x) * VECTOR, (2, 4, 5)),
    "matmul": (lambda m, x: m.a(x) @ m.l.weight, (2, 4, 5)),
    "one position, reshaped": (lambda m, x: m.l(m.a(x).unsqueeze(1)).squeeze(1), (2, 5)),
}
NO = {
    "relu": (lambda m, x: m.l(m.a(x)).relu(), (2, 4, 5)),
    "square": (lambda m, x: (h := m.a(x)) * h, (2, 4, 5)),
    "norm": (lambda m, x: m.norm(m.a(x)), (2, 4, 5)),
    "mean over positions": (lambda m, x: (h := m.a(x)) - h.mean(1, keepdim=True), (2, 4, 5)),
    "scaled by position": (lambda m, x: m.a(x) * m.bias[:, :1], (2, 4, 5)),
    "gated by its own sign": (lambda m, x: (h := m.a(x)) * (h > 0), (2, 4, 5)),
    "gated by the input": (lambda m, x: m.a(x.tanh()) * (x > 0), (2, 4, 5)),
    "rounded": (lambda m, x: (h := m.a(x)) + h.to(torch.int64), (2, 4, 5)),
    "divided by": (lambda m, x: 1.0 / (m.a(x) + 9.0), (2, 4, 5)),
    "positions exchanged": (lambda m, x: m.a(x).flip(1), (2, 4, 5)),
    "linear over pixels": (lambda m, x: m.l(m.a(m.conv(x))), (2, 3, 1, 5)),
    "vector over pixels": (lambda m, x: m.conv2(m.a(m.conv(x)) * VECTOR), (2, 3, 1, 5)),
    "channels and pixels alike": (lambda m, x: m.l(m.a(m.conv1(x))), (2, 5, 5)),
    "positions become features": (lambda m, x: m.l(m.a(x).transpose(1, 2)), (2, 5, 3)),
}


def parts():
    return {
        "l": nn.Linear(5, 5), "k": nn.Linear(5, 3), "norm": nn.LayerNorm(5), "bias": nn.Parameter(torch.randn(4, 5)),
        "conv": nn.Conv2d(3, 3, 1), "conv2": nn.Conv2d(3, 3, 1), "conv1": nn.Conv1d(5, 5, 1),
    }  # fmt: skip


KINDS = YES | NO


class Kinds(nn.Module):
    """All kinds of one input shape in one model, which is exported once."""

    def __init__(self, shape):
        super().__init__()
        self.kinds = nn.ModuleDict(
            {k: calls(run, a=nn.Identity(), **parts()) for k, (run, s) in KINDS.items() if s == shape}
        )

    def forward(self, x):
        return {kind: part(x) for kind, part in self.kinds.items()}


@pytest.fixture(scope="module")
def contexts():
    found = {}
    for shape in {shape for _, shape in KINDS.values()}:
        x, model = randn(*shape), Kinds(shape).eval()
        first = next(iter(model.kinds))
        traced = libasis.trace(model, x, [f"kinds.{first}.a", f"output.{first}"])
        (cut,) = traced._cuts.values()
        for kind in model.kinds:
            cut_here = type(cut)(cut.program, [f"kinds.{kind}.a", f"output.{kind}"], None, None)
            found[kind] = cut_here.record([x])[1][0]
    return found


@pytest.mark.parametrize("kind", YES)
def test_affine(contexts, kind):
    assert affine(contexts[kind])
    assert is_affine(contexts[kind], randn(*YES[kind][1]).reshape(2, -1, 5))


@pytest.mark.parametrize("kind", NO)
def test_not_affine(contexts, kind):
    assert not affine(contexts[kind])


def test_sections_between_the_same_values_and_of_two_tensors():
    model = calls(lambda m, x: m.k(m.l(m.a(x)) + m.a2(x)), a=nn.Identity(), a2=nn.Identity(), **parts())
    x = randn(2, 4, 5)
    identity, line, joined = libasis.trace(model, x, ["a", "l:in", ["l", "a2"], "output"]).record(x).contexts
    assert_close(identity(x), x, 0)
    assert affine(identity)
    assert not affine(line)  # a concatenated site is not claimed
    assert not affine(joined)


def test_learned_queries_are_not_affine():
    """Fused attention weights are a softmax, whichever of queries and keys depend on the input."""
    asked = randn(4, 6)
    run = lambda m, x: F.scaled_dot_product_attention(asked.expand(len(x), -1, -1), m.k(x), x)  # noqa: E731
    model = calls(run, k=nn.Linear(6, 6)).double().eval()
    x = randn(3, 5, 6)
    (context,) = libasis.trace(model, x, ["input", "output"]).record(x).contexts
    assert "affine" in why_not_affine(context)
    assert isinstance(read(context), str)
