"""LIB of an MLP 784-100-100-10 on 10,000 images: the fit of libasis beside the direct method, in one run.

The direct method takes one backward pass of the whole batch per output feature, and sums the outer products of what
arrives at the input. Statistics, eigen-decompositions and the recursion are the same on both sides. Random weights and
pixels: the cost does not depend on them. Run: python benchmarks/mlp.py [--images 10000] [--dtype float64]
"""

from __future__ import annotations

import argparse

import torch
from timing import timed
from torch import nn

import libasis
from libasis.basis.statistics import SiteStatistics
from libasis.basis.whiten import interaction_basis, own_coordinates, whiten
from libasis.importance import Moment
from libasis.measure import Records, measure
from libasis.numerics import Truncation

SITES = ["input", "1", "3", "output"]


def direct(traced, images):
    """The basis by one full-batch backward pass per output feature."""
    records, auto = Records(traced, [images], 2**40, progress=False), Truncation.parse("auto")
    stats = measure(records, SiteStatistics(traced), "statistics")
    record = records.first()
    dtype = record.activations[0].dtype
    found = [own_coordinates("output", stats[-1])]
    for l in (2, 1, 0):
        x = record.activations[l].clone().requires_grad_(True)
        y = record.contexts[l](x) @ found[0].C.to(x)
        M = torch.zeros(x.shape[-1], x.shape[-1], dtype=torch.float64)
        for j in range(y.shape[-1]):
            (g,) = torch.autograd.grad(y[..., j].sum(), x, retain_graph=True)
            g = g.flatten(0, 1).double()
            M += g.T @ g
        moment = Moment(M / len(images), None, "direct", len(images))
        white = whiten(traced.sites[l].name, stats[l], auto, dtype)
        found.insert(0, interaction_basis(traced.sites[l].name, white, moment, auto, dtype))
    return found


def main():
    """Time both, compare their results, print the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64")
    parser.add_argument("--times", type=int, default=3, help="how often each side runs")
    options = parser.parse_args()
    torch.manual_seed(0)
    layers = [nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)]
    images = torch.rand(options.images, 784) * (torch.rand(784) > 0.2)
    traced = libasis.trace(nn.Sequential(*layers).eval(), images[:8], SITES, dtype=options.dtype)
    basis, ours = timed(lambda: libasis.fit(traced, [images], progress=False), options.times)
    found, theirs = timed(lambda: direct(traced, images), options.times)
    for a, b in zip(basis, found, strict=True):
        error = (a.importances - b.importances).abs().max() / b.importances.max()
        print(f"{a.name}: {a.k} features, importances differ by {float(error):.1e}")
    print(f"libasis, {options.dtype}, {torch.get_num_threads()} threads: {ours[0]:.2f} s, again {min(ours):.2f} s")
    print(f"direct: {theirs[0]:.2f} s, again {min(theirs):.2f} s:", end=" ")
    print(f"{theirs[0] / ours[0]:.0f} and {min(theirs) / min(ours):.0f} times as long")


if __name__ == "__main__":
    main()
