"""Fashion-MNIST as parts on a line: images of one class, and the same with a defect planted in known pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from experiments.images import read
from torch import Tensor, nn
from torch.nn import functional as F

DEFECTS = ("scratch", "dead pixels", "bright spot", "blur", "shifted block", "missing piece")
SIDE = 28
COUNTS = [1500, 600, 200, 200]
"""Images to learn what is normal, to learn the defect, and of the two groups."""


@dataclass(frozen=True)
class Line:
    """Images of one class, without and with a defect, and where it is.

    Attributes:
        train: ``[n, 1, 28, 28]``, of which a model learns what is normal.
        bad: others with the defect, of which a classifier learns.
        normal: others without it.
        anomalous: others with it.
        planted: the pixels that the defect may change, ``[28, 28]``.
    """

    train: Tensor
    bad: Tensor
    normal: Tensor
    anomalous: Tensor
    planted: Tensor


def line(kind: str, seed: int, part: int, folder: Path | None = None) -> Line:
    """A line of parts of one class (0 to 9) and one defect.

    Raises:
        MissingDataError: there is no Fashion-MNIST.
    """
    pixels, classes = read("fashion", None if folder is None else str(folder))[0]
    generator = torch.Generator().manual_seed(seed)
    own = (classes == part).nonzero().flatten()
    some = pixels[own[torch.randperm(len(own), generator=generator)[: sum(COUNTS)]]]
    train, bad, normal, anomalous = some.split(COUNTS)
    top, left = (int(i) for i in torch.randint(7, 16, (2,), generator=generator))
    planted = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    planted[_where(kind, top, left)] = True
    bad, anomalous = (_defect(kind, images, planted, generator) for images in (bad, anomalous))
    return Line(train, bad, normal, anomalous, planted)


def _where(kind: str, top: int, left: int) -> tuple[Tensor, Tensor]:
    """Rows and columns of the pixels of a defect."""
    if kind == "scratch":
        along = torch.arange(8)
        return torch.cat([top + along, top + along]), torch.cat([left + along // 2, left + 1 + along // 2])
    height, width = {"dead pixels": (3, 3), "blur": (8, 8)}.get(kind, (6, 5))
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    return top + places[:, 0], left + places[:, 1]


def _defect(kind: str, images: Tensor, planted: Tensor, generator: torch.Generator) -> Tensor:
    changed: dict[str, Callable[[], Tensor]] = {
        "scratch": lambda: torch.full_like(images, 0.95),
        "dead pixels": lambda: torch.ones_like(images),
        "bright spot": lambda: (images + 0.35).clamp(max=1),
        "blur": lambda: F.avg_pool2d(images, 7, 1, 3),
        "shifted block": lambda: images.roll(4, 3),
        "missing piece": lambda: torch.zeros_like(images),
    }
    noise = 0.02 * torch.rand(images.shape, generator=generator)
    return torch.where(planted, (changed[kind]() + noise).clamp(0, 1), images)


def inspector(seed: int) -> nn.Module:
    """A small convolutional classifier of images: good or bad."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * 49, 2),
    )  # fmt: skip


class Copier(nn.Module):
    """An autoencoder of images; in eval mode the largest error of a neighbourhood of 4 x 4 pixels, ``[n, 1]``."""

    def __init__(self, seed: int, code: int = 32) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(SIDE**2, 128), nn.ReLU(), nn.Linear(128, code),
            nn.Linear(code, 128), nn.ReLU(), nn.Linear(128, SIDE**2), nn.Unflatten(1, (1, SIDE, SIDE)),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """The copy in training, the score after it."""
        copy = self.net(x)
        return copy if self.training else F.avg_pool2d((x - copy).square(), 4, 2).flatten(1).amax(1, keepdim=True)


def patches(planted: Tensor, side: int = 4) -> tuple[str, ...]:
    """The names of the patches that hold planted pixels."""
    found = F.max_pool2d(planted[None, None].float(), side)[0, 0].nonzero().tolist()
    return tuple(f"rows {side * r}-{side * r + side - 1}, columns {side * c}-{side * c + side - 1}" for r, c in found)
