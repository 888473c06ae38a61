"""float32 compute with float64 accumulation beside float64 throughout: the error and the time, in one run.

For the embedded models and one block of GPT-2 small's shape (random weights, 8 sequences of 128 tokens): the largest
relative difference of the importances that make 99% of a site's sum and of the sum of a section's edges (not for the
block), and CPU time on one thread. Run: python benchmarks/precision.py
"""

from __future__ import annotations

import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import libasis
from libasis.demo import digits, modadd


def gpt2():
    model = GPT2LMHeadModel(GPT2Config(n_layer=1)).eval()
    ids = torch.randint(0, 50257, (8, 128))
    return model, [{"input_ids": ids}], [f"transformer.{part}:in" for part in ("h.0.ln_1", "h.0.ln_2", "ln_f")]


def modular_addition():
    sites = ["blocks.0.ln1:in", "blocks.0.ln2:in", "unembed:in", "output"]
    return modadd.load(), modadd.batches_train(), sites


def images():
    return digits.load(), digits.batches_train(), ["fc1:in", "fc2:in", "fc3:in", "output"]


def fit(model, batches, sites, dtype):
    first = batches[0] if isinstance(batches[0], dict) else batches[0][0]
    traced = libasis.trace(model, first, sites, dtype=dtype)
    libasis.fit(traced, batches[:1], progress=False)  # reads the graph
    start = time.process_time()
    kept = libasis.keep(traced, batches)
    basis = libasis.fit(traced, kept, progress=False)
    edges = [] if isinstance(batches[0], dict) else libasis.interactions(traced, basis, kept, progress=False).edges
    return basis, edges, time.process_time() - start


def main():
    """Measure and print."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name, make in {"modular addition": modular_addition, "digits": images, "GPT-2 shape": gpt2}.items():
        model, batches, sites = make()
        (single, edges, fast), (double, truth, slow) = (fit(model, batches, sites, d) for d in ("float32", "float64"))
        worst = 0.0
        for a, b in zip(single, double, strict=True):
            most = int((b.importances.cumsum(0) < 0.99 * b.importances.sum()).sum()) + 1
            worst = max(worst, float((a.importances[:most] / b.importances[:most] - 1).abs().max()))
        totals = [abs(float(a.sum() / b.sum()) - 1) for a, b in zip(edges, truth, strict=True)]
        print(f"{name}: importances differ by at most {worst:.1e}", end="")
        print(f", the sum of a section's edges by {max(totals):.1e}" if totals else "")
        print(f"  float32 {fast:.1f} s, float64 {slow:.1f} s: {slow / fast:.1f} times as fast")


if __name__ == "__main__":
    main()
