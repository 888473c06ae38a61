"""Sites inside branches: what goes around them is held at its value."""

import copy

import pytest
import torch
from torch import nn

import libasis
from libasis.errors import BypassError


class Block(nn.Module):
    def __init__(self, d=4, hidden=6):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(d), nn.Linear(d, hidden), nn.Linear(hidden, d)

    def forward(self, x):
        return x + self.down(torch.tanh(self.up(self.norm(x))))


class Stream(nn.Module):
    def __init__(self, blocks=2):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(blocks))
        self.end = nn.Linear(4, 3)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.end(torch.tanh(x))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Stream().double().eval()


@pytest.fixture(scope="module")
def data():
    torch.manual_seed(1)
    return torch.randn(24, 4, dtype=torch.float64)


def importance_by_hand(model, data, block):
    """The trace of M' at the block's hidden layer, by autograd with the residual stream as it is."""
    x = data
    for earlier in model.blocks[:block]:
        x = earlier(x)
    own = model.blocks[block]

    def rest(hidden, stream):
        y = stream + own.down(hidden)
        for later in model.blocks[block + 1 :]:
            y = later(y)
        return model.end(torch.tanh(y))

    hidden = torch.tanh(own.up(own.norm(x)))
    jacobians = torch.stack([torch.autograd.functional.jacobian(lambda h, s=s: rest(h, s), h)
                             for h, s in zip(hidden, x, strict=True)])  # fmt: skip
    return torch.einsum("nkd,nke->de", jacobians, jacobians) / len(data), hidden


@pytest.mark.parametrize("block", [0, 1])
def test_a_site_in_a_branch_has_the_importance_it_has_given_the_rest(model, data, block):
    site = f"blocks.{block}.down:in"
    traced = libasis.trace(model, data, [site, "output"], around="hold")
    basis = libasis.fit(traced, [data[:10], data[10:]], truncation="absolute:1e-12")
    moment, hidden = importance_by_hand(model, data, block)
    centred = hidden - hidden.mean(0)
    expected = torch.linalg.eigvals(centred.T @ centred / len(data) @ moment).real.sort(descending=True).values
    assert torch.allclose(basis[0].importances, expected[: basis[0].k].detach(), rtol=1e-8, atol=1e-12)
    assert "goes on beside values that are held" in str(basis.info["rules"])


def test_what_is_held_is_said_and_recorded(model, data):
    traced = libasis.trace(model, data, ["blocks.1.down:in", "output"], around="hold")
    assert "blocks.1.norm:in" in repr(traced) or "blocks.0:out" in repr(traced)
    assert "held" in repr(traced)
    assert list(libasis.fit(traced, [data]).info["traced"]["held"]) == ["blocks.1.down:in"]
    plain = libasis.trace(model, data, ["blocks.1:in", "output"], around="hold")
    assert "held" not in repr(plain)
    assert "held" not in plain.facts()


def test_it_is_refused_unless_asked_for(model, data):
    with pytest.raises(BypassError, match='around="hold"'):
        libasis.trace(model, data, ["blocks.1.down:in", "output"])


@pytest.mark.parametrize(
    "sites",
    [
        ["blocks.0.down:in", "blocks.1.down:in", "output"],
        ["blocks.1:in", "blocks.1.down:in", "output"],
        ["input", "blocks.0.down:in", "blocks.1:in", "output"],
    ],
)
def test_what_depends_on_an_earlier_site_is_not_held(model, data, sites):
    """A change at the earlier site would not reach the output along it."""
    with pytest.raises(BypassError, match="depends on the earlier site"):
        libasis.trace(model, data, sites, around="hold")


def test_an_intervention_there_is_one_in_the_model(model, data):
    """With all features at their mean the model computes what it computes with the hidden layer at its mean."""
    traced = libasis.trace(model, data, ["blocks.0.down:in", "blocks.1:in", "output"], around="hold")
    basis = libasis.fit(traced, [data], method="pca")
    gone = libasis.Intervention("blocks.0.down:in", list(range(basis[0].k)))
    found = libasis.intervene(traced, basis, [(data, torch.zeros(24, 3).double())], gone, metric="mse")
    changed = copy.deepcopy(model)
    with torch.no_grad():
        own = changed.blocks[0]
        mean = torch.tanh(own.up(own.norm(data))).mean(0)
        changed.blocks[0].down.bias += own.down.weight @ mean
        changed.blocks[0].down.weight.zero_()
        expected = changed(data).square().mean(1)
    assert torch.allclose(found.scores[0], expected, rtol=1e-9)


def test_batches_and_samples_do_not_matter(model, data):
    traced = libasis.trace(model, data[:3], ["blocks.1.down:in", "output"], around="hold")
    one, many = (libasis.interactions(traced, libasis.fit(traced, batches), batches)
                 for batches in ([data], list(data.split(5))))  # fmt: skip
    assert torch.allclose(one.basis[0].importances, many.basis[0].importances, rtol=1e-9)
    assert torch.allclose(one.edges[0], many.edges[0], rtol=1e-7, atol=1e-12)
