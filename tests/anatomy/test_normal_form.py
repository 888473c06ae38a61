"""The normalised graph computes the same values, in fewer kinds of operations."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import libasis
from cut.cutting import randn
from libasis.anatomy.contractions import product_of
from libasis.anatomy.normal_form import normalised
from libasis.cut.functions import Functions

W = torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3)


def split_up(x):
    return x.split([1, 3], -1), x.chunk(2, 2), x.tensor_split(3, -1)


SPELLED = {
    "alpha": lambda x: torch.add(x, x.flip(-1), alpha=0.3) + torch.sub(2 * x, x.exp(), alpha=0.2),
    "rsub": lambda x: torch.rsub(x, x.tanh(), alpha=0.7),
    "baddbmm": lambda x: torch.baddbmm(x @ x.mT, x, x.transpose(1, 2), beta=0.3, alpha=0.7),
    "baddbmm without the first": lambda x: torch.baddbmm(x @ x.mT / 0, x, x.transpose(1, 2), beta=0),
    "addmm": lambda x: torch.addmm(x.new_ones(3), x.flatten(0, 1), W, beta=0.5, alpha=2).unflatten(0, (-1, 3)),
    "addcmul": lambda x: torch.addcmul(x, x, x.tanh(), value=0.3) + torch.addcdiv(x, x, x.exp(), value=0.4),
    "lerp": lambda x: torch.lerp(x, x.tanh(), 0.2) + torch.lerp(x, x.tanh(), x.sigmoid()),
    "orders": lambda x: x.swapaxes(1, 2).movedim(2, 1) + x.mT.moveaxis(-1, -2) + x.mT.transpose(-1, 1),
    "casts": lambda x: x.float().type_as(x),
    "glu": lambda x: F.glu(x, -1) * F.glu(x.mT, 1).mT,
    "parts": lambda x: sum(part[..., :1] for how in split_up(x) for part in how),
    "unbind": lambda x: x.unbind(1)[-1] * x.unbind(-1)[0][:, :1],
    "spread": lambda x: sum(torch.var_mean(x, -1, keepdim=True)) + sum(torch.std_mean(x, 1, correction=0))[:, None],
    "largest": lambda x: x.max(-1, keepdim=True)[0],
    "prelu": lambda x: F.prelu(x, torch.tensor([0.3], dtype=x.dtype)),
    "three factors": lambda x: torch.einsum("btd,de,bte->be", x, W, x @ W),
    "softmax by hand": lambda x: (e := (x - x.amax(-1, keepdim=True)).exp()) / e.sum(-1, keepdim=True),
    "masked by hand": lambda x: (e := x.exp() * (torch.arange(4) < 3)) / e.sum(-1, keepdim=True),
    "one more than the sum": lambda x: (e := x.exp()) / (e.sum(-1, keepdim=True) + 2),
    "a softmax along another": lambda x: (p := x.softmax(1)) / p.sum(-1, keepdim=True),
    "a softmax again": lambda x: (p := x.softmax(-1) * (torch.arange(4) < 3)) / (p.sum(-1, keepdim=True) + 0.1),
    "not a softmax": lambda x: (e := x.exp()) / e.sum(1, keepdim=True) + e / e.sum(-1, keepdim=True).exp(),
    "shifted by what differs": lambda x: (x - x.flip(-1)).softmax(-1) + (x - x.mean(1, keepdim=True)).softmax(1),
    "softmax in another dtype": lambda x: x.softmax(-1, dtype=torch.float64) + F.log_softmax(x, 1).exp(),
    "as another": lambda x: x[..., :1].expand_as(x),
    "twice": lambda x: torch.tanh(x + 1) * torch.tanh(x + 1),
}  # fmt: skip


class One(nn.Module):
    def __init__(self, run):
        super().__init__()
        self.run = run

    def forward(self, x):
        return self.run(x)


@pytest.mark.parametrize("name", SPELLED)
def test_the_same_values(name):
    x = randn(2, 3, 4)
    traced = libasis.trace(One(SPELLED[name]).double().eval(), x, ["input", "output"])
    program = traced.record(x).contexts[0].subgraph.program
    before = list(program.graph.nodes)
    new, where = normalised(program)
    y = SPELLED[name](x)
    for graph, node in ((program, program.outputs["output"]), (new, new.outputs["output"])):
        torch.testing.assert_close(Functions(graph).build([graph.inputs[0].node], [node])(x)[0], y)
    assert list(program.graph.nodes) == before
    assert set(where.values()) <= set(new.graph.nodes)
    assert normalised(program)[0] is new
    left = {str(node.target) for node in new.graph.nodes}
    assert not left & {"aten.baddbmm.default", "aten.addcmul.default", "aten.lerp.Tensor", "aten.transpose.int"}


def test_copies_are_one_operation():
    x = randn(2, 3, 4)
    program = (
        libasis.trace(One(SPELLED["twice"]).double().eval(), x, ["input", "output"])
        .record(x)
        .contexts[0]
        .subgraph.program
    )
    count = [
        sum("tanh" in str(n.target) for n in graph.nodes) for graph in (program.graph, normalised(program)[0].graph)
    ]
    assert count == [2, 1]


CONTRACTED = {
    "matmul": lambda x: x @ x.permute(0, 2, 1),
    "with a matrix": lambda x: x @ W,
    "spread over heads": lambda x: x[:, None] @ W.expand(2, 4, 3),
    "with a vector": lambda x: x @ W[:, 0],
    "vector first": lambda x: W[:, 0] @ x.permute(0, 2, 1),
    "linear": lambda x: F.linear(x, W.T),
    "bmm": lambda x: torch.bmm(x, x.permute(0, 2, 1)),
    "einsum": lambda x: torch.einsum("btd,bsd->bst", x, x.tanh()),
    "einsum with dots": lambda x: torch.einsum("...td,de->...et", x, W),
    "einsum without an arrow": lambda x: torch.einsum("btd,de", x, W),
    "tensordot": lambda x: torch.tensordot(x, W, ([2], [0])),
    "sum of a product": lambda x: (x[:, :, None] * x[:, None].tanh()).sum(-1),
    "sum, kept": lambda x: (x * x.tanh()).sum(-1, keepdim=True),
}


@pytest.mark.parametrize("name", CONTRACTED)
def test_contractions_say_what_is_computed(name):
    """Their letters, given to einsum, give the value."""
    x = randn(2, 3, 4)
    program = (
        libasis.trace(One(CONTRACTED[name]).double().eval(), x, ["input", "output"])
        .record(x)
        .contexts[0]
        .subgraph.program
    )
    node = program.outputs["output"]
    product = product_of(node)
    assert product is not None
    functions = Functions(program)
    a, b = functions.build([program.inputs[0].node], [product.a, product.b])(x)
    names = {letter: i for i, letter in enumerate(dict.fromkeys([*product.of_a, *product.of_b]))}
    alone = iter(range(40, 52))
    of_a, of_b = ([next(alone) if c is None else names[c] for c in of] for of in (product.of_a, product.of_b))
    out = [names[c] for c in product.out if c is not None]
    y = torch.einsum(a, of_a, b, of_b, out)
    torch.testing.assert_close(y.flatten(), CONTRACTED[name](x).flatten())
