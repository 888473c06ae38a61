"""What a section is made of is read right, or not at all."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import libasis
from anatomy.rebuild import differs_by_a_constant
from cut.cutting import calls, randn
from libasis.anatomy import read

D, T = 6, 4


def written_norm(x, centred=True):
    x = x - x.mean(-1, keepdim=True) if centred else x
    return x * (x.pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt()


def with_variance(x):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()


def attend(m, x, mask=True, scale=1.0, cap=None):
    q, k, v = (part(x).unflatten(-1, (2, 3)).transpose(1, 2) for part in (m.q, m.k, m.v))
    scores = q @ k.transpose(-1, -2) * scale
    if cap is not None:
        scores = cap * torch.tanh(scores / cap)
    if mask:
        scores = scores.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), -torch.inf)
    return m.o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


def fused(m, x):
    q, k, v = (part(x).unflatten(-1, (2, 3)).transpose(1, 2) for part in (m.q, m.k, m.v))
    return m.o(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


def grouped(m, x):
    q = m.q(x).unflatten(-1, (2, 3)).transpose(1, 2)
    k, v = (part(x)[..., None, :3].transpose(1, 2) for part in (m.k, m.v))
    return m.o(F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).flatten(2))


def one_head(m, x):
    return m.o((m.q(x) @ m.k(x).transpose(-1, -2) / 2).softmax(-1) @ m.v(x))


def turn(x, partly=False):
    """Rotary embedding of [.., position, width]."""
    rest = x[..., 2:] if partly else x[..., :0]
    x = x[..., :2] if partly else x
    half = x.shape[-1] // 2
    angle = torch.arange(T, dtype=x.dtype)[:, None] * torch.tensor([1.0, 0.3, 0.1][:half], dtype=x.dtype)
    cos, sin = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)
    return torch.cat([x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin, rest], -1)


def rotary(m, x, partly=False):
    q, k, v = (part(x)[:, None] for part in (m.q, m.k, m.v))
    return m.o(((turn(q, partly) @ turn(k, partly).transpose(-1, -2)).softmax(-1) @ v)[:, 0])


def turned_groups(m, x):
    """Three heads of width 2 on the keys and values of one, queries and keys turned."""
    q = turn(m.q(x).unflatten(-1, (3, 2)).transpose(1, 2))
    k, v = (part(x)[..., None, :2].transpose(1, 2) for part in (m.k, m.v))
    k = turn(k)
    return m.o(F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2).flatten(2))


MADE_OF = {  # name: (forward, whether norm, number of pointwise branches, whether attention, read)
    "affine": (lambda m, x: x + m.o(m.q(x)), False, 0, False, None),
    "relu": (lambda m, x: m.o(m.q(x).relu()), False, 1, False, None),
    "relu with skip": (lambda m, x: x + m.o(m.q(x).relu()), False, 1, False, None),
    "relu of the site": (lambda m, x: m.o(x.relu()), False, 1, False, None),
    "gelu of the normed": (lambda m, x: x + m.o(F.gelu(m.q(m.norm(x)))), True, 1, False, None),
    "written-out gelu": (
        lambda m, x: m.o(0.5 * (a := m.q(x)) * (1 + torch.tanh(0.8 * (a + 0.04 * a.pow(3))))), False, 1, False, None,
    ),
    "gated": (lambda m, x: m.o(F.silu(m.q(m.rms(x))) * m.k(m.rms(x))), True, 1, False, None),
    "square": (lambda m, x: m.o((h := m.q(x)) * h), False, 1, False, None),
    "two branches": (lambda m, x: m.o(m.q(x).relu()) + m.v(m.k(x).tanh()), False, 2, False, None),
    "written LayerNorm": (lambda m, x: x + m.o(written_norm(x).matmul(m.q.weight).relu()), True, 1, False, None),
    "written RMSNorm": (lambda m, x: x + m.o(m.q(written_norm(x, False)).relu()), True, 1, False, None),
    "norm by variance": (lambda m, x: m.q(with_variance(x)), True, 1, False, None),
    "norm alone": (lambda m, x: m.norm(x), True, 1, False, None),
    "two gains": (lambda m, x: m.q(m.norm(x)).relu() + m.o(m.norm2(x)), True, 2, False, None),
    "last position": (lambda m, x: (x + m.o(m.q(x).relu()))[:, -1], False, 1, False, (T - 1,)),
    "last position first": (lambda m, x: m.o(m.q(x[:, -1]).relu()), False, 1, False, (T - 1,)),
    "dead input to a gate": (lambda m, x: m.o(torch.where((a := m.q(x)) > 0, a, 0.1 * a)), False, 1, False, None),
    "1x1 convolution": (lambda m, x: m.c(x.relu()), False, 1, False, None),
    "samples and positions as one": (
        lambda m, x: m.o(m.q(x.reshape(-1, D)).relu()).reshape(-1, T, D), False, 1, False, None,
    ),
    "attention": (lambda m, x: x + attend(m, x), False, 0, True, None),
    "attention, both ways": (lambda m, x: x + attend(m, m.norm(x), mask=False, scale=0.5), True, 0, True, None),
    "attention, last position": (lambda m, x: (x + attend(m, x))[:, -1], False, 0, True, (T - 1,)),
    "fused attention": (lambda m, x: fused(m, m.rms(x)), True, 0, True, None),
    "grouped keys": (lambda m, x: x + grouped(m, x), False, 0, True, None),
    "one head": (lambda m, x: x + one_head(m, x), False, 0, True, None),
    "rotary": (lambda m, x: x + rotary(m, m.rms(x)), True, 0, True, None),
    "partial rotary": (lambda m, x: x + rotary(m, m.norm(x), partly=True), True, 0, True, None),
    "rotary, last position": (lambda m, x: (x + rotary(m, m.norm(x)))[:, -1], True, 0, True, (T - 1,)),
    "rotary with grouped keys": (lambda m, x: x + turned_groups(m, m.rms(x)), True, 0, True, None),
    "causal, last position": (lambda m, x: (x + fused(m, m.norm(x)))[:, -1], True, 0, True, (T - 1,)),
    "rotary beside a gate": (
        lambda m, x: x + turned_groups(m, m.rms(x)) + m.p(F.silu(m.v(m.rms(x))) * m.k(m.rms(x))), True, 1, True, None,
    ),
    "attention beside, no norm": (lambda m, x: attend(m, x) + m.p(m.v(x).tanh()), False, 1, True, None),
    "side by side": (lambda m, x: x + attend(m, m.norm(x)) + m.p(m.v(m.norm2(x)).relu()), True, 1, True, None),
    "side by side, second position": (
        lambda m, x: (x + attend(m, m.norm(x)) + m.p(m.v(m.norm2(x)).relu()))[:, 1], True, 1, True, (1,),
    ),
}  # fmt: skip

NOT = {
    "softmax": lambda m, x: m.o(m.q(x).softmax(-1)),
    "max-pool": lambda m, x: F.max_pool1d(m.q(x), 2),
    "two products": lambda m, x: m.o(m.q(x) * m.k(x).mean(-1, keepdim=True)),
    "positions mixed": lambda m, x: m.o((m.q(x) + m.q(x).mean(1, keepdim=True)).relu()),
    "positions shifted": lambda m, x: m.o(m.q(x).roll(1, 1).relu()),
    "positions sorted": lambda m, x: m.o(m.q(x).sort(1).values),
    "a convolution over places": lambda m, x: m.c3(x.relu()),
    "a gate by the whole sample": lambda m, x: m.q(x) * x.mean((1, 2), keepdim=True).sigmoid(),
    "a branch by value": lambda m, x: torch.where(x.sum(-1, keepdim=True) > 0, m.q(x), m.k(x)),
    "a scale that differs by position": lambda m, x: m.o((m.q(x) * m.place).relu()),
    "two layers": lambda m, x: m.o(m.k(m.q(x).relu()).relu()),
    "norm behind": lambda m, x: m.norm(x + m.q(x).relu()),
    "norm of a part": lambda m, x: F.layer_norm(x[..., :3], (3,)),
    "with and without the norm": lambda m, x: m.q(x).relu() + m.k(m.norm(x)).relu(),
    "two norms": lambda m, x: m.q(m.rms(x)).relu() + m.k(m.norm(x)).relu(),
    "soft-capped attention": lambda m, x: attend(m, x, cap=2.0),
    "attention to a normed key": lambda m, x: (m.q(x) @ F.normalize(m.k(x), dim=-1).mT).softmax(-1) @ m.v(x),
    "linear attention": lambda m, x: (m.q(x) @ m.k(x).transpose(-1, -2)) @ m.v(x),
    "softmax over queries": lambda m, x: (m.q(x) @ m.k(x).transpose(-1, -2)).softmax(-2) @ m.v(x),
    "values of the weights": lambda m, x: (h := (m.q(x) @ m.k(x).transpose(-1, -2)).softmax(-1)) @ (h @ m.v(x)),
    "two attentions": lambda m, x: attend(m, x) + one_head(m, x),
}  # fmt: skip


class Last(nn.Module):
    """The site is the input of this module."""

    def __init__(self, run):
        super().__init__()
        self.site = nn.Identity()
        self.run = run
        for name in "qkvop":
            setattr(self, name, nn.Linear(D, D))
        self.norm, self.norm2, self.rms = nn.LayerNorm(D), nn.LayerNorm(D), nn.RMSNorm(D, eps=1e-5)
        self.c, self.c3 = nn.Conv1d(D, D, 1), nn.Conv1d(D, D, 3, padding=1)
        self.place = nn.Parameter(torch.randn(T, 1))
        for part in (self.norm, self.norm2, self.rms):
            nn.init.normal_(part.weight)

    def forward(self, x):
        return self.run(self, self.site(x))


def section(run, x):
    model = Last(run).double().eval()
    (context,) = libasis.trace(model, x, ["site", "output"]).record(x).contexts
    return context, context.subgraph.source.layouts[0].canonical(x)


def example(name):
    return randn(3, D, T) if "convolution" in name else randn(3, T, D)


@pytest.mark.parametrize("name", MADE_OF)
def test_the_parts_make_up_the_section(name):
    run, norm, branches, attention, positions = MADE_OF[name]
    context, x = section(run, example(name))
    found = read(context)
    assert not isinstance(found, str), found
    assert (found.norm is not None, len(found.pointwise), found.attention is not None) == (norm, branches, attention)
    assert found.read == positions
    assert differs_by_a_constant(found, context, x) < 1e-12
    assert differs_by_a_constant(found, context, 3 * x + 1) < 1e-12
    assert read(context) is found


@pytest.mark.parametrize("name", NOT)
def test_what_is_something_else_is_not_read(name):
    context, _ = section(NOT[name], example(name))
    reason = read(context)
    assert isinstance(reason, str)
    assert " " in reason


def test_a_plain_callable_cannot_be_read():
    chain = libasis.Chain([torch.relu, torch.tanh])
    assert "plain callable" in read(chain.record(randn(2, 3)).contexts[0])


def test_two_shapes_have_an_anatomy_each():
    model = calls(lambda m, x: x + m.o((m.q(x) @ m.k(x).transpose(-1, -2)).softmax(-1) @ m.v(x)),
                  **{n: nn.Linear(D, D) for n in "qkvo"})  # fmt: skip
    traced = libasis.trace(model, randn(2, 4, D), ["input", "output"])
    for length in (4, 7):
        x = randn(2, length, D)
        (context,) = traced.record(x).contexts
        assert differs_by_a_constant(read(context), context, x) < 1e-12
