"""A model of any width for the benchmarks."""

from __future__ import annotations

import torch
from torch import nn


class Block(nn.Module):
    """LayerNorm, MLP, and the residual stream."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[batch, position, width]``."""
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))
