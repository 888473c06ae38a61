"""The sketch: whether its error bars hold, and what 1% costs beside the exact rule, in one run.

Coverage counts, over repeated runs with other seeds, the leading importances that lie within two of their standard
errors. Cost is to ``relative_error=0.01`` in backward passes of the whole data and in seconds. The last table has the
error of the sum of the importances beside that of independent signs, for the same numbers of passes.
Run: python benchmarks/sketch.py
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

import libasis
from libasis.basis.statistics import SiteStatistics
from libasis.basis.whiten import whiten
from libasis.importance import Span
from libasis.importance.rules import Exact, Sketch
from libasis.measure import Records, measure
from libasis.numerics import Truncation, eigh_descending


class Section(nn.Module):
    """A section is all that follows the site."""

    def __init__(self, run, **parts):
        super().__init__()
        self.site, self.run = nn.Identity(), run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        """The site, then the rest."""
        return self.run(self, self.site(x))


def attend(m, x, cap=4.0):
    """Causal attention of four heads with soft-capped scores, beside a skip."""
    q, k, v = (part(m.norm(x)).unflatten(-1, (4, -1)).transpose(1, 2) for part in (m.q, m.k, m.v))
    scores = cap * torch.tanh(3 * q @ k.mT / cap)
    future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
    pattern = scores.masked_fill(future, -torch.inf).softmax(-1)
    return x + m.o((pattern @ v).transpose(1, 2).flatten(2))


def softmax_mlp(n, d, k):
    layers = Section(lambda m, x: m.b((3 * m.a(x)).softmax(-1)), a=nn.Linear(d, 2 * d), b=nn.Linear(2 * d, k))
    return f"softmax MLP, d {d}", layers, torch.randn(n, d) * 0.9 ** torch.arange(d)


def max_pool(n, channels, size):
    conv = nn.Conv2d(channels, channels, 3, padding=1)
    x = torch.randn(n, channels, size, size)
    section = Section(lambda m, x: F.max_pool2d(m.conv(x).relu(), 2), conv=conv)
    return f"max-pool CNN, {size} x {size} places, d {channels}", section, x + 2 * F.avg_pool2d(x, 3, 1, 1)


def attention(n, positions, d):
    parts = {name: nn.Linear(d, d) for name in "qkvo"}
    x = torch.randn(n, positions, d) * 0.9 ** torch.arange(d)
    return f"soft-capped attention, {positions} positions, d {d}", Section(attend, norm=nn.LayerNorm(d), **parts), x


class Setting:
    """A section with its data, weighing and the exact importances."""

    def __init__(self, name, model, x):
        traced = libasis.trace(model.eval(), x[:2], ["site", "output"])
        self.name, self.records = name, Records(traced, list(x.split(64)), progress=False)
        stats = measure(self.records, SiteStatistics(traced), "statistics")
        white = whiten("site", stats[0], Truncation.parse("auto"), x.dtype)
        self.weigh = white.decode.T
        self.span = Span.of(self.records.first(), traced, 0, 1)
        self.readout = torch.eye(traced.sites[1].features, dtype=torch.float64)
        self.exact, self.seconds = self.timed(Exact())
        self.importances = self.spectrum(self.exact.value)
        self.leading = self.importances.cumsum(0) - self.importances < 0.99 * self.importances.sum()

    def timed(self, rule):
        """A rule's moment and its seconds."""
        start = time.perf_counter()
        moment = measure(self.records, rule.start(self.span, self.readout, 2**28, self.weigh), rule.name)
        return moment, time.perf_counter() - start

    def sketch(self, seed, relative_error):
        """The sketch's moment and its seconds."""
        return self.timed(Sketch(relative_error, seed))

    def spectrum(self, M):
        """Importances, descending."""
        return eigh_descending(self.weigh.T @ M @ self.weigh)[0]

    def off(self, moment):
        """Relative errors of the leading importances, and those that the sketch says it has."""
        off = (self.spectrum(moment.value) / self.importances - 1)[self.leading]
        return off, torch.tensor(moment.facts["importance_stderr"])[: len(off)]


@dataclass(frozen=True)
class Fixed(Sketch):
    """The sketch with a number of draws instead of an error to stop at."""

    number: int = 1

    def goal(self, done, draws, samples, bar):
        """That number."""
        return self.number


def signs(setting, passes, seed):
    """The plain estimate: independent signs."""
    total, draw = 0.0, torch.Generator().manual_seed(seed)
    for record in setting.records.stream():
        forward = partial(record.forward, source=0, target=1)
        y, pull = torch.func.vjp(forward, record.activations[0])
        for _ in range(passes):
            g = pull(torch.randint(0, 2, y.shape, generator=draw).to(y) * 2 - 1)[0].flatten(0, 1).double()
            total = total + g.T @ g
    return total / passes / setting.exact.n


def coverage(setting, runs=40):
    for target in (0.05, 0.02):
        moments = [m for m in (setting.sketch(seed, target)[0] for seed in range(runs)) if m.rule == "sketch"]
        off, said = (torch.stack(part) for part in zip(*(setting.off(m) for m in moments), strict=True))
        inside = float((off.abs() <= 2 * said).double().mean())
        width = float(said.square().mean().sqrt() / off.square().mean().sqrt())
        print(f"  asked {target:.0%}: {inside:.1%} within two, {width:.2f} times as wide as the true error", flush=True)


def cost(setting):
    found = [setting.sketch(seed, 0.01) for seed in range(5)]
    probes = sum(m.facts["probes"] for m, _ in found) / 5
    seconds = sum(s for _, s in found) / 5
    worst = sum(float(setting.off(m)[0].abs().max()) for m, _ in found) / 5
    passes = found[0][0].facts["exact_passes"]
    print(f"  1%: {probes:.0f} of {passes} passes, {seconds:.2f} of {setting.seconds:.2f} s, ", end="")
    print(f"{setting.seconds / seconds:.1f} times as fast; largest true error {worst:.2%}", flush=True)


def orthogonal(setting, draws, runs=100):
    """Both estimates' error of the sum of the importances, for the same number of passes."""
    exact = setting.importances.sum()
    ours = [setting.timed(Fixed(seed=seed, number=draws))[0] for seed in range(runs)]
    plain = [signs(setting, 4 * draws, seed) for seed in range(runs)]
    found = torch.stack(
        [
            torch.stack([setting.spectrum(m.value).sum(), setting.spectrum(M).sum()])
            for m, M in zip(ours, plain, strict=True)
        ]
    )
    a, b = (found / exact - 1).square().mean(0).sqrt().tolist()
    print(f"  {4 * draws} of {ours[0].facts['exact_passes']} passes: {a:.2%}, signs {b:.2%}", flush=True)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    small = [softmax_mlp(500, 32, 256), max_pool(200, 16, 8), attention(100, 16, 32)]
    large = [softmax_mlp(4000, 128, 512), max_pool(500, 16, 16), attention(64, 32, 64)]
    for made in small:
        setting = Setting(*made)
        print(f"{setting.name}, {len(made[2])} samples", flush=True)
        coverage(setting)
        cost(setting)
    for made in large:
        setting = Setting(*made)
        print(f"{setting.name}, {len(made[2])} samples", flush=True)
        cost(setting)
    setting = Setting(*softmax_mlp(100, 16, 64))
    print("Orthogonal probes beside independent signs, softmax MLP, d 16, 100 samples", flush=True)
    for draws in (2, 4, 8, 12, 15):
        orthogonal(setting, draws)


if __name__ == "__main__":
    main()
