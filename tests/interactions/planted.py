"""Networks with planted modules: block-diagonal weights that no neuron shows."""

import torch
from torch import nn

import libasis
from chains import F64


class Planted(nn.Module):
    """Layers of MLPs that work on blocks of a stream, which is turned by a random rotation at every layer.

    Args:
        widths: size of each block.
        layers: number of MLPs.
        leak: size of the weights between blocks beside those inside.
        generator: of all weights.
    """

    def __init__(self, widths, layers, leak, generator):
        super().__init__()
        d = sum(widths)
        self.blocks = torch.arange(len(widths)).repeat_interleave(torch.tensor(widths))
        inside = (self.blocks[:, None] == self.blocks).to(F64)
        mask = leak + (1 - leak) * inside
        scale = inside.sum(0).rsqrt()
        random = lambda *shape: torch.randn(*shape, generator=generator, dtype=F64)  # noqa: E731
        turns = [torch.linalg.qr(random(d, d))[0] for _ in range(layers)]
        self.turns = [*turns, torch.eye(d, dtype=F64)]  # the output is not turned
        self.ups = nn.ModuleList(nn.Linear(d, 2 * d, dtype=F64) for _ in range(layers))
        self.downs = nn.ModuleList(nn.Linear(2 * d, d, dtype=F64) for _ in range(layers))
        for up, down, before, after in zip(self.ups, self.downs, self.turns[:-1], self.turns[1:], strict=True):
            order = torch.randperm(2 * d, generator=generator)
            A = random(2 * d, d) * mask.repeat(2, 1) * scale
            B = random(d, 2 * d) * mask.repeat(1, 2) * scale.repeat(2)
            up.weight = nn.Parameter(A[order] @ before.T)
            down.weight = nn.Parameter(after @ B[:, order])

    def forward(self, x):
        for up, down in zip(self.ups, self.downs, strict=True):
            x = down(nn.functional.gelu(up(x)))
        return x


def planted(widths, layers=3, leak=0.0, seed=0, n=20_000, **options):
    """The graph of such a network, and the block of each feature that has nine tenths of its variance in one, by id."""
    generator = torch.Generator().manual_seed(seed)
    model = Planted(widths, layers, leak, generator).eval()
    x = torch.randn(n, sum(widths), generator=generator, dtype=F64) @ model.turns[0].T
    sites = [*(f"ups.{l}:in" for l in range(layers)), "output"]
    graph = libasis.build(model, list(x.split(5000)), sites, progress=False, **options)
    truth = {}
    for site, turn in zip(graph.basis, model.turns, strict=True):
        shares = torch.zeros(site.k, len(widths), dtype=F64)
        shares.index_add_(1, model.blocks, (turn.T @ site.C).T * (site.C_pinv @ turn))  # each row sums to 1
        clear = shares.max(1).values > 0.9
        truth |= {f"{site.name}:{i}": int(block) for i, block in enumerate(shares.argmax(1)) if clear[i]}
    return graph, truth
