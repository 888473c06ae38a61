"""LIB against PCA inside the blocks of SmolLM2-135M: how many features the model needs, by the divergence from itself.

Run: python experiments/language_branches.py [--out build/results/language_branches] [--text FOLDER]

What is measured, and when a claim counts as supported, stands in experiments/protocols/language_branches.toml, which
was written before. Model and text are those of experiments/language.py; ``--text`` is another folder of .txt files in
place of the Brown corpus. The counts found are measured again on another text, the language reference that comes with
Python. Sums of the fit are kept every few batches and each divergence as it comes, so that a run that was stopped goes
on; about an hour of one core.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import os
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from experiments import language

from libasis.basis import Basis, SiteBasis
from libasis.basis.whiten import Whitening, interaction_basis, principal_basis, whiten
from libasis.evaluate import random_rotation
from libasis.importance import Moment
from libasis.importance.fisher import shrinkage
from libasis.numerics import StreamingMoments, Truncation
from libasis.run.errors import MissingDataError

PROTOCOL = Path(__file__).parent / "protocols" / "language_branches.toml"
AUTO = Truncation.parse("auto")
BATCH, SAVED = 32, 10
SMALLER = (0.005, 0.002)
"""Divergences allowed in the heads' output beside that of the protocol: looked at when its results were known."""
Editor = Callable[[Tensor], Tensor]
Key = tuple[str, int, str, str, int]
"""Text, block, kind of site, method, number of features."""


class Sums:
    """What one pass over the fit's sequences adds up by site: moments, gradients in two halves, the first position."""

    def __init__(self, sizes: dict[str, tuple[int, int]], folder: Path) -> None:
        self.file, self.done = folder / "sums.safetensors", 0
        self.moments = {site: StreamingMoments(d) for site, (d, _) in sizes.items()}
        self.fisher = {site: torch.zeros(2, out, out, dtype=torch.float64) for site, (_, out) in sizes.items()}
        self.first = {site: StreamingMoments(d) for site, (d, _) in sizes.items()}
        self.felt = {site: torch.zeros(2, dtype=torch.float64) for site in sizes}  # squared gradients: first, others
        if self.file.exists():
            self._load(load_file(self.file))

    def add(self, site: str, x: Tensor, pulled: Tensor, weight: Tensor | None) -> None:
        """A batch of activations ``[batch, position, d]`` and the gradients behind the site's own weight, if any."""
        self.moments[site].update(x[:, 1:].flatten(0, 1))
        self.first[site].update(x[:, 0])
        g = pulled.double()
        self.fisher[site][self.done % 2] += torch.einsum("bsi,bsj->ij", g[:, 1:], g[:, 1:])
        squares = (pulled if weight is None else pulled @ weight).double().square().sum(-1)
        self.felt[site] += torch.stack([squares[:, 0].sum(), squares[:, 1:].sum()])

    def save(self) -> None:
        """Keep what there is."""
        state = {"done": torch.tensor(self.done)}
        for site, moments in self.moments.items():
            for name, one in (("moments", moments), ("first", self.first[site])):
                state |= {f"{site}|{name}|{k}": torch.as_tensor(getattr(one, k)) for k in one.sums}
            state |= {f"{site}|fisher": self.fisher[site], f"{site}|felt": self.felt[site]}
        save_file(state, f"{self.file}.part")
        os.replace(f"{self.file}.part", self.file)

    def _load(self, state: dict[str, Tensor]) -> None:
        self.done = int(state["done"])
        for site in self.moments:
            for name, one in (("moments", self.moments[site]), ("first", self.first[site])):
                one.n = int(state[f"{site}|{name}|n"])
                one.mean, one.scatter = state[f"{site}|{name}|mean"], state[f"{site}|{name}|scatter"]
            self.fisher[site], self.felt[site] = state[f"{site}|fisher"], state[f"{site}|felt"]


class Subject:
    """The model, and its sites by block and kind; every ``scored``-th position is scored."""

    def __init__(self, model: Any, blocks: Sequence[int], kinds: Sequence[str], scored: int = 1) -> None:
        self.scored = slice(scored, None, scored)
        self.model, self.blocks, self.kinds = model.requires_grad_(False), blocks, kinds
        self.layers = model.model.layers
        self.sites = {f"{block}|{kind}": (block, kind) for kind in kinds for block in blocks}

    def weight(self, block: int, kind: str) -> Tensor | None:
        """Of the linear map behind the site ``[out, d]``: what it gives is added to the stream."""
        module = self._reader(block, kind)
        return module.weight if isinstance(module, nn.Linear) else None

    def _reader(self, block: int, kind: str) -> nn.Module:
        layer = self.layers[block]
        return {"mlp": layer.mlp.down_proj, "heads": layer.self_attn.o_proj, "stream": layer}[kind]

    def sizes(self) -> dict[str, tuple[int, int]]:
        """By site its width, and that of what its gradients are taken by."""
        width = self.model.config.hidden_size
        found = {site: self.weight(*where) for site, where in self.sites.items()}
        return {site: (width, width) if W is None else (W.shape[1], W.shape[0]) for site, W in found.items()}

    def gradients(self, ids: Tensor, seed: tuple[int, int]) -> Iterator[tuple[str, Tensor, Tensor]]:
        """By site its activations, and the gradients of what a label drawn at each position but the first is worth.

        The gradients are by the stream at the site, or by what a linear map behind the site adds to the stream.
        """
        seen: dict[str, tuple[Tensor, Tensor]] = {}
        generator = torch.Generator().manual_seed(seed[0] * 1_000_003 + seed[1])
        with contextlib.ExitStack() as hooks:
            start = self.layers[min(self.blocks)].register_forward_pre_hook(_leaf)
            hooks.callback(start.remove)
            for site, (block, kind) in self.sites.items():
                hooks.callback(self._watch(site, self._reader(block, kind), seen).remove)
            with torch.enable_grad():
                told = self.model(ids, use_cache=False).logits[:, 1:].log_softmax(-1)
                labels = torch.multinomial(told.detach().exp().flatten(0, 1), 1, generator=generator)
                likelihood = told.flatten(0, 1).gather(1, labels).sum()
                found = torch.autograd.grad(likelihood, [watched for _, watched in seen.values()])
        for (site, (x, _)), g in zip(seen.items(), found, strict=True):
            yield site, x.detach(), g

    def _watch(self, site: str, reader: nn.Module, seen: dict[str, tuple[Tensor, Tensor]]) -> Any:
        if isinstance(reader, nn.Linear):
            return reader.register_forward_hook(lambda _, x, y: seen.__setitem__(site, (x[0], y)))  # pyright: ignore
        return reader.register_forward_pre_hook(lambda _, x: seen.__setitem__(site, (x[0], x[0])))

    def streams(self, ids: Tensor) -> dict[int, Tensor]:
        """What enters each block ``[batch, position, width]``; and what leaves the last, under its number."""
        found: dict[int, Tensor] = {}
        with contextlib.ExitStack() as hooks:
            for block in self.blocks:
                watch = self.layers[block].register_forward_pre_hook(lambda _, x, b=block: found.update({b: x[0]}))
                hooks.callback(watch.remove)
            found[len(self.layers)] = self.model.model(ids, use_cache=False).last_hidden_state
        return found

    def told(self, stream: Tensor, block: int, kind: str, edit: Editor) -> Tensor:
        """Log probabilities at the positions scored, with the activation at a site edited."""
        places = torch.arange(stream.shape[1])[None]
        turns = self.model.model.rotary_emb(stream, position_ids=places)
        hook = contextlib.nullcontext()
        if kind != "stream":
            hook = contextlib.closing(_Hook(self._reader(block, kind), edit))
        x = edit(stream) if kind == "stream" else stream
        with hook:
            for layer in self.layers[block:]:
                x = layer(x, attention_mask=None, position_embeddings=turns, position_ids=places)
        return self.model.lm_head(self.model.model.norm(x[:, self.scored])).log_softmax(-1)


def _leaf(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0].detach().requires_grad_(), *inputs[1:])


class _Hook:
    def __init__(self, module: nn.Module, edit: Editor) -> None:
        self.close = module.register_forward_pre_hook(lambda _, x: (edit(x[0]), *x[1:])).remove


def fit(subject: Subject, ids: Tensor, folder: Path, seed: int) -> Sums:
    """The sums over all sequences, gone on with where they were stopped."""
    sums, start = Sums(subject.sizes(), folder), time.monotonic()
    batches = ids.split(BATCH)
    begun = sums.done
    for batch in batches[begun:]:
        for site, x, g in subject.gradients(batch, (seed, sums.done)):
            sums.add(site, x, g, subject.weight(*subject.sites[site]))
        sums.done += 1
        left = (time.monotonic() - start) / (sums.done - begun) * (len(batches) - sums.done)
        print(f"fit: batch {sums.done} of {len(batches)}, {left / 60:.1f} minutes left", flush=True)
        if sums.done % SAVED == 0 or sums.done == len(batches):
            sums.save()
    return sums


class Bases:
    """The bases of one site after the other, from the sums."""

    def __init__(self, subject: Subject, sums: Sums, seed: int) -> None:
        self.subject, self.sums, self.seed = subject, sums, seed
        self.white = lru_cache(maxsize=1)(self._white)
        self.basis = lru_cache(maxsize=4)(self._basis)

    def _white(self, site: str) -> Whitening:
        return whiten(site, self.sums.moments[site], AUTO, torch.float32)

    def _basis(self, site: str, method: str) -> SiteBasis:
        if method == "pca":
            return principal_basis(site, self.white(site), torch.float32)
        if method == "random":
            return random_rotation(Basis((self.basis(site, "lib"),) * 2, "lib", {}), seed=self.seed)[0]
        return interaction_basis(site, self.white(site), self.moment(site, method), AUTO, torch.float32)

    def moment(self, site: str, method: str) -> Moment:
        """M' of a site for ``"lib"``, ``"unshrunk"`` or ``"next"``."""
        weight = self.subject.weight(*self.subject.sites[site])
        n, rank = self.sums.moments[site].n, None if weight is None else weight.shape[0]
        W = None if weight is None else weight.double()
        if method == "next":
            assert W is not None
            return Moment(W.T @ W, None, method, n)
        even, odd = (F if W is None else W.T @ F @ W for F in self.sums.fisher[site] * (2 / n))
        M, alpha = (even + odd) / 2, 0.0
        if method == "lib" and (rank is None or rank >= len(M)):
            alpha = shrinkage(even, odd)
        M = (1 - alpha) * M + alpha * M.trace() / len(M) * torch.eye(len(M), dtype=M.dtype)
        return Moment(M, None, "fisher", n, {"shrink": alpha})

    def left_out(self, site: str, method: str) -> Tensor:
        """By count what the features that are left out matter: their variances times M' along them ``[d + 1]``."""
        basis, M = self.basis(site, method), self.moment(site, "unshrunk").value
        each = basis.variances * ((basis.C_pinv @ M) * basis.C_pinv).sum(1)
        tail = each.flip(0).cumsum(0).flip(0)
        return torch.nn.functional.pad(tail, (0, 1 + len(basis.mean) - basis.k))


class Divergences:
    """Divergences by sequence, measured when they are asked for and kept in a file of lines; ``also`` in one beside."""

    def __init__(self, subject: Subject, bases: Bases, folder: Path, also: str | None = None) -> None:
        self.subject, self.bases, self.file = subject, bases, folder / "divergences.jsonl"
        self.found, self.texts, self.spent = read_lines(self.file), {}, []
        if also is not None:
            self.file = folder / f"{also}.jsonl"
            self.file.touch()
            self.found |= read_lines(self.file)
        self.left = 0

    def text(self, name: str, ids: Tensor) -> None:
        """Add a text ``[n, position]``; what the model says of it is kept in memory when it is first needed."""
        self.texts[name] = _Text(self.subject, ids)

    def of(self, text: str, site: str, method: str, count: int) -> list[float]:
        """Mean divergence of each sequence with so many features."""
        block, kind = self.subject.sites[site]
        if count:
            count = min(count, self.bases.basis(site, method).k)
        key = (text, block, kind, method if count else "none", count)
        if key not in self.found:
            start = time.monotonic()
            self.found[key] = self._measured(*key)
            self.spent.append((time.monotonic() - start) / (len(self.subject.layers) - block + 8))
            line = dict(zip(("text", "block", "kind", "method", "features"), key, strict=True))
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line | {"kl": [float(f"{x:.6g}") for x in self.found[key]]}) + "\n")
            mean = sum(self.found[key]) / len(self.found[key])
            print(*key, f"{mean:.4g} nats, {time.monotonic() - start:.0f} s; {self.left} sites to do", flush=True)
        return self.found[key]

    def mean(self, text: str, site: str, method: str, count: int) -> float:
        """The mean of `of`."""
        found = self.of(text, site, method, count)
        return sum(found) / len(found)

    def _measured(self, text: str, block: int, kind: str, method: str, count: int) -> list[float]:
        site = f"{block}|{kind}"
        edit = keep(self.bases.basis(site, "pca" if method == "none" else method), count)
        found = []
        for stream, own in self.texts[text].parts(block):
            told = self.subject.told(stream, block, kind, edit)
            found += (own.exp() * (own - told)).sum(-1).double().mean(1).tolist()
        return found


class _Text:
    def __init__(self, subject: Subject, ids: Tensor) -> None:
        self.subject, self.ids = subject, ids

    @cached_property
    def own(self) -> list[tuple[dict[int, Tensor], Tensor]]:
        """By batch what enters the blocks, and the model's own log probabilities at the positions scored."""
        found = []
        for ids in self.ids.split(BATCH):
            streams = self.subject.streams(ids)
            last = streams.pop(len(self.subject.layers))
            found.append((streams, self.subject.model.lm_head(last[:, self.subject.scored]).log_softmax(-1)))
        return found

    def parts(self, block: int) -> Iterator[tuple[Tensor, Tensor]]:
        return ((streams[block], own) for streams, own in self.own)


def keep(basis: SiteBasis, count: int) -> Editor:
    """Keeps the first features at all positions but the first of a sequence; the rest stand at their mean."""
    inside = (basis.C[:, :count] @ basis.C_pinv[:count]).float()
    mean = basis.mean.float()

    def edit(x: Tensor) -> Tensor:
        return torch.cat([x[:, :1], mean + (x[:, 1:] - mean) @ inside], 1)

    return edit


def read_lines(file: Path) -> dict[Key, list[float]]:
    """The divergences that a file of lines has."""
    return {
        (row["text"], row["block"], row["kind"], row["method"], row["features"]): row["kl"] for row in whole_lines(file)
    }


def whole_lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a file, if there is one; a last line that was cut off is left out, in the file too."""
    if not file.exists():
        return []
    whole, end, _ = file.read_text(encoding="utf-8").rpartition("\n")
    file.write_text(whole + end, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def grid(kind: str, d: int) -> list[int]:
    """The counts of a site."""
    if kind == "stream":
        return [d * i // 16 for i in range(1, 17)]
    return [round(d / 2 ** (i / 2)) for i in range(14, -1, -1)]


def search(divergences: Divergences, site: str, method: str, d: int, allowed: float) -> int:
    """The least count of the grid whose divergence is allowed, by bisection; 0 where the mean alone is enough.

    It begins where the importance of the features left out says, in units of that of all of them.
    """
    counts = [0, *grid(divergences.subject.sites[site][1], d)]
    alone = divergences.mean("text", site, method, 0)
    if alone <= allowed:
        return 0
    low, high, told = 0, len(counts) - 1, {0: False}
    left = divergences.bases.left_out(site, method)
    i = next(i for i, n in enumerate(counts) if alone * float(left[n]) <= allowed * float(left[0]))
    while high - low > 1:
        i = min(max(i, low + 1), high - 1)
        told[i] = divergences.mean("text", site, method, counts[i]) <= allowed
        low, high = (low, i) if told[i] else (i, high)
        i = (low + high) // 2 if low and high in told else i - 1 if told[i] else i + 1
    return counts[high]


def measure(divergences: Divergences, protocol: dict[str, Any], folder: Path) -> None:
    """Everything of the protocol: first the counts inside blocks, then the stream, then what stands beside them."""
    needed: dict[str, dict[str, int]] = {}
    sizes = divergences.subject.sizes()
    blocks = sorted(protocol["blocks"], reverse=True)  # the cheap ones first
    order = [f"{b}|{kind}" for kinds in (("mlp", "heads"), ("stream",)) for b in blocks for kind in kinds]
    facts: dict[str, dict[str, float]] = {site: first_position(divergences.bases.sums, site) for site in order}
    for i, site in enumerate(order):
        divergences.left = len(order) - i
        d, allowed = sizes[site][0], protocol["allowed"]
        needed[site] = {method: search(divergences, site, method, d, allowed) for method in protocol["primary"]}
        divergences.of("text", site, "lib", needed[site]["pca"])
        facts[site] |= facts_of(divergences.bases, site)
        (folder / "sites.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    for site in order:
        count = min(needed[site]["lib"], int(facts[site]["kept"]))
        for text in divergences.texts:
            for method in protocol["primary"]:
                divergences.of(text, site, method, count)
        for method in protocol["beside"]:
            stream, same = site.endswith("stream"), not facts[site]["shrink"]
            if not (method == "next" and stream) and not (method == "unshrunk" and same):
                divergences.of("text", site, method, count)


def explore(divergences: Divergences) -> None:
    """The heads' output at smaller divergences, which is not in the protocol."""
    for site in sorted(divergences.subject.sites, key=lambda site: -int(site.split("|")[0])):
        if site.endswith("heads"):
            d = divergences.subject.sizes()[site][0]
            for allowed, method in product(SMALLER, ("lib", "pca")):
                search(divergences, site, method, d, allowed)


def begun(
    name: str, description: str, data: dict[str, int], arguments: list[str] | None
) -> tuple[dict[str, Tensor], Any, Path] | None:
    """Texts, model and folder as the command line says; None where a package or a text is missing, which is said."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path("build/results") / name)
    parser.add_argument("--text", type=Path, default=Path(language.CORPUS))
    chosen = parser.parse_args(arguments)
    try:
        found = sequences(chosen, data), language.unpacked(), chosen.out
    except MissingDataError as error:
        print(f"{name} is passed over: {error}")
        return None
    chosen.out.mkdir(parents=True, exist_ok=True)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and measure."""
    protocol = tomllib.loads(PROTOCOL.read_text(encoding="utf-8"))
    del protocol["edges"]  # which language_edges.py measures
    found = begun(
        "language_branches", "LIB against PCA inside the blocks of a language model.", protocol["data"], arguments
    )
    if found is None:
        return
    ids, model, folder = found
    same_settings(folder / "protocol.json", protocol, ids)
    subject = Subject(model, protocol["blocks"], list(protocol["sites"]), protocol["data"]["scored"])
    sums = fit(subject, ids["fit"], folder, protocol["seed"])
    with torch.no_grad():
        divergences = Divergences(subject, Bases(subject, sums, protocol["seed"]), folder)
        for name in [name for name in ids if name != "fit"]:
            divergences.text(name, ids[name])
        measure(divergences, protocol, folder)
        smaller = Divergences(subject, divergences.bases, folder, "smaller")
        smaller.texts = divergences.texts
        explore(smaller)


def first_position(sums: Sums, site: str) -> dict[str, float]:
    """What the first position of a sequence has of a site's variance and sensitivity."""
    first, others, felt = sums.first[site], sums.moments[site], sums.felt[site]
    n, gap = first.n + others.n, (first.mean - others.mean).square().sum()
    own = first.scatter.diagonal().sum() + first.n * (others.n / n) ** 2 * gap
    rest = others.scatter.diagonal().sum() + others.n * (first.n / n) ** 2 * gap
    return {
        "width": len(others.mean),
        "first_norm": math.sqrt(first.mean_square),
        "other_norm": math.sqrt(others.mean_square),
        "first_variance": float(own / (own + rest)),
        "first_sensitivity": float(felt[0] / felt.sum()),
    }


def facts_of(bases: Bases, site: str) -> dict[str, float]:
    """What LIB keeps of a site without the first position, and how much of it is its first feature."""
    lib = bases.basis(site, "lib")
    shrunk = bases.moment(site, "lib").facts["shrink"]
    return {"kept": lib.k, "shrink": shrunk, "largest": float(lib.importances.max() / lib.importances.sum())}


def sequences(chosen: argparse.Namespace, data: dict[str, int]) -> dict[str, Tensor]:
    """Token numbers ``[n, position]`` of the fit, of the held-out text and of the other one."""
    tokens, found = language.tokenizer(), language.texts(chosen.text)
    ids = {"fit": language.sequences(found[::2], tokens, data["tokens"], data["fit"])}
    ids["text"] = spread(
        language.sequences(found[1::2], tokens, data["tokens"], 2 * (len(found) // 2))[1::2], data["held_out"]
    )
    reference = language.sequences(list(topics.values()), tokens, data["tokens"], len(topics) * data["most"])
    ids["other"] = spread(reference, data["held_out"])
    return ids


def spread(rows: Tensor, count: int) -> Tensor:
    """So many rows, at equal distances."""
    return rows[torch.linspace(0, len(rows) - 1, count).round().long()] if len(rows) > count else rows


def same_settings(file: Path, protocol: dict[str, Any], ids: dict[str, Tensor]) -> None:
    """Keep what results are made of, and refuse to go on with those of something else."""
    made = {"protocol": protocol, "data": {k: hashlib.sha256(x.numpy().tobytes()).hexdigest() for k, x in ids.items()}}
    made["sequences"] = {name: len(x) for name, x in ids.items()}
    if file.exists():
        old = json.loads(file.read_text(encoding="utf-8"))
        kept = {k: v for k, v in old["data"].items() if k in made["data"]}
        if old["protocol"] != protocol or kept.items() - made["data"].items():
            raise SystemExit(f"{file} is of other settings or texts; give another --out.")
        made = {key: {**old[key], **made[key]} for key in made}
    file.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
