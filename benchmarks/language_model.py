"""LIB of every attention and MLP section of a language model: its cost in forward passes of the whole model.

CPU time on one thread, forward passes and fits in turns, in one run: the medians of several. A fit of N and one of 3 N
sequences part what every sequence costs from what is paid once (reading the graph's matrices, eigen-decompositions).
Random weights.
Run: python benchmarks/language_model.py [--shape gpt2|llama] [--layers 12] [--sequences 8] [--dtype float32]
     [--moments auto|closed_form|probes] [--memory 256]
With probes a fit of 3 N sequences can take fewer for each than one of N, so that the difference says too little: the
seconds of the larger fit do not mislead.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import libasis
from libasis.anatomy import read


def gpt2(layers: int) -> tuple[nn.Module, list[str], nn.Module]:
    """GPT-2 small's shape: width 768, 12 heads, LayerNorm; the model, its sites, its body without the unembedding."""
    model = GPT2LMHeadModel(GPT2Config(n_layer=layers)).eval()
    blocks = [f"transformer.h.{i}.{part}:in" for i in range(layers) for part in ("ln_1", "ln_2")]
    return model, [*blocks, "transformer.ln_f:in"], model.transformer


def llama(layers: int) -> tuple[nn.Module, list[str], nn.Module]:
    """A small Llama's shape: width 576, 9 heads, 3 of keys and values, rotary, RMSNorm, gated MLP of 1536."""
    config = LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=layers, num_attention_heads=9,
        num_key_value_heads=3, vocab_size=49152, max_position_embeddings=2048,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    parts = ("input_layernorm", "post_attention_layernorm")
    blocks = [f"model.layers.{i}.{part}:in" for i in range(layers) for part in parts]
    return model, [*blocks, "model.norm:in"], model.model


def cpu(run: Callable[[], object]) -> float:
    """CPU seconds."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=["gpt2", "llama"], default="gpt2")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--moments", choices=["auto", "closed_form", "probes"], default="auto")
    parser.add_argument("--memory", type=int, default=256, help="MiB of activations that are kept, then files")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, sites, body = {"gpt2": gpt2, "llama": llama}[options.shape](options.layers)
    ids = torch.randint(0, model.config.vocab_size, (3 * options.sequences, options.tokens))
    batches = [{"input_ids": part} for part in ids.split(options.batch)]
    few = batches[: len(batches) // 3]
    traced = libasis.trace(model, batches[0], sites, dtype=options.dtype)
    tokens = options.sequences * options.tokens

    @torch.no_grad()
    def forward(of: nn.Module) -> float:
        return cpu(lambda: [of(**batch, use_cache=False) for batch in few]) / tokens

    seconds: dict[str, list[float]] = {"whole": [], "without": [], "few": [], "many": []}
    peaks: dict[str, float] = {}
    facts: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as spill:

        def fit(name: str) -> None:
            data, most = few if name == "few" else batches, options.memory * 2**20
            facts[name] = libasis.fit(traced, data, moments=options.moments, memory=most, spill=spill).info

        reading = cpu(lambda: [read(context) for context in traced.record(batches[0]).contexts])
        forward(model), forward(body)  # to warm up
        for name in ("few", "many", "few", "many"):
            for _ in range(2):
                seconds["whole"].append(forward(model))
                seconds["without"].append(forward(body))
            seconds[name].append(cpu(lambda name=name: fit(name)))
            peaks.setdefault(name, memory())
    whole, without, once, many = (statistics.median(found) for found in seconds.values())
    each = (many - once) / (2 * tokens)
    print(
        f"{options.shape}, {options.layers} layers, {options.tokens} tokens, {options.dtype}, torch {torch.__version__}"
    )
    report(facts["many"]["rules"])
    print(f"  forward pass: {whole * 1e3:.2f} ms per token, without unembedding {without * 1e3:.2f}")
    paid = once - each * tokens
    print(f"  fit: {each * 1e3:.2f} ms per token, and once {paid:.1f} s, reading the graph {reading:.1f} s")
    print(
        f"  fit of {3 * options.sequences} sequences in all: {many:.1f} s, {many / without / tokens / 3:.1f}", end=" "
    )
    print(f"forward passes without unembedding, {many / without / tokens / 3 * options.layers:.1f} of one block")
    print(
        f"  ratio: {each / whole:.2f} forward passes ({each / without:.2f} without unembedding), "
        f"{each / without * options.layers:.1f} of one block"
    )
    sizes = {"few": options.sequences, "many": 3 * options.sequences}
    parts = (f"{peaks[k]:.0f} MB for {n} sequences ({facts[k]['activations']})" for k, n in sizes.items())
    print("  peak memory: " + ", ".join(parts))


def report(facts: list[dict[str, Any]]) -> None:
    """Print the rules, and the probes and errors of those that estimate."""
    for rule in sorted({fact["rule"] for fact in facts}):
        mine = [fact for fact in facts if fact["rule"] == rule]
        print(f"  rule: {rule}, {len(mine)} sections")
        for name, form in (("probes", ""), ("probes_needed", ""), ("probes_worth", ""), ("relative_error", ".2%")):
            found = [fact[name] for fact in mine if name in fact]
            if found:
                print(f"    {name.replace('_', ' ')}: {min(found):{form}} to {max(found):{form}}")


def memory() -> float:
    """Peak resident memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
