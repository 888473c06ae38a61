"""Models whose causes are known, for trying out `libasis.verify`: what is claimed of each, and what is true.

A plant is a model that was made by hand or trained, a basis whose features are its numbers, a way to draw data of any
size, and claims with their truth: the mean change of the score in all the world under each kind of intervention.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import libasis

Draw = Callable[[np.random.Generator, int], np.ndarray]
F64 = torch.float64
SITE = "mid"
WORLD = 40_000
"""Samples that stand for all the world."""


@dataclass(frozen=True)
class Claim:
    """One hypothesis that may be put to a plant.

    Attributes:
        features: replaced together.
        true: ``"cause"`` (the features do what is claimed), ``"nothing"`` (under at least one kind the mean change is
            0), ``"as any"`` (random directions do as much).
        direction: the way the score goes, for a cause.
        null: whether the mean change under each kind is 0 by construction; else it is measured on the world.
    """

    features: tuple[int, ...]
    true: str
    direction: str = "decrease"
    null: bool = False


@dataclass(frozen=True, eq=False)
class Plant:
    """A model of which all is known.

    Attributes:
        name: for the table.
        traced: the cut model.
        basis: its features, with the mean and the variances of the world.
        draw: gives inputs ``[n, k]``, targets, and units or None, for so many units.
        claims: what may be claimed.
        metric: what is scored.
        group: as in `libasis.Hypothesis`.
        effects: for each claim and kind the mean change in the world.
    """

    name: str
    traced: Any
    basis: Any
    draw: Callable[[np.random.Generator, int], Data]
    claims: tuple[Claim, ...]
    metric: Any
    group: str | None = None
    effects: tuple[dict[str, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Data:
    """Samples of a study: pairs for the calls, and the unit of each sample."""

    inputs: Tensor
    targets: Tensor
    units: list[int] | None = None

    @property
    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """As the calls take them."""
        return list(zip(self.inputs.split(1024), self.targets.split(1024), strict=True))


@dataclass(frozen=True)
class Shape:
    """How the numbers of a sample are distributed: each with mean 0 and variance 1 before its scale.

    Attributes:
        kinds: one name for each feature, see `DISTRIBUTIONS`.
        scales: standard deviations.
        pairs: (i, j, r): feature j becomes one that goes with feature i, by the correlation r.
        cluster: the share of the variance that is common to a cluster; 0 for independent samples.
        shifted: by feature, what is added in the group (the samples of target 1, half of all).
    """

    kinds: Sequence[str]
    scales: Sequence[float]
    pairs: Sequence[tuple[int, int, float]] = ()
    cluster: float = 0.0
    shifted: dict[int, float] = field(default_factory=dict)

    def inputs(self, rng: np.random.Generator, units: int) -> tuple[np.ndarray, list[int] | None, np.ndarray]:
        """Inputs ``[n, k]``, units, and whether each sample (or its whole unit) is in the group."""
        sizes = np.ones(units, dtype=int) if not self.cluster else 1 + rng.geometric(0.2, units).clip(max=25)
        unit = np.repeat(np.arange(units), sizes)
        inside = (rng.random(units) < 0.5)[unit]
        columns = []
        for kind in self.kinds:
            own = DISTRIBUTIONS[kind](rng, len(unit))
            if self.cluster:
                shared = DISTRIBUTIONS[kind](rng, units)[unit]
                own = np.sqrt(self.cluster) * shared + np.sqrt(1 - self.cluster) * own
            columns.append(own)
        x = np.stack(columns, 1)
        for i, j, r in self.pairs:
            x[:, j] = r * x[:, i] + np.sqrt(1 - r**2) * x[:, j]
        x *= np.asarray(self.scales)
        for i, shift in self.shifted.items():
            x[inside, i] += shift
        return x, unit.tolist() if self.cluster else None, inside


def _lognormal(rng: np.random.Generator, n: int) -> np.ndarray:
    spread = np.sqrt((np.e - 1) * np.e)
    return (rng.lognormal(size=n) - np.exp(0.5)) / spread


DISTRIBUTIONS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.uniform(-1, 1, n) * np.sqrt(3),
    "skewed": lambda rng, n: rng.exponential(size=n) - 1,
    "left": lambda rng, n: 1 - rng.exponential(size=n),
    "lognormal": _lognormal,
    "heavy": lambda rng, n: rng.standard_t(5, n) / np.sqrt(5 / 3),
    "signs": lambda rng, n: rng.choice([-1.0, 1.0], n),
    "rare": lambda rng, n: (rng.random(n) < 0.04) / np.sqrt(0.04 * 0.96) - 0.04 / np.sqrt(0.04 * 0.96),
}
MIXED = ("normal", "uniform", "skewed", "left", "heavy", "normal", "skewed", "uniform")


class Turned(nn.Module):
    """Numbers times a matrix."""

    def __init__(self, turn: Tensor) -> None:
        super().__init__()
        self.turn = nn.Parameter(turn, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, k]`` to ``[batch, k]``."""
        return x @ self.turn


class Sum(nn.Module):
    """A weighted sum, and a path that no data switch on."""

    def __init__(self, weights: Sequence[float], dormant: int | None = None) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([weights], dtype=F64), requires_grad=False)
        self.dormant = dormant

    def forward(self, f: Tensor) -> Tensor:
        """``[batch, k]`` to ``[batch, 1]``."""
        out = f @ self.weights.T
        return out if self.dormant is None else out + torch.relu(f[:, self.dormant, None] - 60)


class Labels(Sum):
    """Logits of two classes by the sign of the sum."""

    def forward(self, f: Tensor) -> Tensor:
        """``[batch, k]`` to ``[batch, 2]``."""
        out = super().forward(f)
        return torch.cat([-out, out], 1)


class Clipped(nn.Module):
    """A sum of two copies that one of them saturates: redundant parts."""

    def forward(self, f: Tensor) -> Tensor:
        """``[batch, k]`` to ``[batch, 1]``."""
        return (f[:, :1] + f[:, 1:2]).clamp(-1, 1)


class Product(nn.Module):
    """Two numbers that count only together."""

    def forward(self, f: Tensor) -> Tensor:
        """``[batch, k]`` to ``[batch, 1]``."""
        return f[:, :1] * f[:, 1:2]


def fit_score(outputs: Tensor, targets: Tensor) -> Tensor:
    """Minus the squared error: better when higher."""
    return -(outputs[:, 0] - targets).square()


def planted(
    name: str,
    head: nn.Module,
    shape: Shape,
    claims: Sequence[Claim],
    answer: Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray],
    metric: Any = fit_score,
    group: str | None = None,
) -> Plant:
    """A plant with the mean and variances of its world, and the effects there."""
    k = len(shape.kinds)
    turn = torch.linalg.qr(torch.randn(k, k, generator=torch.Generator().manual_seed(k), dtype=F64))[0]
    read = nn.Sequential(Turned(turn.T.contiguous()), head).eval()

    def draw(rng: np.random.Generator, units: int) -> Data:
        x, unit, inside = shape.inputs(rng, units)
        y = answer(rng, x, inside)
        return Data(torch.from_numpy(x), torch.from_numpy(np.asarray(y)), unit)

    rng = np.random.default_rng(1)
    few = draw(rng, 2000)
    traced = libasis.Chain([Turned(turn).eval(), read], ["input", SITE, "output"])
    basis = libasis.Basis.from_directions({SITE: turn.T}, traced=traced, batches=few.batches, progress=False)
    exact = {
        "mean": torch.zeros(k, dtype=F64),
        "variances": torch.tensor(shape.scales, dtype=F64).square(),
    }
    site = dataclasses.replace(basis[SITE], **exact)
    basis = dataclasses.replace(basis, sites=(basis.sites[0], site, basis.sites[2]))
    plant = Plant(name, traced, basis, draw, tuple(claims), metric, group)
    return dataclasses.replace(plant, effects=_effects(plant, draw(rng, WORLD // (5 if shape.cluster else 1))))


def _effects(plant: Plant, world: Data) -> tuple[dict[str, float], ...]:
    """The mean change of each claim in the world, over the group; 0 where it is so by construction."""
    kinds = ("mean", "resample")
    moving = [one for one in plant.claims if not one.null]
    if not moving:
        return tuple(dict.fromkeys(kinds, 0.0) for _ in plant.claims)
    runs = [libasis.Intervention(SITE, list(one.features), kind) for one in moving for kind in kinds]
    found = libasis.intervene(plant.traced, plant.basis, world.batches, runs, _metric(plant.metric), progress=False)
    inside = torch.ones(len(found.base), dtype=torch.bool) if plant.group is None else world.targets == 1
    means = iter((found.scores - found.base)[:, inside].mean(1).view(-1, 2).tolist())
    return tuple(dict(zip(kinds, (0.0, 0.0) if one.null else next(means), strict=True)) for one in plant.claims)


def first_output(outputs: Tensor, targets: Tensor) -> Tensor:
    """The output itself."""
    return outputs[:, 0]


def _metric(metric: Any) -> Any:
    return first_output if metric == "output[0]" else metric


def plants(k: int = 24) -> list[Plant]:
    """All plants; k features at the site of most."""
    rest = k - 8
    return [
        causes(k, rest),
        labels(k, rest),
        rare(k),
        *(cancelling(k, kind, cluster) for kind, cluster in (("normal", 0.0), ("lognormal", 0.0), ("skewed", 0.5))),
        *(grouped(k, kind, cluster) for kind, cluster in (("normal", 0.0), ("lognormal", 0.0), ("skewed", 0.5))),
        random_labels(k),
        redundant(k),
        together(k),
        equal(8),
        trained(k),
    ]


def causes(k: int, rest: int) -> Plant:
    """Three causes; decoys that vary ten times as much, go with a cause, or wait for what never comes."""
    weights = [1.0, 0.8, 0.6, 0.0, 0.0, 0.0, 0.0, 0.0] + [0.0] * rest
    shape = Shape([*MIXED, *["normal"] * rest], [1, 1, 1, 10, 1, 10, 5, 1, *[1] * rest], [(0, 4, 0.9), (1, 7, 0.7)])
    claims = [Claim((i,), "cause") for i in range(3)] + [Claim((0, 1), "cause")]
    claims += [Claim((i,), "nothing", null=True) for i in range(3, min(k, 20))] + [Claim((3, 5), "nothing", null=True)]
    w = np.array(weights)
    noise = lambda rng, x, inside: x @ w + rng.normal(0, 0.5, len(x))  # noqa: E731
    return planted("causes and decoys", Sum(weights, dormant=5), shape, claims, noise)


def labels(k: int, rest: int) -> Plant:
    """The same with two classes of which a tenth is wrong, scored by accuracy."""
    weights = [1.5, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0] + [0.0] * rest
    shape = Shape([*MIXED, *["normal"] * rest], [1, 1, 1, 10, 1, 10, 5, 1, *[1] * rest], [(0, 4, 0.9)])
    claims = [Claim((i,), "cause") for i in range(2)] + [Claim((0, 1), "cause")]
    claims += [Claim((i,), "nothing", null=True) for i in range(2, min(k, 19))]
    w = np.array(weights)

    def answer(rng: np.random.Generator, x: np.ndarray, inside: np.ndarray) -> np.ndarray:
        return ((x @ w > 0) ^ (rng.random(len(x)) < 0.1)).astype(np.int64)

    return planted("classes", Labels(weights), shape, claims, answer, "accuracy")


def rare(k: int) -> Plant:
    """A cause that decides a few samples in a hundred, scored by accuracy."""
    weights = [1.0, 1.0, *[0.0] * (k - 2)]
    shape = Shape(["signs", "normal", *["normal"] * (k - 2)], [2, 1, 5, *[1] * (k - 3)])
    w = np.array(weights)
    claims = [Claim((1,), "cause"), *(Claim((i,), "nothing", null=True) for i in range(2, min(k, 12)))]
    return planted(
        "rare changes", Labels(weights), shape, claims, lambda rng, x, _: (x @ w > 0).astype(int), "accuracy"
    )


def cancelling(k: int, kind: str, cluster: float) -> Plant:
    """Every feature moves the output of every sample, and none moves its mean."""
    weights = [(-1.0) ** i * (1 + i % 3) for i in range(k)]
    shape = Shape([kind] * k, [1 + i % 2 for i in range(k)], cluster=cluster)
    claims = [Claim((i,), "nothing", null=True) for i in range(min(k, 18) - 1)]
    claims += [Claim((i, i + 2), "nothing", null=True) for i in range(2)]
    name = f"cancelling, {kind}{', clusters' if cluster else ''}"
    return planted(name, Sum(weights), shape, claims, lambda rng, x, inside: inside.astype(int), "output[0]")


def grouped(k: int, kind: str, cluster: float) -> Plant:
    """In one group a feature is moved, and with it the output; the others only vary."""
    weights = [1.0, 1.0, 1.0, *[(-1.0) ** i * 0.5 for i in range(k - 3)]]
    shape = Shape([kind] * k, [1] * k, cluster=cluster, shifted={0: 1.0, 1: -0.7})
    claims = [Claim((0,), "cause"), Claim((1,), "cause", "increase")]
    claims += [Claim((i,), "nothing", null=True) for i in range(2, min(k, 14))]
    name = f"group, {kind}{', clusters' if cluster else ''}"
    return planted(
        name, Sum(weights), shape, claims, lambda rng, x, inside: inside.astype(int), "output[0]", "target == 1"
    )


def random_labels(k: int) -> Plant:
    """A/A: the model decides, and the labels are chance."""
    weights = [1.0 / (1 + i) for i in range(k)]
    shape = Shape([MIXED[i % 8] for i in range(k)], [1] * k)
    claims = [Claim((i,), "nothing", null=True) for i in range(min(k, 18) - 1)]
    claims += [Claim((i, i + 1), "nothing", null=True) for i in range(2)]
    return planted(
        "labels by chance", Labels(weights), shape, claims, lambda rng, x, _: rng.integers(0, 2, len(x)), "accuracy"
    )


def redundant(k: int) -> Plant:
    """Two copies of a sign, of which one is enough: without both the sign is lost, without one nothing by its mean."""
    shape = Shape(["signs", "signs", *["normal"] * (k - 2)], [1, 1, 8, *[1] * (k - 3)], [(0, 1, 1.0)])
    claims = [Claim((0, 1), "cause"), Claim((0,), "nothing"), Claim((1,), "nothing")]
    claims += [Claim((i,), "nothing", null=True) for i in range(2, min(k, 10))]
    answer = lambda rng, x, inside: x[:, 0] + rng.normal(0, 0.3, len(x))  # noqa: E731
    return planted("redundant pair", Clipped(), shape, claims, answer)


def together(k: int) -> Plant:
    """A product: each is needed, and nothing else."""
    shape = Shape(["normal", "uniform", *["heavy"] * (k - 2)], [1, 1, 8, *[1] * (k - 3)], [(0, 2, 0.8)])
    claims = [Claim((0, 1), "cause"), Claim((0,), "cause"), Claim((1,), "cause")]
    claims += [Claim((i,), "nothing", null=True) for i in range(2, min(k, 10))]
    answer = lambda rng, x, inside: x[:, 0] * x[:, 1] + rng.normal(0, 0.3, len(x))  # noqa: E731
    return planted("product", Product(), shape, claims, answer)


def equal(k: int) -> Plant:
    """All features do the same, and so does every random direction."""
    shape = Shape(["normal"] * k, [1 + i for i in range(k)])
    weights = [1 / (1 + i) for i in range(k)]
    w = np.array(weights)
    claims = [Claim((i,), "as any") for i in range(k)]
    return planted("all alike", Norm(weights), shape, claims, lambda rng, x, _: ((x * w) ** 2).sum(1))


class Norm(Sum):
    """The sum of squares."""

    def forward(self, f: Tensor) -> Tensor:
        """``[batch, k]`` to ``[batch, 1]``."""
        return (f * self.weights).square().sum(1, keepdim=True)


def trained(k: int) -> Plant:
    """A network of two layers that learned a function of three inputs, and is cut off from the others."""
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(k, 16), nn.Tanh(), nn.Linear(16, 1)).to(F64)
    shape = Shape([*MIXED, *["heavy"] * (k - 8)], [1, 1, 1, 10, 1, 10, 5, 1, *[1] * (k - 8)], [(0, 4, 0.9)])
    cut = torch.zeros(k, dtype=F64)
    cut[:3] = 1
    task = lambda x: x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + x[:, 0]  # noqa: E731
    optimiser = torch.optim.Adam(head.parameters(), 0.02)
    rng = np.random.default_rng(2)
    for _ in range(400):
        x = shape.inputs(rng, 128)[0]
        with torch.no_grad():
            head[0].weight.mul_(cut)
        loss = (head(torch.from_numpy(x))[:, 0] - torch.from_numpy(task(x))).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        head[0].weight.mul_(cut)
    claims = [Claim((i,), "cause") for i in range(3)] + [Claim((0, 1), "cause")]
    claims += [Claim((i,), "nothing", null=True) for i in range(3, min(k, 18))]
    answer = lambda rng, x, inside: task(x) + rng.normal(0, 0.3, len(x))  # noqa: E731
    return planted("trained network", head.requires_grad_(False), shape, claims, answer)
