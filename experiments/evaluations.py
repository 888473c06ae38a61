"""Standard evaluations of the embedded models' explanations: faithfulness curves and the tests of a circuit.

Run: python experiments/evaluations.py [--docs docs]

Writes the tables of docs/evaluations.md anew, between ``<!-- evaluations: NAME -->`` and ``<!-- /evaluations -->``; the
words around them stay as they are. Bases are fitted, and circuits chosen, on the training data; all that is in the
tables is measured on test data. A few minutes on two cores.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import libasis
from libasis.demo import digits, modadd
from libasis.evaluate import random_rotation

BLOCK = re.compile(r"(<!-- evaluations: (\w+) (\w+) -->\n).*?(<!-- /evaluations -->)", re.S)
METHODS = {
    "lib": "LIB",
    "sparse": "sparse LIB",
    "pca": "PCA",
    "neuron": "neurons",
    "random": "LIB turned at random",
}
MODELS = {
    "digits": (digits, ["fc1:in", "fc2:in", "fc3:in", "output"], 4),
    "modadd": (modadd, ["blocks.0.ln1:in", "blocks.0.ln2:in", "unembed:in", "output"], 2),
}
"""What to cut where, and how many batches of train and test data are used."""
MAX_DROP = 0.01
"""By so much may accuracy on training data fall when only a circuit is kept."""


class Subject:
    """One model with its bases."""

    def __init__(self, name: str) -> None:
        module, sites, batches = MODELS[name]
        self.fit, self.chosen, self.test = (
            module.batches_train(),
            module.batches_train()[:batches],
            module.batches_test(),
        )
        self.test = self.test[:batches]
        self.traced = libasis.trace(module.load(), self.fit[0][0], sites, dtype="float32")

    def bases(self) -> Iterator[tuple[str, libasis.Basis]]:
        """Each method's basis, by its name."""
        lib = libasis.fit(self.traced, self.fit, "lib", progress=False)
        for method, shown in METHODS.items():
            if method == "random":
                yield shown, random_rotation(lib)
            else:
                sparse, kind = method == "sparse", "lib" if method == "sparse" else method
                yield shown, libasis.fit(self.traced, self.fit, kind, sparse=sparse, progress=False)

    def areas(self, *, edges: bool) -> Iterator[list[str]]:
        """Rows of areas under the curves, by place and method."""
        for shown, basis in self.bases():
            what: Any = libasis.interactions(self.traced, basis, self.fit, progress=False) if edges else basis
            found = libasis.faithfulness(self.traced, what, self.test, edges=edges, progress=False)
            for place, ways in found.areas.items():
                cells = [_with_ends(ways[way]) for way in ("keep", "remove")]
                yield [f"`{place}`", shown, str(found.totals[place]), *cells]

    def circuits(self) -> Iterator[list[str]]:
        """Rows of the tests of the smallest set of first features that keeps the accuracy on training data."""
        for shown, basis in self.bases():
            kept = libasis.ablate_nodes(self.traced, basis, self.chosen, max_drop=MAX_DROP, progress=False)
            for site, count in kept.features_required_stable.items():
                order = basis[site].importances.argsort(descending=True, stable=True).tolist()
                found = libasis.circuit_tests(
                    self.traced, basis, self.test, {site: order[: count or len(order)]}, progress=False
                )
                needed = [one.needed for one in found.members]
                minimal = "not tested" if None in needed else f"{sum(map(bool, needed))} of {len(needed)}"
                yield [
                    f"`{site}`",
                    shown,
                    f"{len(needed)} of {basis[site].k}",
                    f"{found.equivalence} ({_with_ends(found.difference)})",
                    f"{found.independence} (p = {found.independence_p:.2g})",
                    _with_ends(found.lost),
                    minimal,
                ]


def _with_ends(estimate: libasis.Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def table(name: str, kind: str) -> str:
    """One table of the page."""
    subject = Subject(name)
    if kind == "circuits":
        heads = [
            "Site",
            "Basis",
            "Circuit",
            "Equivalence (change of accuracy)",
            "Independence",
            "Lost without",
            "Needed",
        ]
        return _table(heads, list(subject.circuits()))
    heads = ["Site" if kind == "features" else "From", "Basis", kind.capitalize(), "Area, kept", "Area, removed"]
    return _table(heads, sorted(subject.areas(edges=kind == "edges"), key=lambda row: row[0]))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rules = ["---"] * 2 + ["--:"] * (len(heads) - 2)
    return "\n".join(f"| {' | '.join(row)} |" for row in ([*heads], rules, *rows))


def write(docs: Path) -> None:
    """Write the tables of docs/evaluations.md, each as soon as it is measured."""
    page = docs / "evaluations.md"
    for _, name, kind, _ in BLOCK.findall(page.read_text(encoding="utf-8")):
        made = table(name, kind)
        text = page.read_text(encoding="utf-8")
        here = re.compile(BLOCK.pattern.replace(r"(\w+) (\w+)", f"({name}) ({kind})"), re.S)
        page.write_text(here.sub(lambda m, made=made: f"{m[1]}{made}\n{m[4]}", text), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    write(parser.parse_args().docs)
