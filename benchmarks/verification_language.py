"""What a verification costs on a language model: two blocks of SmolLM2-135M, 64 sequences, early stopping.

Run: python benchmarks/verification_language.py FOLDER [--text FOLDER] [--tokens 32] [--controls 239]

FOLDER holds the model in the form of transformers; its first two blocks are taken. The score is the mean squared change
of the logits; they are taken as R x, where the unembedding is Q R, since Q keeps lengths (576 outputs, not 49,152).
Twelve hypotheses, six at each of two sites, share their random directions, and each stops after ten directions that do
as much; beside it the same number of directions for each hypothesis alone, from the seconds of one.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch

import libasis

sys.path.insert(0, str(Path(__file__).parent.parent))
from experiments.edge_calibration import language_blocks  # noqa: E402 - found beside this file

SITES = [
    *(
        f"model.layers.{block}.{name}:in"
        for block in (0, 1)
        for name in ("input_layernorm", "post_attention_layernorm")
    ),
    "model.norm:in",
    "output.logits",
]
TRIED = SITES[1], SITES[3]


def main() -> None:
    """Print seconds, verdicts and how many directions each hypothesis looked at."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--text", type=Path, default=Path("docs"))
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--controls", type=int, default=239, help="the least with which 12 claims can be supported")
    given = parser.parse_args()
    model, tokenizer, text = language_blocks(SimpleNamespace(language=given.folder, text=given.text))
    options = {"sequence_length": given.tokens, "batch_size": 16, "max_sequences": 2 * given.sequences}
    batches = [inputs for inputs, _ in libasis.data.language(tokenizer, text, **options)]
    fit, confirm = batches[: len(batches) // 2], batches[len(batches) // 2 :]
    traced = libasis.trace(model, fit[0], SITES, mask=libasis.data.without_first())
    basis = libasis.fit(traced, fit, progress=False)
    claims = [
        libasis.Hypothesis(site, [i], "output_mse", "increase", name=f"block {block}, feature {i}")
        for block, site in enumerate(TRIED)
        for i in (0, 1, 2, 50, 200, 400)
    ]
    plan = libasis.plan(traced, basis, confirm, claims, controls=given.controls, progress=False)
    wall, start = time.perf_counter(), time.process_time()
    found = libasis.verify(traced, basis, confirm, plan, progress=False)
    wall, seconds = time.perf_counter() - wall, time.process_time() - start
    each = _one(traced, basis, confirm)
    print(f"{len(claims)} hypotheses, {len(confirm) * 16} sequences of {given.tokens} tokens, 2 blocks")
    for one in found.outcomes:
        looked = ", ".join(f"{kind.kind} {kind.controls}" for kind in one.kinds)
        print(f"  {one.hypothesis.label}: {one.verdict} (random directions: {looked})")
    plain = each * plan.controls * 2 * len(claims)
    print(f"verify: {seconds:.0f} s of processors ({wall:.0f} s, {torch.get_num_threads()} threads)")
    print(f"every direction of every hypothesis by itself: about {plain:.0f} s, {plain / seconds:.0f} times that")


def _one(traced: libasis.Traced, basis: libasis.Basis, batches: list[object]) -> float:
    """Seconds of one intervention, the mean over the two sites."""
    start = time.process_time()
    for site in TRIED:
        libasis.intervene(traced, basis, batches, libasis.Intervention(site, [5]), "output_mse", progress=False)
    return (time.process_time() - start) / len(TRIED)


if __name__ == "__main__":
    main()
