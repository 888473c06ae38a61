"""Edges of long sequences: libasis' closed form beside the direct method, in one run.

A transformer block with LayerNorms on sequences of 200 tokens, cut into an attention section and an MLP section. The
direct method takes one backward pass of the whole batch per output feature and output position. If all passes would
take longer than BUDGET, a random subset of them is measured and the time extrapolated; the print says so.
Run: OMP_NUM_THREADS=1 python benchmarks/edges_long_sequences.py
"""

from __future__ import annotations

import random
import time

import torch
from torch import nn

import libasis

WIDTH, HEADS, HIDDEN, TOKENS, SAMPLES = 64, 4, 256, 200, 4
BUDGET = 110.0  # CPU seconds for the direct method, per section


class Attention(nn.Module):
    """x + causal attention of the normed x."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):  # noqa: D102
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + self.out(mixed.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """x + MLP of the normed x."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x):  # noqa: D102
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


class Block(nn.Module):
    """Attention, then an MLP."""

    def __init__(self):
        super().__init__()
        self.attention, self.mlp = Attention(), MLP()

    def forward(self, x):  # noqa: D102
        return self.mlp(self.attention(x))


def direct(record, source, target):
    """Edges of a section by one backward pass per output feature and position: rows that were done, CPU seconds."""
    x = record.activations[0].clone().requires_grad_(True)
    y = (record.contexts[0](x) - target.mean) @ target.C
    features = (x.detach() - source.mean) @ source.C
    edges, done = torch.zeros(target.k, source.k, dtype=torch.float64), []
    start = time.process_time()
    for j in random.Random(0).sample(range(target.k), target.k):
        for t in range(y.shape[1]):
            (g,) = torch.autograd.grad(y[:, t, j].sum(), x, retain_graph=True)
            edges[j] += ((g @ source.C_pinv.T) * features).sum(1).square().sum(0)
        done.append(j)
        if time.process_time() - start > BUDGET:
            break
    return edges / (x.shape[0] * x.shape[1]), done, time.process_time() - start


def compare(model, x, name):
    """Time both on the same batch, compare their edges, print the ratio."""
    traced = libasis.trace(model, x, [f"{name}:in", f"{name}:out"])
    basis = libasis.fit(traced, [x], "pca", progress=False)
    seconds = []
    for _ in range(2):  # the first time the section's anatomy is read
        start = time.process_time()
        graph = libasis.interactions(traced, basis, [x], progress=False)
        seconds.append(time.process_time() - start)
    assert graph.info["rules"] == ["closed form"]
    source, target = basis.sites
    theirs, done, took = direct(traced.record(x), source, target)
    error = float(((graph.edges[0][done] - theirs[done]) / theirs[done]).abs().max())
    whole = took * target.k / len(done)
    how = "all measured" if len(done) == target.k else f"{len(done)} of {target.k} features at random, extrapolated"
    print(f"{name}: {source.k} -> {target.k} features, {TOKENS} tokens, {SAMPLES} sequences")
    print(f"  direct  {whole:.1f} s: {target.k * TOKENS} backward passes ({how})")
    print(f"  libasis {seconds[1]:.3f} s ({seconds[0]:.3f} s the first time): {whole / seconds[1]:.0f} times as fast")
    print(f"  largest relative difference of an edge: {error:.1e}")


def main():
    """Both sections."""
    torch.manual_seed(0)
    model = Block().double().eval()
    x = torch.randn(SAMPLES, TOKENS, WIDTH, dtype=torch.float64).cumsum(1) / 5
    compare(model, x, "attention")
    compare(model, x, "mlp")


if __name__ == "__main__":
    main()
