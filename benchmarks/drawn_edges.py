"""Edges of wide sites: all positions beside positions drawn at random, in one run, and what all sections would take.

Two sections of SmolLM2 (a folder of the model) or of its shape with random weights: an attention and an MLP between 576
and 576 features. The exact side is measured for some of the output features and multiplied up; the print says so.
Run: OMP_NUM_THREADS=1 python benchmarks/drawn_edges.py [FOLDER] [--block 15] [--sequences 16] [--error 0.1]
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import libasis
from libasis.interactions.drawn_sums import DrawnEdgeSums
from libasis.interactions.edge_sums import EdgeSums
from libasis.interactions.effects import GradientPath

TOKENS, TARGET, SECTIONS, SOME = 128, 20_000, 60, 16


def model_of(folder, block):
    """The model, and text for it: the pages of docs/, or random tokens."""
    if folder is None:
        torch.manual_seed(0)
        shape = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3}
        model = LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=block + 2, vocab_size=512))
        return model.eval(), torch.randint(0, 512, (100, TOKENS))
    text = "\n".join(file.read_text() for file in sorted(Path("docs").rglob("*.md")) if ".ja" not in file.name)
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt").input_ids[0]
    rows = ids[: len(ids) // TOKENS * TOKENS].view(-1, TOKENS)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), rows[order]


def main():
    """Both sections."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--block", type=int, default=0)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--error", type=float, default=0.1)
    options = parser.parse_args()
    model, rows = model_of(options.folder, options.block)
    l, batches = options.block, list(rows[: options.sequences].split(4))
    after = f"model.layers.{l + 1}.input_layernorm:in" if l + 1 < len(model.model.layers) else "model.norm:in"
    sites = [f"model.layers.{l}.input_layernorm:in", f"model.layers.{l}.post_attention_layernorm:in", after]
    found = [measured(model, batches, list(cut), options.error) for cut in pairwise(sites)]
    scale = TARGET / (options.sequences * TOKENS)
    exact = SECTIONS / 2 * scale * sum(whole for whole, _, _ in found)
    drawn = SECTIONS / 2 * sum(scale * strengths + rest for _, strengths, rest in found)
    print(
        f"{SECTIONS} sections at {TARGET} tokens, all like these two: all positions {exact / 3600:.1f} h of one core,"
    )
    print(f"  drawn {drawn / 3600:.2f} h (strengths grow with the tokens, what is drawn does not)")


def measured(model, batches, sites, error):
    """One section: CPU seconds at all positions; of the strengths of positions; of the rest of an estimate."""
    traced = libasis.trace(model, batches[0], sites)
    with libasis.keep(traced, batches) as kept, torch.no_grad():
        basis = libasis.fit(traced, kept, "pca", progress=False)
        source, target = basis.sites
        path, records = GradientPath.parse("gradient", 1, "mean"), list(kept.stream())
        sums = EdgeSums(basis, 0, slice(0, SOME), path, 2**28)
        strengths = DrawnEdgeSums(basis, 0, slice(0, target.k), path, 2**28, relative_error=error, seed=0)
        took = [cpu(sums, records), cpu(strengths, records)]
        start = time.process_time()
        graph = libasis.interactions(traced, basis, kept, relative_error=error, progress=False)
        drawn = time.process_time() - start
    whole, facts = took[0] * target.k / SOME, graph.info["estimate"]["sections"][source.name]
    edges, stderr = sums.finish()[0][0], graph.stderr[source.name][:SOME]
    off = (graph.edges[0][:SOME] - edges).abs()
    print(f"{source.name}: {source.k} -> {target.k} features, {facts['positions']} positions, {sums.rule}")
    print(f"  all positions {whole:.0f} s ({SOME} of {target.k} output features measured)")
    print(f"  {facts['drawn']} drawn, error {facts['reached']:.1%}: {drawn:.1f} s, {whole / drawn:.1f} times as fast")
    print(f"  off by at most two standard errors: {float((off <= 2 * stderr).double().mean()):.1%}")
    return whole, took[1], drawn - took[1]


def cpu(sums, records):
    """CPU seconds of one pass."""
    start = time.process_time()
    for record in records:
        sums.add(record)
    return time.process_time() - start


if __name__ == "__main__":
    main()
