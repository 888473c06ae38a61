"""LIB and its edges on modular addition: libasis beside the direct method, in one run.

The direct method takes one backward pass of the whole batch per output feature and output position, for the importance
of each section and once more for its edges, in float64; libasis may compute in float32.
Run: python benchmarks/direct_method.py [--dtype float64]
"""

from __future__ import annotations

import argparse
import time

import torch

import libasis
from libasis.demo import modadd

SITES = ["blocks.0.ln1:in", "blocks.0.ln2:in", "unembed:in", "output"]


def direct(record, l, source, target):
    """M' and edges of one section by one backward pass per output feature and position."""
    x = record.activations[l].clone().requires_grad_(True)
    y = (record.contexts[l](x) - target.mean) @ target.C
    features = (x.detach() - source.mean) @ source.C
    n = x.shape[0] * x.shape[1]
    M = torch.zeros(x.shape[-1], x.shape[-1], dtype=torch.float64)
    edges = torch.zeros(target.k, source.k, dtype=torch.float64)
    for t in range(y.shape[1]):
        for j in range(target.k):
            (g,) = torch.autograd.grad(y[:, t, j].sum(), x, retain_graph=True)
            M += g.flatten(0, 1).T @ g.flatten(0, 1)
        for j in range(target.k):
            (g,) = torch.autograd.grad(y[:, t, j].sum(), x, retain_graph=True)
            edges[j] += ((g @ source.C_pinv.T) * features).sum(1).square().sum(0)
    return M / n, edges / n


def main():
    """Time both, compare their results, print the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64")
    options = parser.parse_args()
    train = modadd.batches_train()
    model = modadd.load()
    traced = libasis.trace(model, train[0][0], SITES, dtype=options.dtype)
    start = time.perf_counter()
    kept = libasis.keep(traced, train)
    basis = libasis.fit(traced, kept, truncation="absolute:1e-6", progress=False)
    graph = libasis.interactions(traced, basis, kept, progress=False)
    ours = time.perf_counter() - start
    whole = torch.cat([inputs for inputs, _ in train])
    record = libasis.trace(model, train[0][0], SITES, dtype="float64").record(whole)
    start = time.perf_counter()
    found = [direct(record, l, basis.sites[l], basis.sites[l + 1]) for l in range(3)]
    theirs = time.perf_counter() - start
    for l, (_, edges) in enumerate(found):
        error = torch.linalg.vector_norm(edges - graph.edges[l]) / torch.linalg.vector_norm(edges)
        print(f"section {l}: edges differ by {float(error):.1e}")
    print(f"libasis {ours:.2f} s, direct {theirs:.2f} s: {theirs / ours:.1f} times as fast")


if __name__ == "__main__":
    main()
