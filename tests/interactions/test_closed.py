"""Edges in closed form are those of forward and reverse mode, for every kind of section that has an anatomy."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import libasis
from anatomy.test_anatomy import MADE_OF, Last, T, example
from interactions.allocations import peak
from libasis.interactions.edge_sums import EdgeSums
from libasis.interactions.effects import Effects, Path

RUNS = {name: made[0] for name, made in MADE_OF.items()}
RUNS["affine, last position"] = lambda m, x: (x + m.q(x))[:, -1]


@pytest.fixture(params=["gradient", "integrated"])
def method(request):
    return request.param


def both(name, counted=None, **options):
    """Edges of a section whose anatomy is known, and of the same as a plain callable, whose inside cannot be read."""
    x = torch.cat([example(name), 2 * example(name) - 1, example(name).flip(0) + 0.3])
    mask = None if counted is None else lambda _: counted
    traced = libasis.trace(Last(RUNS[name]).double().eval(), x, ["site", "output"], mask=mask)
    basis = libasis.fit(traced, [x], "pca")
    closed = libasis.interactions(traced, basis, [x], **options)
    record = traced.record(x)
    chain = libasis.Chain([record.contexts[0]], ["site", "output"], mask=mask)
    options.pop("memory", None)
    derived = libasis.interactions(chain, basis, [record.activations[0]], **options)
    assert (closed.info["rules"], derived.info["rules"]) == (["closed form"], ["derivatives"])
    return closed, derived


def assert_same(closed, derived):
    scale = float(derived.edges[0].max())
    assert float((closed.edges[0] - derived.edges[0]).abs().max()) <= 1e-10 * scale
    # a mean of both signs, zero in an affine section: measured by the size of what is averaged
    assert float((closed.signed[0] - derived.signed[0]).abs().max()) <= 1e-10 * scale**0.5


@pytest.mark.parametrize("name", RUNS)
def test_closed_is_derived(name, method):
    assert_same(*both(name, method=method, n_steps=3))


@pytest.mark.parametrize("name", ["gelu of the normed", "attention, both ways", "partial rotary", "side by side"])
def test_padding_and_small_memory(name):
    mask = torch.ones(9, T, dtype=torch.bool)
    mask[0, 1] = mask[4, 2:] = mask[7, 0] = False
    assert_same(*both(name, mask, memory=1))


def test_one_output_of_a_wide_head():
    """Fewer output features than a head has values: the heads write output features at once."""
    model = Last(RUNS["side by side"]).double().eval()
    x = example("side by side")
    traced = libasis.trace(model, x, ["site", "output"])
    basis = libasis.fit(traced, [x], "pca")
    path = Path.parse("gradient", 1, "mean")
    found = {}
    for outputs in (slice(0, 6), slice(4, 5)):
        total = EdgeSums(basis, 0, outputs, path, 2**30)
        total.add(traced.record(x))
        ((found[outputs.start], _),) = total.finish()
    torch.testing.assert_close(found[0][4:5], found[4], rtol=1e-10, atol=0)


WIDTH, LONG = 32, 64


class Block(nn.Module):
    """x + an MLP, an attention, or a rotary attention, of the normed x."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.site, self.norm = kind, nn.Identity(), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        x = self.site(x)
        u = self.norm(x)
        if self.kind == "mlp":
            return x + self.down(F.gelu(self.up(u)))
        q, k, v = (part.unflatten(-1, (4, -1)).transpose(1, 2) for part in self.qkv(u).chunk(3, -1))
        if self.kind == "rotary":
            q, k = (self.turn(part) for part in (q, k))
        return x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))

    def turn(self, x):
        half = x.shape[-1] // 2
        angle = torch.arange(LONG, dtype=x.dtype)[:, None] * torch.logspace(0, -2, half, dtype=x.dtype)
        cos, sin = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)
        return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("kind", ["attention", "rotary"])
def test_long_sequences(kind, nodes):
    """Longer than a head is wide: queries get matrices of their own, and plain keys leave the sums over positions."""
    torch.manual_seed(0)
    x = torch.randn(2, LONG, WIDTH, dtype=torch.float64)
    traced = libasis.trace(Block(kind).double().eval(), x, ["site", "output"])
    basis = libasis.fit(traced, [x], "pca", progress=False)
    path = Path.parse("gradient" if nodes == 1 else "integrated", nodes, "mean")
    closed, outputs = EdgeSums(basis, 0, slice(3, 9), path, 2**23), slice(3, 9)
    closed.add(traced.record(x))
    effects = Effects(traced.record(x), 0, *basis.sites, path, outputs)
    with torch.no_grad():
        derived = torch.cat([effect.square().mean(1) for _, effect in effects.forward(8)]).T
    assert closed.rule == "closed form"
    torch.testing.assert_close(closed.finish()[0][0], derived, rtol=1e-10, atol=1e-12 * float(derived.max()))


@pytest.mark.parametrize("memory", [2**21, 2**23, 2**25])
@pytest.mark.parametrize("kind", ["mlp", "attention", "rotary"])
def test_memory_is_a_bound(kind, memory):
    """From 2 MiB, which hold one sequence of 64 positions, what is held grows with the bound and stays within it."""
    torch.manual_seed(0)
    x = torch.randn(6, LONG, WIDTH, dtype=torch.float64)
    traced = libasis.trace(Block(kind).double().eval(), x, ["site", "output"])
    basis, record = libasis.fit(traced, [x], "pca", progress=False), traced.record(x)
    total = EdgeSums(basis, 0, slice(None), Path.parse("gradient", 1, "mean"), memory)
    total.add(record)  # what does not depend on the batch is made once
    assert total.rule == "closed form"
    assert memory / 16 < peak(lambda: total.add(record)) < memory
