"""What experiments/superposition.py measures of each method: reconstruction, edges, bits, contexts."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from experiments.language_branches import AUTO, Subject
from experiments.masked_mlp import Dense, Inside, Latents, Linear
from experiments.sparse_dictionary import GatedMLP
from torch import Tensor

from libasis.basis.whiten import interaction_basis, principal_basis, whiten
from libasis.bridges import Autoencoder
from libasis.importance import Moment
from libasis.importance.fisher import shrinkage
from libasis.numerics import StreamingMoments

BATCH = 32
LENGTHS = ("neurons", "pca", "lib", "plain", "jacobian", "inside")
Section = Dense | Latents | Inside
Codec = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]


class HeldOut:
    """Sequences with what the model says of them, and what it would say with something else added by the MLP."""

    def __init__(self, model: Any, block: int, ids: Tensor, scored: int, watched: Callable[..., Any]) -> None:
        self.subject, self.after = Subject(model, [block + 1], ["stream"], scored), block + 1
        self.parts: list[tuple[Tensor, Tensor, Tensor]] = []
        found = []
        for batch in ids.split(BATCH):
            streams = self.subject.streams(batch)
            own = model.lm_head(streams[len(model.model.layers)][:, self.subject.scored]).log_softmax(-1)
            before, x = watched(model, block, batch)
            self.parts.append((before, streams[self.after], own))
            found.append(x[:, 1:])
        self.x = torch.cat(found)

    def divergence(self, added: Tensor) -> list[float]:
        """By sequence, with ``[sequence, position - 1, d]`` added at all positions but the first."""
        told: list[float] = []
        for (before, after, own), y in zip(self.parts, added.split(BATCH), strict=True):
            stream = torch.cat([after[:, :1], before[:, 1:] + y], 1)
            new = self.subject.told(stream, self.after, "stream", lambda x: x)
            told += (own.exp() * (own - new)).sum(-1).double().mean(1).tolist()
        return told


def gradients(model: Any, block: int, ids: Tensor, seed: int) -> Tensor:
    """Of drawn labels' log-likelihood by what the MLP adds ``[sequence, position - 1, d]``."""
    subject, found = Subject(model, [block], ["mlp"]), []
    for i, batch in enumerate(ids.split(BATCH)):
        found += [g[:, 1:] for _, _, g in subject.gradients(batch, (seed, i))]
        if i % 10 == 0:
            print(f"gradients: {(i + 1) * BATCH} of {len(ids)}", flush=True)
    return torch.cat(found)


@dataclass(frozen=True)
class Ends:
    """Features of a basis at the two sites."""

    x: Linear
    y: Linear


def bases(mlp: GatedMLP, x: Tensor, inputs: Tensor, g: Tensor, pair: Sequence[Autoencoder]) -> dict[str, Any]:
    """Neurons, PCA, LIB, and LIB inside the plain dictionary; with what was kept and how M' was shrunk.

    Args:
        mlp: between the sites.
        x: what it reads ``[n, d]``, for moments.
        inputs: what it reads where there are gradients ``[m, d]``.
        g: those ``[m, d]``.
        pair: the plain dictionaries.
    """
    moments = {site: StreamingMoments(x.shape[1]) for site in ("x", "y", "x inside", "y inside")}
    for part in x.split(4096):
        part = part.float()
        back = pair[0].decode(pair[0].encode(part))
        y = mlp(back)
        for site, one in zip(moments, (part, mlp(part), back, pair[1].decode(pair[1].encode(y))), strict=True):
            moments[site].update(one)
    pulled = dict(zip("xy", _moments(mlp, inputs, g), strict=True))
    facts: dict[str, Any] = {"shrink": {s: one.facts["shrink"] for s, one in pulled.items()}}
    made: dict[str, Any] = {}
    made["neurons"] = Ends(*(Linear.neurons(moments[s].mean) for s in "xy"))
    white = {site: whiten(site, one, AUTO, torch.float32) for site, one in moments.items()}
    made["pca"] = Ends(*(Linear.of(principal_basis(s, white[s], torch.float32)) for s in "xy"))
    for method, end in (("lib", ""), ("inside", " inside")):
        found = [interaction_basis(s, white[s + end], pulled[s], AUTO, torch.float32) for s in "xy"]
        made[method] = Ends(*map(Linear.of, found))
        facts[f"kept {method}"] = [one.k for one in found]
    return {**made, "facts": facts}


def _moments(mlp: GatedMLP, x: Tensor, g: Tensor) -> list[Moment]:
    """M' at x and y, shrunk as the two halves ask for."""
    halves = torch.zeros(2, 2, *[x.shape[1]] * 2, dtype=torch.float64)
    for i, (part, grad) in enumerate(zip(x.split(1024), g.split(1024), strict=True)):
        at_gate, at_up = mlp.slopes(part.float())
        hidden = grad @ mlp.down.T
        pulled = (hidden * at_gate) @ mlp.gate.T + (hidden * at_up) @ mlp.up.T
        for site, one in enumerate((pulled.double(), grad.double())):
            halves[site, i % 2] += one.T @ one * (2 / len(x))
    made = []
    for even, odd in halves:
        M, alpha = (even + odd) / 2, shrinkage(even, odd)
        M = (1 - alpha) * M + alpha * M.trace() / len(M) * torch.eye(len(M), dtype=M.dtype)
        made.append(Moment(M, None, "fisher", len(x), {"shrink": alpha}))
    return made


def flat(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """A function of vectors on ``[sequence, position, d]``."""
    return function(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def reconstruction(
    held: HeldOut, mlp: GatedMLP, pair: Sequence[Autoencoder], fit: Tensor, mean: Tensor
) -> dict[str, Any]:
    """Unexplained variance and divergences of a pair of dictionaries, by sequence; latents that are never active."""
    y, (at_x, at_y) = mlp(held.x), (lambda x, one=one: one.decode(one.encode(x)) for one in pair)
    back = at_x(held.x)
    means = mean, mlp(fit.float()).mean(0)
    shares = {}
    for site, one, own, middle in (("x", back, held.x, means[0]), ("y", at_y(y), y, means[1])):
        shares[site] = [((a - own) ** 2).sum((1, 2)).tolist() for a in (one, middle.expand_as(own))]
    dead = [
        float(
            (
                torch.stack(
                    [(one.encode(p.float() if s == "x" else mlp(p.float())) > 0).any(0) for p in fit.split(4096)]
                ).any(0)
            )
            .logical_not()
            .float()
            .mean()
        )
        for s, one in zip("xy", pair, strict=True)
    ]
    replaced = {"x": mlp(back), "y": at_y(y), "both": at_y(mlp(back))}
    return {"shares": shares, "dead": dead, "kl": {name: held.divergence(one) for name, one in replaced.items()}}


def edges(
    section: Section, ranking: Tensor, held: HeldOut, goals: Sequence[float], label: str, beyond: bool = True
) -> dict[str, Any]:
    """Divergences by number of edges, as far as the search for what is needed goes.

    Args:
        section: of which features.
        ranking: its edges, the strongest first.
        held: sequences.
        goals: divergences that are allowed, beyond that with all edges or in all.
        label: for what is told.
        beyond: which of the two.
    """
    total = ranking.numel()
    whole = held.divergence(flat(held.x, lambda x: section.run(x, None)))
    least = sum(whole) / len(whole)
    rows: dict[int, dict[str, Any]] = {total: {"kl": whole}}

    def mean(count: int) -> float:
        if count not in rows:
            kl = held.divergence(flat(held.x, lambda x: section.run(x, first(ranking, count, section))))
            rows[count] = {"kl": kl}
            if isinstance(section, Latents):
                rows[count]["active"] = section.kept
            print(f"edges {label}: {count:,} of {total:,}, {sum(kl) / len(kl):.4f} nats", flush=True)
        return sum(rows[count]["kl"]) / len(rows[count]["kl"])

    grid = [0, *sorted({round(total / 2 ** (i / 2)) for i in range(1, 2 * int(math.log2(total)))}), total]
    high = 0
    for goal in goals:
        low, high, i = 0, len(grid) - 1, len(grid) - 9
        while high - low > 1 and least <= goal + beyond * least:
            low, high = (low, i) if mean(grid[i]) <= goal + beyond * least else (i, high)
            i = (low + high) // 2 if low else max(high - 3, 1)
        if not low:
            mean(0)
    return {"total": total, "whole": whole, "rows": rows, "passing": grid[high]}


def first(ranking: Tensor, count: int, section: Section) -> Tensor:
    """The mask of the strongest edges."""
    mask = torch.zeros(ranking.numel(), dtype=torch.bool)
    mask[ranking[:count]] = True
    return mask.view(section.shape)


def free(section: Latents, ranking: Tensor, count: int, held: HeldOut) -> list[float]:
    """Divergences with this number of edges, the active latents of y chosen anew."""
    section.free = True
    try:
        return held.divergence(flat(held.x, lambda x: section.run(x, first(ranking, count, section))))
    finally:
        section.free = False


def codecs(made: dict[str, Any], pairs: dict[str, Any], site: str) -> Iterator[tuple[str, Codec]]:
    """By method how features at a site are made, and activations of features."""
    for method in LENGTHS:
        if method in pairs:
            one = getattr(pairs[method], site)
            yield method, (one.encode, one.decode)
        else:
            ends = getattr(made[method], site)
            own = getattr(pairs["plain"], site)
            before = (lambda x, own=own: own.decode(own.encode(x))) if method == "inside" else lambda x: x
            yield method, (lambda x, e=ends, b=before: e.encode(b(x)), ends.decode)


class Length:
    """Divergence and bits by width of the steps, at one site for one method."""

    def __init__(
        self, codec: Codec, fit: Tensor, held: HeldOut, behind: Callable[[Tensor], Tensor], own: Tensor
    ) -> None:
        self.codec, self.fit, self.held, self.behind, self.own = codec, fit, held, behind, own
        self.rows: dict[float, dict[str, Any]] = {}

    def measure(self, step: float) -> float:
        """The mean divergence with steps of this width."""
        encode, decode = self.codec
        kl = self.held.divergence(self.behind(decode((encode(self.own) / step).round() * step)))
        self.rows[step] = {"kl": kl, **bits((encode(p.float()) for p in self.fit.split(2048)), step)}
        return sum(kl) / len(kl)

    def around(self, target: float, step: float, label: str) -> None:
        """Measure widths on both sides of the target, if there are some."""
        floor = self.held.divergence(self.behind(self.codec[1](self.codec[0](self.own))))
        least = sum(floor) / len(floor)
        for _ in range(6):
            mean = self._mean(step) if step in self.rows else self.measure(step)
            print(
                f"bits {label}: step {step:.3g}, {mean:.4f} nats of {target:.4f}", self.rows[step]["bits"], flush=True
            )
            below = [s for s in self.rows if self._mean(s) <= target]
            above = [s for s in self.rows if self._mean(s) > target]
            if least > target or (below and above and min(above) < 1.5 * max(below)):
                return
            if below and above:
                step = (max(below) * min(above)) ** 0.5
            else:
                ratio = (target - least) / max(mean - least, 1e-6)
                step *= min(max(ratio**0.5, 0.2), 5) * (1.15 if below else 0.87)

    def _mean(self, step: float) -> float:
        return sum(self.rows[step]["kl"]) / len(self.rows[step]["kl"])


def bits(parts: Iterator[Tensor], step: float) -> dict[str, float]:
    """Sum of the entropies of the features' numbers of steps, and the largest number of steps."""
    counts: Tensor | None = None
    n, most = 0, 0
    edge = 255
    for f in parts:
        q = (f / step).round()
        most = max(most, int(q.abs().max()))
        q = q.clamp(-edge, edge).long() + edge
        width = 2 * edge + 1
        counts = torch.zeros(f.shape[1], width, dtype=torch.long) if counts is None else counts
        places = q + torch.arange(f.shape[1]) * width
        counts += torch.bincount(places.flatten(), minlength=counts.numel()).view_as(counts)
        n += len(f)
    assert counts is not None  # noqa: S101 - for the type checker
    p = counts.double() / n
    return {"bits": float(-(p * p.clamp_min(1e-300).log2()).sum()), "most": most}


def contexts(
    methods: Iterator[tuple[str, Codec]], x: Tensor, ids: Tensor, settings: dict[str, int], seed: int
) -> dict[str, Any]:
    """By method the share of the commonest token among the vectors where a feature is largest, and its kurtosis."""
    tokens, found = ids[:, 1:].flatten(), {}
    for method, (encode, _) in methods:
        f = torch.cat([encode(part.float()) for part in x.split(4096)])
        f = f if (f >= 0).all() else f * f.pow(3).mean(0).sign()
        usable = ((f != 0).sum(0) >= settings["top"]).nonzero()[:, 0]
        generator = torch.Generator().manual_seed(seed)
        drawn = usable[torch.randperm(len(usable), generator=generator)[: settings["features"]]]
        rows = []
        for i in drawn.tolist():
            top = f[:, i].topk(settings["top"]).indices
            centred = (f[:, i] - f[:, i].mean()).double()
            rows.append(
                {
                    "feature": i,
                    "share": _commonest(tokens[top]),
                    "kurtosis": float(centred.pow(4).mean() / centred.square().mean() ** 2),
                    "active": float((f[:, i] != 0).float().mean()),
                    "top": top[:8].tolist(),
                }
            )
        found[method] = rows
    generator = torch.Generator().manual_seed(seed)
    draws = (torch.randint(len(tokens), (settings["top"],), generator=generator) for _ in range(1000))
    found["chance"] = sum(_commonest(tokens[draw]) for draw in draws) / 1000
    return found


def _commonest(tokens: Tensor) -> float:
    return collections.Counter(tokens.tolist()).most_common(1)[0][1] / len(tokens)
