"""Edge ablation of modular addition, three sections by bisection: libasis beside one section pass per mask row.

The direct way, at every count of the bisection: for each distinct set of kept inputs the activation is put together
from them, the section runs on it, and the output features that see this set are read off. Both sides search on all
8,939 held-out prompts, in float64, and must find the same counts. Run: python benchmarks/edge_ablation.py
"""

from __future__ import annotations

import time

import torch

import libasis
from libasis.demo import modadd

SITES = ["blocks.0.ln1:in", "blocks.0.ln2:in", "unembed:in", "output"]
MAX_DROP = 0.001


@torch.no_grad()
def direct(records, graph, l):
    """Edges required at section l by the bisection of `ablate_edges`, one section pass per distinct mask row."""
    source, target = graph.basis.sites[l : l + 2]
    strength = graph.edges[l].flatten()
    order = torch.argsort(strength, descending=True, stable=True)
    samples = sum(record.size for record in records)
    base = sum(int((r.output.argmax(-1) == r.targets).sum()) for r in records) / samples

    def passes(count):
        mask = torch.zeros(len(strength), dtype=torch.bool)
        mask[order[:count]] = True
        rows, group = torch.unique(mask.view_as(graph.edges[l]), dim=0, return_inverse=True)
        right = 0
        for record in records:
            features = source.encode(record.activations[l])
            out = target.encode(record.activations[l + 1])
            for r, row in enumerate(rows):
                seen = target.encode(record.contexts[l](source.decode(features * row)))
                out[..., group == r] = seen[..., group == r]
            right += int((record.rest(l + 1, target.decode(out)).argmax(-1) == record.targets).sum())
        return right / samples >= base - MAX_DROP

    removed, bad = 0, (source.d + 1) * (target.d + 1)
    total = int((strength > 0).sum())
    while bad - removed > 1:  # by edges removed of all pairs of coordinates, as the authors count
        middle = (removed + bad) // 2
        count = min((source.d + 1) * (target.d + 1) - middle, total)
        removed, bad = (middle, bad) if passes(count) else (removed, middle)
    return min((source.d + 1) * (target.d + 1) - removed, total)


def main():
    """Time both, compare the counts, print the ratio."""
    train, test = modadd.batches_train(), modadd.batches_test()
    traced = libasis.trace(modadd.load(), train[0][0], SITES, dtype="float64")
    graph = libasis.interactions(traced, libasis.fit(traced, train), train, progress=False)
    start = time.perf_counter()
    ours = libasis.ablate_edges(traced, graph, test, max_drop=MAX_DROP, stable=False, progress=False).edges_required
    middle = time.perf_counter()
    records = list(traced.stream(test))
    theirs = {graph.sites[l]: direct(records, graph, l) for l in range(3)}
    end = time.perf_counter()
    print(f"edges required: libasis {list(ours.values())}, direct {list(theirs.values())}")
    print(f"{torch.get_num_threads()} threads: libasis {middle - start:.1f} s, direct {end - middle:.1f} s:", end=" ")
    print(f"{(end - middle) / (middle - start):.1f} times as fast")


if __name__ == "__main__":
    main()
