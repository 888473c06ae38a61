"""A cut model, its data as pairs, the outputs it has by hand, and a basis."""

import pytest
import torch

import chains
import libasis
from chains import F64


def squared_error(outputs, targets):
    return (outputs - targets).square().flatten(1).mean(1)


squared_error.higher_is_better = False


class PositionBias(torch.nn.Module):
    """Adds a bias of its own at each position."""

    def __init__(self, positions, d):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.randn(positions, d))

    def forward(self, x):
        return x + self.bias


def affine_sections(d=5):
    """Two affine sections as a model: only an exported graph is recognised as affine."""
    torch.manual_seed(3)
    first = torch.nn.Sequential(torch.nn.Linear(d, 6), PositionBias(3, 6))
    return torch.nn.Sequential(first, torch.nn.Linear(6, 4)).to(F64).eval()


CASES = [*chains.SECTIONS, "affine"]


class Setting:
    def __init__(self, name, method="pca"):
        if name == "affine":
            self.x = chains.data(name, d=5)
            self.sections = affine_sections()
            self.traced = libasis.trace(self.sections, self.x, ["input", "0", "output"])
        else:
            self.x = chains.data(name)
            self.sections = chains.SECTIONS[name]()
            self.traced = chains.chain(self.sections)
        self.output = self.rest(self.x, 0)
        self.targets = self.output + chains.random(*self.output.shape, scale=0.3, seed=9)
        self.classes = self.output.argmax(-1)
        self.classes[::3] = 0  # some answers are wrong
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

    def error(self, output):
        """The score of an output, by hand."""
        return float(squared_error(output, self.targets[: len(output)]).mean())

    def batches(self, metric, sizes=(40,)):
        targets = self.classes if metric in ("accuracy", "cross_entropy") else self.targets
        n = sum(sizes)
        return list(zip(self.x[:n].split(list(sizes)), targets[:n].split(list(sizes)), strict=True))


class Unread:
    """Batches that must not be read."""

    def __iter__(self):
        pytest.fail("the data were read before the options were checked")
