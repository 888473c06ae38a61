"""Edges against interventions, for docs/edges.md: two embedded models, a convolutional one and a language model.

Run: python experiments/edge_calibration.py [--only NAME ...] [--language FOLDER] [--text FOLDER] [--write]

``--language`` is a folder of SmolLM2-135M in the form of transformers (``build/models/smollm2`` after
``experiments.language.model()``); its first two blocks are taken. ``--text`` is a folder of .txt or .md files. Results
go to build/edges/NAME; with ``--write`` the tables and figures of docs/edges.md are made of those that are there.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import libasis
from libasis.demo import digits, modadd
from libasis.files import write_bytes
from libasis.report import draw_calibration, to_svg

sys.path.insert(0, str(Path(__file__).parents[1]))

OUT, DOCS = Path("build/edges"), Path("docs")
BLOCK = re.compile(r"(<!-- edges: table -->\n).*?(<!-- /edges -->)", re.S)
TITLES = {
    "digits": "digits",
    "modadd": "modular addition",
    "cnn": "CNN on the digits",
    "language": "SmolLM2, two blocks",
}
Made = tuple[nn.Module, list[Any], list[Any], list[str], dict[str, Any]]
"""Model, batches of the fit and the edges, batches of the measurement, sites, options of `edge_effects`."""


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, measure and write."""
    parser = argparse.ArgumentParser(description="Hold edges against interventions.")
    parser.add_argument("--only", nargs="*", choices=list(MODELS), default=["digits", "modadd", "cnn"])
    parser.add_argument("--language", type=Path, default=None)
    parser.add_argument("--text", type=Path, default=DOCS)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args(arguments)
    for name in [*chosen.only, *(["language"] if chosen.language and "language" not in chosen.only else [])]:
        start = time.time()
        result = measured(*MODELS[name](chosen))
        result.save(OUT / name, force=True)
        print(f"{name}: {time.time() - start:.0f} s", result, sep="\n", flush=True)
    if chosen.write:
        write()


def measured(
    model: nn.Module, train: list[Any], test: list[Any], sites: list[str], options: dict[str, Any]
) -> libasis.EdgeEffects:
    """The basis and the edges of some batches, held against interventions on others."""
    mask = options.pop("mask", None)
    example = train[0] if isinstance(train[0], dict) else train[0][0]
    traced = libasis.trace(model, example, sites, mask=mask)
    basis = libasis.fit(traced, train, progress=False)
    print("fitted", flush=True)
    graph = libasis.interactions(traced, basis, train, progress=False)
    print("measured edges", flush=True)
    return libasis.edge_effects(traced, graph, test, progress=False, **options)


def _digits(_: Any) -> Made:
    sites = ["fc1:in", "fc2:in", "fc3:in", "output"]
    return digits.load(), digits.batches_train(), digits.batches_test(), sites, {"metric": "cross_entropy"}


def _modadd(_: Any) -> Made:
    sites = ["blocks.0.ln1:in", "blocks.0.ln2:in", "unembed:in", "output"]
    test = modadd.batches(modadd.splits()[1][:2048])
    return modadd.load(), modadd.batches_train(), test, sites, {"metric": "cross_entropy"}


def _cnn(_: Any) -> Made:
    from experiments import images

    train, test = images.data("digits", "cnn")
    sites = ["block1:in", "block2:in", "head:in", "output"]
    return images.model("digits", "cnn"), list(train), list(test), sites, {"metric": "cross_entropy"}


def language_blocks(chosen: Any) -> tuple[nn.Module, Any, str]:
    """The first two blocks of the language model in ``chosen.language``, its tokenizer, and the text."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
        chosen.language, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(chosen.language, local_files_only=True)
    loaded.model.layers = loaded.model.layers[:2]
    loaded.config.num_hidden_layers = 2
    R = torch.linalg.qr(loaded.lm_head.weight.detach().double())[1]  # the logits are Q R x, and Q keeps lengths
    loaded.lm_head = nn.Linear(R.shape[1], R.shape[0], bias=False)
    loaded.lm_head.weight = nn.Parameter(R.float(), requires_grad=False)
    files = sorted(path for kind in ("*.txt", "*.md") for path in chosen.text.glob(kind))
    return loaded.eval(), tokenizer, "\n".join(path.read_text(encoding="utf-8") for path in files)


def _language(chosen: Any) -> Made:
    model, tokenizer, text = language_blocks(chosen)
    found = libasis.data.language(tokenizer, text, sequence_length=32, batch_size=8, max_sequences=32)
    batches = [inputs for inputs, _ in found]
    names = ("input_layernorm", "post_attention_layernorm")
    sites = [f"model.layers.{block}.{name}:in" for block in (0, 1) for name in names]
    sites += ["model.norm:in", "output.logits"]
    options = {"sources": 12, "strongest": 4, "controls": 10, "mask": libasis.data.without_first()}
    return model, batches[:3], batches[3:], sites, options


MODELS: dict[str, Callable[[Any], Made]] = {"digits": _digits, "modadd": _modadd, "cnn": _cnn, "language": _language}


def write(docs: Path = DOCS, out: Path = OUT) -> None:
    """Write the table and the figures of docs/edges.md."""
    found = {name: libasis.EdgeEffects.load(out / name) for name in MODELS if (out / name / "manifest.json").exists()}
    for name, result in found.items():
        write_bytes(docs / "images" / f"edges-{name}.svg", to_svg(draw_calibration(result)).encode())
    page = docs / "edges.md"
    text = BLOCK.sub(lambda m: m.group(1) + table(found) + m.group(2), page.read_text(encoding="utf-8"))
    write_bytes(page, text.encode())


def table(found: dict[str, libasis.EdgeEffects]) -> str:
    """The calibration of all of them."""
    head = (
        "| Model | Section | Replaced by | Edges | Rank correlation | Within a target | Measured / E | Slope |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )
    return head + "".join(
        f"| {TITLES[name]} | {row['section']} | {row['to']} | {row['pairs']:,} ({row['sources']} sources) | "
        f"{_number(row['spearman'])}{_between(row)} | {_number(row['within'])} | {_number(row['ratio'])} | "
        f"{_number(row['slope'])} |\n"
        for name, result in found.items()
        for row in result.calibration
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _between(row: dict[str, Any]) -> str:
    return "" if row["low"] is None else f" [{row['low']:.2f}, {row['high']:.2f}]"


if __name__ == "__main__":
    main()
