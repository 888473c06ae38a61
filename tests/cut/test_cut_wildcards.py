"""Names with ``*``, and the table that shows like layers as one."""

import pytest
import torch
from torch import nn

import libasis
from libasis.errors import SiteError


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn = nn.ModuleDict({"norm1": nn.LayerNorm(d), "out": nn.Linear(d, d)})
        self.up, self.act, self.down = nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d)

    def forward(self, x):
        x = x + self.attn["out"](self.attn["norm1"](self.norm1(x)))
        return x + self.down(self.act(self.up(self.norm2(x))))


class Stack(nn.Module):
    def __init__(self, layers=12, d=4):
        super().__init__()
        self.embed, self.blocks = nn.Linear(3, d), nn.ModuleList(Block(d) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 2)

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


X = torch.randn(3, 3)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Stack(3).eval()


def names(model, sites):
    return [site.name for site in libasis.trace(model, X, sites).sites]


BOTH = ["blocks.0.norm1:in", "blocks.0.norm2:in", "blocks.1.norm1:in", "blocks.1.norm2:in", "blocks.2.norm1:in",
        "blocks.2.norm2:in"]  # fmt: skip


@pytest.mark.parametrize(
    ("sites", "expected"),
    [
        (["blocks.*.norm1:in", "blocks.*.norm2:in", "norm:in"], [*BOTH, "norm:in"]),
        (["output", "norm", "blocks.*.norm2:in", "blocks.*.norm1:in"], [*BOTH, "norm", "output"]),  # the model's order
        (["blocks.*"], ["blocks.0:out", "blocks.1:out", "blocks.2:out"]),
        (["blocks.*.norm*:in"], BOTH),
        (["*.norm2:in", "output"], ["blocks.0.norm2:in", "blocks.1.norm2:in", "blocks.2.norm2:in", "output"]),
        (["blocks.*:in", "blocks.*:out"], ["blocks.0:in", "blocks.1:in", "blocks.2:in", "blocks.2:out"]),
        (["**.norm2:in", "blocks.0.norm1:in"], ["blocks.0.norm1:in", *BOTH[1::2]]),
    ],
)
def test_a_star_stands_for_every_layer(model, sites, expected):
    assert names(model, sites) == expected


def test_stars_that_fit_nothing_or_too_little_are_refused(model):
    with pytest.raises(SiteError, match=r"'blocks\.\*\.ln1:in' fits no site"):
        names(model, ["blocks.*.ln1:in", "output"])
    with pytest.raises(SiteError, match="at least two sites"):
        names(model, ["n*m:in"])
    with pytest.raises(SiteError, match="goes around|does not hold"):
        names(model, ["blocks.*.norm1:out", "output"])


def test_twelve_layers_fit_a_screen():
    table = libasis.find_sites(Stack(12).eval(), X)
    lines = str(table).splitlines()
    assert len(lines) < 20
    assert len(str(table)) < 3_000
    line = next(line for line in lines if line.startswith("blocks.*.norm2:in"))
    assert line.split()[1:5] == ["x12", "[4]", "LayerNorm", "yes"]
    assert "closed form, pointwise" in line
    shown = [line.split()[0] for line in lines[1:] if " yes " in line]
    assert len(libasis.trace(Stack(12).eval(), X, shown).sites) == sum(row.ok for row in table)


def test_a_row_for_each_tensor_with_all_its_names(model):
    table = libasis.find_sites(model, X)
    row = table.row("blocks.1")
    assert row.name == "blocks.2.norm1:in"
    assert {"blocks.1:out", "blocks.2:in"} <= set(row.aliases)
    assert len({name for row in table for name in row.names}) == sum(len(row.names) for row in table)
    with pytest.raises(KeyError):
        table.row("blocks.9")
