"""How many edges the MLP half of a block of SmolLM2-135M needs, with LIB and with PCA at both ends.

Run: python experiments/language_edges.py [--out build/results/language_edges] [--text FOLDER]

What is measured stands in the table "edges" of experiments/protocols/language_branches.toml, which was written before.
Model, text and bases are made as in experiments/language_branches.py; edges are those of `libasis.interactions`,
ablated by `libasis.ablate_edges`. Sums of the fit are kept every few batches and each section as it comes, so that a
run that was stopped goes on; under an hour of one core.
"""

from __future__ import annotations

import json
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from experiments import language_branches
from torch import Tensor, nn

import libasis
from libasis.data import without_first
from libasis.evaluate import random_rotation

Plain = dict[str, Any]
ENDS = {"stream": ("before", "after"), "branch": ("reads", "adds")}
BESIDE = "random"
"""LIB turned at random, at LIB's own count: beside the protocol, decided when the counts of LIB and PCA were known."""
NAMES = {
    "before": "model.layers.{}.post_attention_layernorm:in",
    "after": "model.layers.{}:out",
    "reads": "model.layers.{}.mlp:in",
    "adds": "model.layers.{}.mlp:out",
}


class Halves(language_branches.Subject):
    """The model, and of each block the ends of its MLP: in the stream, and inside the branch."""

    def __init__(self, model: Any, blocks: Sequence[int]) -> None:
        super().__init__(model, blocks, list(NAMES))

    def _reader(self, block: int, kind: str) -> nn.Module:
        layer = self.layers[block]
        return {"before": layer.post_attention_layernorm, "after": layer}.get(kind, layer.mlp)

    def _watch(self, site: str, reader: nn.Module, seen: dict[str, tuple[Tensor, Tensor]]) -> Any:
        if self.sites[site][1] in ("before", "reads"):
            return super()._watch(site, reader, seen)
        return reader.register_forward_hook(lambda _, x, y: seen.__setitem__(site, (y, y)))  # pyright: ignore


class Edges:
    """Edges needed by block, section and method, measured when they are asked for and kept in a file of lines."""

    def __init__(self, bases: language_branches.Bases, ids: dict[str, Tensor], settings: Plain, folder: Path) -> None:
        self.bases, self.settings, self.file = bases, settings, folder / "edges.jsonl"
        self.fit = batches(language_branches.spread(ids["fit"], settings["sequences"]["edges"]))
        self.held_out = batches(language_branches.spread(ids["text"], settings["sequences"]["held_out"]))
        self.done = {
            (row["block"], row["section"], row["method"]): row for row in language_branches.whole_lines(self.file)
        }

    def measure(self, block: int, section: str, methods: Sequence[str]) -> None:
        """One section with each method."""
        left = [method for method in methods if (block, section, method) not in self.done]
        if not left:
            return
        names = {end: NAMES[end].format(block) for end in ENDS[section]}
        mask = without_first()
        traced = libasis.trace(self.bases.subject.model, self.fit[0], list(names.values()), mask=mask, around="hold")
        for method in left:
            start = time.process_time()
            basis = self._basis(block, names, method)
            row = {"block": block, "section": section, "method": method}
            row |= self._measured(traced, basis, self._counts(block, section, method))
            row["cpu_seconds"] = round(time.process_time() - start)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            self.done[block, section, method] = row
            print(*(f"{key} {row[key]}" for key in row if key != "kl"), flush=True)

    def _basis(self, block: int, names: dict[str, str], method: str) -> libasis.Basis:
        """Of both ends; turned at random, each end by a rotation of its own."""
        own = "lib" if method == BESIDE else method
        ends = [replace(self.bases.basis(f"{block}|{end}", own), name=name) for end, name in names.items()]
        if method == BESIDE:
            ends = random_rotation(libasis.Basis((*ends, ends[-1]), own, {}), seed=self.settings["seed"]).sites[:-1]
        return libasis.Basis(tuple(ends), method, {})

    def _counts(self, block: int, section: str, method: str) -> list[int] | None:
        """Those of the protocol (None), or for what stands beside it the count at which LIB passes."""
        if method in self.settings["methods"]:
            return None
        lib = self.done[block, section, "lib"]
        return [lib["total"] if lib["required"] is None else lib["required"]]

    def _measured(self, traced: libasis.Traced, basis: libasis.Basis, counts: list[int] | None) -> Plain:
        name, chosen = basis[0].name, self.settings
        graph = libasis.interactions(traced, basis, self.fit, relative_error=0, progress=False)
        total = basis[0].k * basis[1].k
        found = libasis.ablate_edges(
            traced,
            graph,
            self.held_out,
            "kl",
            max_drop=chosen["allowed"],
            search=counts or [round(total * share) for share in chosen["shares"]],
            per_sample=True,
            progress=False,
        )
        each = found.per_sample
        assert each is not None
        kl = {count: (sums / each.counts).tolist() for count, sums in sorted(each.sums[name].items())}
        return {
            "total": total,
            "required": found.edges_required[name],
            "stable": found.edges_required_stable[name],
            "kl": {count: [float(f"{x:.6g}") for x in values] for count, values in kl.items()},
        }


def batches(ids: Tensor) -> list[dict[str, Tensor]]:
    """Inputs of some sequences at a time."""
    return [{"input_ids": part} for part in ids.split(8)]


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and measure."""
    protocol = tomllib.loads(language_branches.PROTOCOL.read_text(encoding="utf-8"))
    settings = {**{key: protocol[key] for key in ("allowed", "confidence", "replicates", "seed")}, **protocol["edges"]}
    said = "Edges of half blocks of a language model, with LIB and with PCA."
    found = language_branches.begun("language_edges", said, protocol["data"], arguments)
    if found is None:
        return
    ids, model, folder = found
    language_branches.same_settings(folder / "protocol.json", settings, ids)
    subject = Halves(model, sorted(settings["blocks"]))
    sums = language_branches.fit(subject, ids["fit"], folder, settings["seed"])
    edges = Edges(language_branches.Bases(subject, sums, settings["seed"]), ids, settings, folder)
    for block in settings["blocks"]:
        for section in ENDS:
            edges.measure(block, section, settings["methods"])
    for section in reversed(ENDS):
        for block in settings["blocks"]:
            edges.measure(block, section, [BESIDE])


if __name__ == "__main__":
    main()
