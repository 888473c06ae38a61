"""Small chains with their sections as plain callables, for the reference, and as a libasis.Chain."""

import torch
from torch import nn

import libasis

F64 = torch.float64


def random(*shape, scale=1.0, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64) * scale


def mlp_sections(d=6, hidden=7, out=5):
    A, b, B, c = random(hidden, d, seed=1), random(hidden, seed=2), random(d, hidden, seed=3), random(d, seed=4)
    W, w = random(out, d, seed=5), random(out, seed=6)
    return [lambda x: x + torch.tanh(x @ A.T + b) @ B.T + c, lambda x: torch.nn.functional.gelu(x @ W.T + w)]


def attention_sections(d=6, heads=2, out=5):
    e = d // heads
    Q, K, V, O = (random(d, d, scale=0.5, seed=i) for i in range(4))
    W = random(out, d, seed=7)

    def attention(x):
        T = x.shape[-2]
        q, k, v = ((x @ M.T).unflatten(-1, (heads, e)).transpose(-2, -3) for M in (Q, K, V))
        scores = (q @ k.transpose(-1, -2) / e**0.5).masked_fill(~torch.ones(T, T, dtype=torch.bool).tril(), -torch.inf)
        return x + (scores.softmax(-1) @ v).transpose(-2, -3).flatten(-2) @ O.T

    return [attention, lambda x: torch.relu(x @ W.T)]


def pooled_sections(d=5, out=4):
    """The number of positions changes: the last section reads their mean."""
    A, W = random(d, d, seed=1), random(out, d, seed=2)
    return [lambda x: torch.tanh(x @ A.T), lambda x: torch.sigmoid(x.mean(-2, keepdim=True) @ W.T)]


SECTIONS = {"mlp": mlp_sections, "attention": attention_sections, "pooled": pooled_sections}


def data(name, n=40, positions=3, d=6):
    d = 5 if name == "pooled" else d
    mix = random(d, d, seed=20)
    return random(n, positions, d, seed=21) @ mix + random(d, seed=22)


def chain(sections):
    return libasis.Chain(sections, [f"s{i}" for i in range(len(sections))])


class Linear3(nn.Module):
    """Three linear layers: everything about LIB is known in closed form."""

    def __init__(self, sizes=(5, 6, 4, 3)):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def split(x, *sizes):
    return list(x.split(list(sizes)))
