"""LIB and its edges on modular addition: libasis beside the direct method, in one run.

The direct method takes one backward pass of the whole batch per output feature and output position, for the importance
of each section and once more for its edges, in float64; libasis may compute in float32. It is timed in two forms:

- as the authors' code goes about it: every pass starts from a one-hot matrix for the whole batch and its gradients are
  kept until they are multiplied; the passes of the edges lead back to the features themselves, and what each
  contributes is kept until it is squared;
- as lean as it can be written: nothing is kept.

The bases are those of libasis; neither form is charged for statistics and eigen-decompositions.
Run: python benchmarks/direct_method.py [--dtype float64]
"""

from __future__ import annotations

import argparse

import torch
from timing import timed

import libasis
from libasis.demo import modadd

SITES = ["blocks.0.ln1:in", "blocks.0.ln2:in", "unembed:in", "output"]


def as_the_authors(record, l, source, target):
    """M' and edges of one section, gradients kept."""
    x, run = record.activations[l].clone().requires_grad_(True), record.contexts[l]
    y = (run(x) - target.mean) @ target.C
    passes = [(t, j) for t in range(y.shape[1]) for j in range(target.k)]
    gradients = torch.zeros(len(passes), *x.shape, dtype=torch.float64)
    for r, (t, j) in enumerate(passes):
        cotangent = torch.zeros_like(y)
        cotangent[:, t, j] = 1
        gradients[r] += torch.autograd.grad(y, x, cotangent, retain_graph=True)[0]
    n = x.shape[0] * x.shape[1]
    M = torch.einsum("rbsi,rbsj->ij", gradients / n, gradients)
    del gradients
    features = ((x.detach() - source.mean) @ source.C).requires_grad_(True)
    y = (run(features @ source.C_pinv + source.mean) - target.mean) @ target.C
    effects = torch.zeros(len(x), y.shape[1], target.k, source.k, dtype=torch.float64)
    for t, j in passes:
        (g,) = torch.autograd.grad(y[:, t, j].sum(), features, retain_graph=True)
        effects[:, t, j] += torch.einsum("bsi,bsi->bi", g, features.detach())
    return M, (effects.square() / n).sum((0, 1))


def lean(record, l, source, target):
    """The same, summed as it comes."""
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
    """Time both, compare their results, print the ratio of the fastest runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64")
    parser.add_argument("--times", type=int, default=5, help="how often each side runs")
    options = parser.parse_args()
    train = modadd.batches_train()
    model = modadd.load()
    traced = libasis.trace(model, train[0][0], SITES, dtype=options.dtype)

    def closed():
        kept = libasis.keep(traced, train)
        basis = libasis.fit(traced, kept, truncation="absolute:1e-6", progress=False)
        return basis, libasis.interactions(traced, basis, kept, progress=False)

    (basis, graph), ours = timed(closed, options.times)
    print(f"libasis, {options.dtype}, {torch.get_num_threads()} threads: {ours[0]:.2f} s, again {min(ours):.2f} s")
    whole = torch.cat([inputs for inputs, _ in train])
    record = libasis.trace(model, train[0][0], SITES, dtype="float64").record(whole)
    sections = list(zip(range(3), basis.sites[:-1], basis.sites[1:], strict=True))
    for name, direct in (("as in the authors' code", as_the_authors), ("lean", lean)):
        found, theirs = timed(lambda d=direct: [d(record, *section) for section in sections], options.times)
        errors = [float((E - graph.edges[l]).norm() / E.norm()) for l, (_, E) in enumerate(found)]
        print(f"direct, {name}: {theirs[0]:.2f} s, again {min(theirs):.2f} s:", end=" ")
        print(f"{theirs[0] / ours[0]:.1f} and {min(theirs) / min(ours):.1f} times as long;", end=" ")
        print(f"edges differ by {max(errors):.1e}")


if __name__ == "__main__":
    main()
