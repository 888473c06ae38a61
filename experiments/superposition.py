"""A sparse dictionary of one MLP of SmolLM2-135M, and LIB inside and beside it.

Run: python experiments/superposition.py [--out build/results/superposition] [--text FOLDER]

What is measured stands in experiments/protocols/superposition.toml, which was written before. Model and texts are those
of experiments/language_branches.py. Every stage keeps what it made, so that a run that was stopped goes on.
"""

from __future__ import annotations

import contextlib
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from experiments import language, language_branches
from experiments.masked_mlp import Dense, Inside, Latents, Linear
from experiments.sparse_dictionary import GatedMLP, Trainer, mean_jacobian, topk, unexplained
from experiments.stages import Stages
from experiments.superposition_measure import (
    Ends,
    HeldOut,
    Length,
    Section,
    bases,
    codecs,
    contexts,
    edges,
    free,
    gradients,
    reconstruction,
)

import libasis
from libasis.bridges import Autoencoder
from libasis.data import without_first

PROTOCOL = Path(__file__).parent / "protocols" / "superposition.toml"
BATCH = PER_TEXT = 50
PAIRS = "plain", "jacobian"


class Pair(NamedTuple):
    """Dictionaries at the two sites."""

    x: Autoencoder
    y: Autoencoder


class Stop(Exception):
    """What is behind a site is not needed."""


def watched(model: Any, block: int, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The stream before the MLP's norm of a block, and what the MLP reads, both ``[batch, position, d]``."""
    found: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        found.extend((inputs[0], out))
        raise Stop

    hook = model.model.layers[block].post_attention_layernorm.register_forward_hook(keep)
    with contextlib.closing(_Closing(hook.remove)), contextlib.suppress(Stop):
        model.model(ids, use_cache=False)
    return found[0], found[1]


class _Closing:
    def __init__(self, close: Callable[[], None]) -> None:
        self.close = close


def collect(model: Any, block: int, ids: Tensor) -> dict[str, Tensor]:
    """What the MLP reads and adds ``[sequence, position - 1, d]``, in half precision, without first positions."""
    parts: dict[str, list[Tensor]] = {"x": [], "y": []}
    start = time.monotonic()
    for i, batch in enumerate(ids.split(BATCH)):
        x = watched(model, block, batch)[1][:, 1:]
        parts["x"].append(x.half())
        parts["y"].append(model.model.layers[block].mlp(x.half().float()).half())
        if i % 10 == 0:
            print(f"collect: {(i + 1) * BATCH} of {len(ids)}, {time.monotonic() - start:.0f} s", flush=True)
    return {name: torch.cat(each) for name, each in parts.items()}


def train(stages: Stages, mlp: GatedMLP, data: dict[str, Tensor], protocol: dict[str, Any]) -> dict[str, Pair]:
    """The plain pair and the Jacobian one, after short runs have chosen its coefficient."""
    settings, seed, per_text = protocol["train"], protocol["seed"], PER_TEXT
    last = torch.arange(len(data["x"])) % per_text == per_text - 1
    own, kept = ([data[site][which].flatten(0, 1) for site in "xy"] for which in (~last, last))
    middle = [one[:20_000].float().mean(0) for one in own]

    def made(label: str, steps: int, coefficient: float) -> tuple[Trainer, dict[str, Any]]:
        trainer = Trainer(mlp, (own[0], own[1]), settings, coefficient, seed)
        lines = trainer.run(steps, label)
        left = [unexplained(*each) for each in zip(trainer.finished(), kept, middle, strict=True)]
        return trainer, {"coefficient": coefficient, "unexplained": left, "lines": lines}

    def pair(label: str, coefficient: float) -> Pair:
        def make() -> dict[str, Tensor]:
            trainer, told = made(label, settings["steps"], coefficient)
            told["J"] = mean_jacobian(mlp, trainer.pair, (kept[0][:1024], kept[1][:1024]))
            stages.keep(f"train-{label}", told)
            return {
                f"{site}.{k}": v for site, one in zip("xy", trainer.finished(), strict=True) for k, v in _weights(one)
            }

        found = stages.tensors(f"dictionaries-{label}", make)
        return Pair(*(_loaded(found, site, settings["k"]) for site in "xy"))

    def trials() -> list[dict[str, Any]]:
        unit, asked = stages.read("train-plain")["J"], [0.0, *settings["coefficients"]]
        return [{**made(f"trial {c}", settings["trial"], c / unit)[1], "asked": c} for c in asked]

    plain = pair("plain", 0.0)
    first, *rows = stages.values("trials", trials)
    worst = settings["worse"] * sum(first["unexplained"])
    allowed = [row["coefficient"] for row in rows if sum(row["unexplained"]) <= worst]
    return {"plain": plain, "jacobian": pair("jacobian", max(allowed, default=rows[0]["coefficient"]))}


@dataclass(frozen=True, eq=False)
class Subject:
    """What is measured on.

    Attributes:
        model: the language model.
        mlp: its MLP.
        data: what that reads and adds ``[sequence, position - 1, d]``, of the fit.
        ids: token numbers of the fit and of the held-out text.
        protocol: the settings.
        words: the text of token numbers.
    """

    model: Any
    mlp: GatedMLP
    data: dict[str, Tensor]
    ids: dict[str, Tensor]
    protocol: dict[str, Any]
    words: Callable[[Tensor], str]

    @lru_cache(maxsize=2)  # noqa: B019 - as long as the subject
    def held(self, which: str) -> HeldOut:
        """The held-out sequences, of ``"all"`` those for ``"edges"``, of these those for edges ``"inside"``."""
        settings, ids = self.protocol["data"], self.ids["text"]
        if which != "all":
            ids = ids[::3][: settings["edges"]]
        if which == "inside":
            ids = ids[::2][: settings["inside"]]
        return HeldOut(self.model, self.protocol["block"], ids, settings["scored"], watched)

    @property
    def some(self) -> Tensor:
        """What the MLP reads in the sequences that give gradients ``[n, d]``."""
        return self.data["x"][self.eighth].flatten(0, 1)

    @property
    def eighth(self) -> slice:
        """Those sequences."""
        return slice(0, 8 * self.protocol["data"]["fisher"], 8)


def measure(stages: Stages, subject: Subject, pairs: dict[str, Pair]) -> None:
    """Everything of the protocol, each part kept when it is done."""
    mlp, made = subject.mlp, made_bases(stages, subject, pairs["plain"])
    for name, pair in pairs.items():
        stages.values(
            f"reconstruction-{name}",
            lambda pair=pair: reconstruction(subject.held("all"), mlp, pair, subject.some, made["neurons"].x.mean),
        )
    stages.values("contexts", lambda: told(subject, made, pairs))
    search = Search(stages, subject, dict(sections(mlp, made, pairs, subject.some)))
    for name in ("plain", "jacobian", "lib", "pca"):
        search.needed(name)
    for name in ("lib", "pca"):
        search.equal(name)
    for site in "xy":
        stages.values(f"length-{site}", lambda site=site: lengths(subject, made, pairs, site))
    search.needed("inside")
    stages.values("spliced", lambda: spliced(subject, pairs["plain"]))
    search.equal("plain")
    search.needed("neurons")
    for name in pairs:
        search.anew(name)
        search.needed(f"{name}-errors")


@dataclass(frozen=True)
class Search:
    """The edges of sections, by name, each search once; what is dear or secondary is asked for last."""

    stages: Stages
    subject: Subject
    sections: dict[str, Section]

    def ranking(self, name: str) -> Tensor:
        """The edges, the strongest first."""
        section, some = self.sections[name], self.subject.some
        count = self.subject.protocol["graph"]["sparse" if isinstance(section, Latents) else "dense"]
        fit = some[:: max(1, len(some) // count)].float()
        found = self.stages.tensors(f"strengths-{name}", lambda: {"strengths": section.strengths(fit).float()})
        return found["strengths"].flatten().argsort(descending=True, stable=True)

    def needed(self, name: str) -> None:
        """How many edges are needed, beyond the same method with all edges."""
        allowed, held = self.subject.protocol["allowed"], "inside" if name == "inside" else "edges"
        self.stages.values(
            f"edges-{name}",
            lambda: edges(self.sections[name], self.ranking(name), self.subject.held(held), [allowed], name),
        )

    def equal(self, name: str) -> None:
        """How many are needed for the divergences in all that are allowed to the two dictionaries."""

        def make() -> dict[str, Any]:
            goals = [limit(self.stages.read(f"edges-{pair}"), self.subject.protocol["allowed"]) for pair in PAIRS]
            found = edges(
                self.sections[name],
                self.ranking(name),
                self.subject.held("edges"),
                goals,
                f"equal {name}",
                beyond=False,
            )
            return {**found, "goals": goals}

        self.stages.values(f"equal-{name}", make)

    def anew(self, name: str) -> None:
        """Divergences where the active latents of y are chosen anew, with as many edges as were found."""
        count = self.stages.read(f"edges-{name}")["passing"]
        section = self.sections[name]
        assert isinstance(section, Latents)  # noqa: S101 - for the type checker
        self.stages.values(
            f"free-{name}", lambda: free(section, self.ranking(name), count, self.subject.held("inside"))
        )


def limit(found: dict[str, Any], allowed: float) -> float:
    """The divergence in all that is allowed to a method."""
    return sum(found["whole"]) / len(found["whole"]) + allowed


def made_bases(stages: Stages, subject: Subject, plain: Pair) -> dict[str, Ends]:
    """The bases of every method, fitted once."""
    block, fit = subject.protocol["block"], subject.ids["fit"][subject.eighth]
    g = stages.tensors(
        "gradients", lambda: {"g": gradients(subject.model, block, fit, subject.protocol["seed"]).contiguous()}
    )["g"]

    def fitted() -> dict[str, Tensor]:
        x = subject.data["x"].flatten(0, 1)
        made = bases(subject.mlp, x, subject.some.float(), g.flatten(0, 1), plain)
        stages.keep("bases", made.pop("facts"))
        each = [(method, site, getattr(ends, site)) for method, ends in made.items() for site in "xy"]
        return {f"{m}|{s}|{name}": getattr(one, name) for m, s, one in each for name in ("mean", "C", "C_pinv")}

    found = stages.tensors("bases", fitted)
    methods = dict.fromkeys(key.split("|")[0] for key in found)
    return {
        m: Ends(*(Linear(*(found[f"{m}|{s}|{name}"] for name in ("mean", "C", "C_pinv"))) for s in "xy"))
        for m in methods
    }


def sections(mlp: GatedMLP, made: dict[str, Ends], pairs: dict[str, Pair], x: Tensor) -> Iterator[tuple[str, Section]]:
    """The MLP between features of every kind, the cheap ones first."""
    means = {
        name: torch.stack([pair.x.encode(p.float()).mean(0) for p in x.split(1024)]).mean(0)
        for name, pair in pairs.items()
    }
    for name, pair in pairs.items():
        yield name, Latents(mlp, pair, means[name])
    for name in ("lib", "pca", "neurons"):
        yield name, Dense(mlp, made[name].x, made[name].y)
    yield "inside", Inside(Latents(mlp, pairs["plain"], means["plain"]), made["inside"].x, made["inside"].y)
    for name, pair in pairs.items():
        yield f"{name}-errors", Latents(mlp, pair, means[name], errors=True)


def lengths(subject: Subject, made: dict[str, Ends], pairs: dict[str, Pair], site: str) -> dict[str, Any]:
    """Divergences and bits by width of the steps, of every method at one site."""
    held = subject.held("edges")
    own = held.x if site == "x" else subject.mlp(held.x)
    behind = subject.mlp if site == "x" else lambda y: y
    fit = subject.some if site == "x" else torch.cat([subject.mlp(p.float()) for p in subject.some.split(4096)])
    equal, found, target = subject.protocol["equal"], {}, {}
    for name, pair in pairs.items():
        one = getattr(pair, site)
        kl = held.divergence(behind(one.decode(one.encode(own))))
        target[name], found[f"target {name}"] = equal * sum(kl) / len(kl), kl
    for method, codec in codecs(made, pairs, site):
        length = Length(codec, fit, held, behind, own)
        step = 0.5 * float(codec[0](fit[:2048].float()).square().mean().sqrt())
        for goal in sorted({target["plain"], target.get(method, target["plain"])}):
            length.around(goal, step, f"{site} {method}")
        found[method] = [{"step": step, **row} for step, row in sorted(length.rows.items())]
    return found


def spliced(subject: Subject, plain: Pair) -> dict[str, Any]:
    """LIB at x by the package's own calls: of latents and error of a dictionary in the model, and beside.

    On the first 32 held-out sequences alone, with the same labels drawn.
    """
    name = f"model.layers.{subject.protocol['block']}.post_attention_layernorm:out"
    copied, sites = libasis.bridges.spliced(subject.model, {name: plain.x})
    batches = [{"input_ids": subject.ids["text"][:BATCH]}]
    found = {}
    for label, model, site in (("beside", subject.model, name), ("inside", copied, sites[name])):
        cut = [site, "model.norm:in"]
        traced = libasis.trace(model, batches[0], cut, mask=without_first(), around="hold")
        basis = libasis.fit(traced, batches, readout=libasis.rules.Fisher(draws=2, shrink=0))[0]
        found[label] = {"d": basis.d, "k": basis.k, "importances": basis.importances.tolist()}
    return found


def told(subject: Subject, made: dict[str, Ends], pairs: dict[str, Pair]) -> dict[str, Any]:
    """Contexts of features at both sites; of those shown the words."""
    ids = subject.ids["fit"][subject.eighth]
    settings, found = subject.protocol["contexts"], {}
    for site in "xy":
        x = subject.some if site == "x" else torch.cat([subject.mlp(p.float()) for p in subject.some.split(4096)])
        found[site] = contexts(codecs(made, pairs, site), x, ids, settings, subject.protocol["seed"])
        for rows in found[site].values():
            for row in rows[: settings["shown"]] if isinstance(rows, list) else ():
                places = [divmod(at, ids.shape[1] - 1) for at in row["top"]]
                row["words"] = [subject.words(ids[n, max(0, t - 3) : t + 2]) for n, t in places]
                row["tokens"] = [subject.words(ids[n, t + 1 : t + 2]) for n, t in places]
    return found


def _weights(one: Autoencoder) -> list[tuple[str, Tensor]]:
    return [(name, weight) for name, weight in one.named_buffers() if name != "kept"]


def _loaded(found: dict[str, Tensor], site: str, k: int) -> Autoencoder:
    own = {name[2:]: weight for name, weight in found.items() if name.startswith(site)}
    return Autoencoder(own, topk(k))


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and measure."""
    protocol = tomllib.loads(PROTOCOL.read_text(encoding="utf-8"))
    said = "A sparse dictionary of one MLP, and LIB inside and beside it."
    found = language_branches.begun("superposition", said, protocol["data"], arguments)
    if found is None:
        return
    ids, model, folder = found
    del ids["other"]
    with torch.no_grad():
        run(model, ids, protocol, language.tokenizer().decode, folder)


def run(
    model: Any, ids: dict[str, Tensor], protocol: dict[str, Any], words: Callable[[Tensor], str], folder: Path
) -> None:
    """Collect, train and measure, as far as that is not done."""
    stages = Stages(folder)
    language_branches.same_settings(folder / "protocol.json", protocol, ids)
    data = stages.tensors("activations", lambda: collect(model, protocol["block"], ids["fit"]))
    mlp = GatedMLP.of(model.model.layers[protocol["block"]].mlp)
    pairs = train(stages, mlp, data, protocol)
    measure(stages, Subject(model, mlp, data, ids, protocol, words), pairs)


if __name__ == "__main__":
    main()
