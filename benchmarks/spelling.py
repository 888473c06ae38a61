"""Modular addition as it stands and written with einsum and a mask made by hand: fit and edges, both in one run.

python benchmarks/spelling.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import math
import statistics
import time

import torch
from torch import Tensor, nn

import libasis
from libasis.demo import modadd

SITES = ["blocks.0.ln1:in", "blocks.0.ln2:in", "unembed:in", "output"]


class Einsum(nn.Module):
    """The attention of the demo, in other words."""

    def __init__(self, own: modadd.Attention) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = own.query, own.key, own.value, own.out
        self.heads = own.heads

    def forward(self, x: Tensor) -> Tensor:
        """Let every position read from itself and from those before it."""
        q, k, v = (part(x).reshape(*x.shape[:2], self.heads, -1) for part in (self.query, self.key, self.value))
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * (1 / math.sqrt(q.shape[-1]))
        rows = torch.arange(x.shape[1])
        mask = torch.zeros(x.shape[1], x.shape[1], dtype=x.dtype)
        mask = torch.where(rows[:, None] >= rows[None], mask, -1e9)
        weights = torch.softmax(scores + mask, dim=-1)
        return self.out(torch.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape))


def timed(model: nn.Module) -> float:
    batches = modadd.batches_train()
    traced = libasis.trace(model, batches[0][0], SITES, dtype="float64")
    start = time.perf_counter()
    kept = libasis.keep(traced, batches)
    basis = libasis.fit(traced, kept, truncation="absolute:1e-6", progress=False)
    libasis.interactions(traced, basis, kept, progress=False)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    plain, spelled = modadd.load(), modadd.load()
    spelled.blocks[0].attn = Einsum(spelled.blocks[0].attn)
    times = {"as it stands": [], "einsum, own mask": []}
    for _ in range(rounds):  # in turns, so that a slow minute meets both
        times["as it stands"].append(timed(plain))
        times["einsum, own mask"].append(timed(spelled.eval()))
    least = {name: min(seconds) for name, seconds in times.items()}
    for name, seconds in times.items():
        print(f"{name}: fit + edges {least[name]:.3f} s, median {statistics.median(seconds):.3f} s")
    print(f"ratio {least['einsum, own mask'] / least['as it stands']:.2f}")


if __name__ == "__main__":
    main()
