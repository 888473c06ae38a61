"""What a fit costs on a GPU, in forward passes of the model's body, under 3 minutes on one GPU.

Shapes: GPT-2 small at 128 and 1,024 tokens, two blocks of a Llama of width 576 at 1,024 tokens, exact and by probes.
Random weights, float32 with float64 sums, all attention and MLP sections. A fit of few and one of more batches part
what every token costs from what is paid once (eigen-decompositions, the assembly of M'). Then all of 500 sequences of
1,024 tokens in one fit, or, where that would take too long, worked out from the fits before and marked so. At the end
how far float32 is from float64. Without a GPU, or with --cpu, tiny sizes run on the CPU: that shows only that it works.
Run: python benchmarks/gpu.py [--cpu] [--whole 500] [--rows gpt2-128 ...]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import libasis

PATIENCE = 150.0
"""Seconds that the whole of the data may take; beyond, they are worked out."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    shape: str
    layers: int
    tokens: int
    batch: int
    batches: tuple[int, int]
    moments: str = "auto"


ROWS = (
    Row("gpt2-128", "gpt2", 12, 128, 32, (2, 8)),
    Row("gpt2-1024", "gpt2", 12, 1024, 4, (2, 6)),
    Row("llama-exact", "llama", 2, 1024, 4, (1, 4), "closed_form"),
    Row("llama-probes", "llama", 2, 1024, 4, (2, 8), "probes"),
)


def gpt2(layers: int, tiny: bool) -> tuple[nn.Module, list[str], nn.Module]:
    """GPT-2 small's shape; the model, its sites, its body without the unembedding."""
    config = GPT2Config(n_layer=layers, **({"n_embd": 48, "n_head": 4, "vocab_size": 99} if tiny else {}))
    model = GPT2LMHeadModel(config).eval()
    sites = [f"transformer.h.{i}.{part}:in" for i in range(layers) for part in ("ln_1", "ln_2")]
    return model, [*sites, "transformer.ln_f:in"], model.transformer


def llama(layers: int, tiny: bool) -> tuple[nn.Module, list[str], nn.Module]:
    """A small Llama's shape: width 576, 9 heads on 3 of keys and values, rotary, RMSNorm, gated MLP of 1536."""
    width, inner, words = (48, 64, 99) if tiny else (576, 1536, 49152)
    config = LlamaConfig(
        hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=3 if tiny else 9,
        num_key_value_heads=3, vocab_size=words, max_position_embeddings=2048,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    parts = ("input_layernorm", "post_attention_layernorm")
    sites = [f"model.layers.{i}.{part}:in" for i in range(layers) for part in parts]
    return model, [*sites, "model.norm:in"], model.model


SHAPES: dict[str, Callable[[int, bool], tuple[nn.Module, list[str], nn.Module]]] = {"gpt2": gpt2, "llama": llama}


class Bench:
    """One model on the device, cut at its sites."""

    def __init__(self, row: Row, device: torch.device) -> None:
        torch.manual_seed(0)
        self.device, self.tiny = device, device.type == "cpu"
        model, self.sites, body = SHAPES[row.shape](2 if self.tiny else row.layers, self.tiny)
        self.model, self.body, self.row = model.to(device), body, row
        self.tokens, self.size = (8, 2) if self.tiny else (row.tokens, row.batch)
        start = time.perf_counter()
        self.traced = libasis.trace(self.model, self.data(1)[0], self.sites)
        self.tracing = time.perf_counter() - start

    def data(self, count: int) -> list[dict[str, torch.Tensor]]:
        """So many batches."""
        ids = torch.randint(0, self.model.config.vocab_size, (count * self.size, self.tokens))
        return [{"input_ids": part.to(self.device)} for part in ids.split(self.size)]

    def seconds(self, work: Callable[[], Any]) -> float:
        """Until the device is done."""
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        """Until the device is done."""
        if not self.tiny:
            torch.cuda.synchronize()

    def fit(self, batches: list[Any], dtype: str | None = None) -> libasis.Basis:
        """One fit."""
        traced = self.traced if dtype is None else self.traced.to(dtype=dtype)
        return libasis.fit(traced, batches, moments=self.row.moments, progress=False)

    @torch.no_grad()
    def forward(self) -> float:
        """Seconds per token of the body."""
        batches = self.data(4)
        run = lambda: [self.body(**batch, use_cache=False) for batch in batches]  # noqa: E731
        run()
        return min(self.seconds(run) for _ in range(3)) / (4 * self.size * self.tokens)

    def peak(self) -> float:
        """GB allocated at most since it was last asked."""
        if self.tiny:
            return float("nan")
        most = torch.cuda.max_memory_allocated() / 1e9
        torch.cuda.reset_peak_memory_stats()
        return most


HEAD = f"{'work':<44}{'body µs/token':>14}{'fit µs/token':>14}{'ratio':>8}{'once s':>8}{'first s':>9}{'peak GB':>9}"


def measured(row: Row, device: torch.device) -> tuple[Bench, float, float]:
    """Print a row; the model, seconds per token and what is paid once."""
    bench = Bench(row, device)
    few, many = (bench.data(count) for count in row.batches)
    first = bench.seconds(lambda: bench.fit(few[:1])) + bench.tracing
    forward = bench.forward()
    bench.peak()
    once, whole = (bench.seconds(lambda data=data: bench.fit(data)) for data in (few, many))
    each = (whole - once) / ((len(many) - len(few)) * bench.size * bench.tokens)
    paid = once - each * len(few) * bench.size * bench.tokens
    name = f"{row.name}: {(len(bench.sites) - 1) // 2} layers, {bench.tokens} tokens × {bench.size}, {row.moments}"
    print(
        f"{name:<44}{forward * 1e6:>14.2f}{each * 1e6:>14.1f}{each / forward:>8.1f}{paid:>8.1f}{first:>9.1f}"
        f"{bench.peak():>9.1f}",
        flush=True,
    )
    return bench, each, paid


def whole(bench: Bench, each: float, paid: float, sequences: int) -> None:
    """Print the time of a fit of all sequences."""
    expected = paid + each * sequences * bench.tokens
    what = f"{sequences} sequences of {bench.tokens} tokens, exact, {len(bench.sites) - 1} sections"
    if expected > PATIENCE:
        print(f"{what}: {expected:.0f} s EXTRAPOLATED from fits of {bench.row.batches} batches of {bench.size}")
        return
    data = bench.data(-(-sequences // bench.size))
    found: list[libasis.Basis] = []
    took = bench.seconds(lambda: found.append(bench.fit(data)))
    print(f"{what}: {took:.1f} s measured, {found[0].info['activations']}, peak {bench.peak():.1f} GB", flush=True)


def precision(device: torch.device) -> None:
    """Print how far float32 products are from float64, on two blocks and 4 sequences."""
    bench = Bench(Row("precision", "gpt2", 2, 128, 4, (1, 1)), device)
    data, worst = bench.data(1), 0.0
    for a, b in zip(bench.fit(data), bench.fit(data, "float64"), strict=True):
        most = int((b.importances.cumsum(0) < 0.99 * b.importances.sum()).sum()) + 1
        worst = max(worst, float((a.importances[:most] / b.importances[:most] - 1).abs().max()))
    print(f"float32 against float64: importances that make 99% of a site's sum differ by at most {worst:.1e}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cpu", action="store_true", help="tiny sizes on the CPU")
    parser.add_argument("--whole", type=int, default=500, help="sequences of 1,024 tokens in one fit; 0 for none")
    parser.add_argument("--rows", nargs="*", default=[row.name for row in ROWS], choices=[row.name for row in ROWS])
    options = parser.parse_args()
    device = torch.device("cpu" if options.cpu or not torch.cuda.is_available() else "cuda")
    name = "CPU, tiny sizes" if device.type == "cpu" else torch.cuda.get_device_name()
    print(f"{name}, torch {torch.__version__}, float32 with float64 sums\n{HEAD}", flush=True)
    for row in (row for row in ROWS if row.name in options.rows):
        bench, each, paid = measured(row, device)
        if row.name == "gpt2-1024" and options.whole:
            whole(bench, each, paid, 4 if bench.tiny else options.whole)
    precision(device)


if __name__ == "__main__":
    main()
