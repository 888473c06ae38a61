"""A cut model, its data as pairs, the outputs it has by hand, and a basis."""

from functools import cache

import pytest
import torch
from torch import nn

import chains
import libasis
from chains import F64


def squared_error(outputs, targets):
    return (outputs - targets).square().flatten(1).mean(1)


squared_error.higher_is_better = False


class PositionBias(nn.Module):
    """Adds a bias of its own at each position."""

    def __init__(self, positions, d):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(positions, d))

    def forward(self, x):
        return x + self.bias


class Last(nn.Module):
    """The last position only, of a batch or of one sample."""

    def forward(self, x):
        return x[:, -1] if x.ndim == 3 else x[-1:]


class Residual(nn.Module):
    """x + inner(norm(x))."""

    def __init__(self, norm, inner):
        super().__init__()
        self.norm, self.inner = norm, inner

    def forward(self, x):
        return x + self.inner(self.norm(x))


class Gated(nn.Module):
    """A gated MLP."""

    def __init__(self, d, hidden):
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(d, hidden), nn.Linear(d, hidden), nn.Linear(hidden, d)

    def forward(self, x):
        return self.down(nn.functional.silu(self.gate(x)) * self.up(x))


class Causal(nn.Module):
    """Causal attention of two heads."""

    def __init__(self, d):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))

    def forward(self, x):
        q, k, v = (m(x).unflatten(-1, (2, -1)).transpose(-3, -2) for m in (self.q, self.k, self.v))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(mixed.transpose(-3, -2).flatten(-2))


MODELS = {
    "affine": lambda: (nn.Sequential(nn.Linear(6, 5), PositionBias(3, 5)), nn.Linear(5, 4)),
    "affine at the last position": lambda: (nn.Linear(6, 5), nn.Sequential(nn.Linear(5, 4), Last())),
    "pointwise": lambda: (
        Residual(nn.LayerNorm(6), nn.Sequential(nn.Linear(6, 7), nn.GELU(), nn.Linear(7, 6))),
        nn.Sequential(nn.Linear(6, 4), nn.Tanh(), Last()),
    ),
    "gated": lambda: (Residual(nn.RMSNorm(6), Gated(6, 7)), nn.Sequential(Gated(6, 5), nn.Linear(6, 4))),
    "causal": lambda: (Residual(nn.LayerNorm(6), Causal(6)), nn.Sequential(Causal(6), Last(), nn.Linear(6, 4))),
}
"""Two sections each, of kinds whose inside is read off the exported graph; they work on a sample as on a batch."""

CASES = [*chains.SECTIONS, *MODELS]


@cache
def cut(name):
    """Sections, data and the cut; an export takes longer than a test."""
    x = chains.data(name)
    if name not in MODELS:
        sections = chains.SECTIONS[name]()
        return sections, x, chains.chain(sections)
    torch.manual_seed(3)
    sections = nn.Sequential(*MODELS[name]()).to(F64).eval()
    return sections, x, libasis.trace(sections, x, ["input", "0", "output"])


def mask(args):
    """Which positions count, by the sample: at least the first."""
    counted = args[0].sum(-1) > 0
    counted[:, 0] = True
    return counted


class Setting:
    """One case, its basis fitted by a method, all positions counted or some of them."""

    def __init__(self, name, method="pca", masked=False):
        self.sections, self.x, self.traced = cut(name)
        if masked:
            self.traced = self.traced.to(mask=mask)
        self.counted = mask([self.x]) if masked else torch.ones(self.x.shape[:2], dtype=torch.bool)
        self.output = self.rest(self.x, 0)
        self.targets = self.output + chains.random(*self.output.shape, scale=0.3, seed=9)
        self.classes = self.output.argmax(-1)
        self.classes[::3] = 0  # some answers are wrong
        self.scored = self.counted if self.output.shape[1] > 1 else torch.ones_like(self.counted[:, :1])
        self.basis = libasis.fit(self.traced, [self.x], method, truncation="absolute:1e-12", progress=False)

    @torch.no_grad()
    def rest(self, x, site):
        """The output when the activation at a site is x."""
        for section in list(self.sections)[site:]:
            x = section(x)
        return x

    @torch.no_grad()
    def activation(self, site):
        x = self.x
        for section in list(self.sections)[:site]:
            x = section(x)
        return x

    def replaced(self, site, new):
        """The output when the activation at a site is a new one where positions count, and its own elsewhere."""
        old = self.activation(site)
        counted = self.counted[..., None] if old.shape[1] == self.counted.shape[1] else torch.tensor(True)
        return self.rest(torch.where(counted, new, old), site)

    def error(self, output):
        """The score of an output, by hand."""
        targets = self.targets[: len(output)]
        return float(squared_error(output.view(targets.shape), targets).mean())

    def batches(self, metric, sizes=(40,)):
        n, targets = sum(sizes), self.targets_of(metric)
        return list(zip(self.x[:n].split(list(sizes)), targets[:n].split(list(sizes)), strict=True))

    def targets_of(self, metric):
        return self.classes if metric in ("accuracy", "cross_entropy") else self.targets

    def reshuffled(self, metric):
        """The same data, of which every pass has another order and other batches."""
        return Reshuffled(self.x, self.targets_of(metric))


class Reshuffled:
    """Pairs in their order in the first pass, and in other batches and another order in each pass after it."""

    def __init__(self, x, targets):
        self.x, self.targets, self.passes = x, targets, 0

    def __iter__(self):
        n, seed = len(self.x), self.passes
        self.passes += 1
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)) if seed else torch.arange(n)
        for rows in order.split([17, 11, 9][seed % 3]):
            yield self.x[rows], self.targets[rows]


class Unread:
    """Batches that must not be read."""

    def __iter__(self):
        pytest.fail("the data were read before the options were checked")
