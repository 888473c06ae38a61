"""Images and the models that read them: digits, Fashion-MNIST, CIFAR-10; an MLP and a small residual CNN.

Fashion-MNIST is read from a folder of gzipped idx files (Debian's dataset-fashion-mnist, or the user's own), CIFAR-10
from the user's own files. Models are trained on the first call, from a seed, and kept under build/models.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from experiments.training import Settings, trained
from torch import Tensor, nn

from libasis.data import read as read_file
from libasis.demo import digits
from libasis.run.errors import MissingDataError

FASHION = "/usr/share/datasets/fashion-mnist"
CIFAR = "data/cifar10"
BATCH = 250


class Images(NamedTuple):
    """Images as float32 in 0..1, ``[n, channel, height, width]``, and classes, int64 ``[n]``."""

    pixels: Tensor
    classes: Tensor


def read(name: str, folder: str | None = None, seed: int = 0) -> tuple[Images, Images]:
    """Training and test images of ``"digits"``, ``"fashion"`` or ``"cifar10"``; ``seed`` splits the digits only.

    Raises:
        MissingDataError: the files are not there.
    """
    if name == "digits":
        return tuple(Images(pixels.view(-1, 1, 8, 8), classes) for pixels, classes in digits.split(seed))
    return _fashion(Path(folder or FASHION)) if name == "fashion" else _cifar10(Path(folder or CIFAR))


def _fashion(folder: Path) -> tuple[Images, Images]:
    names = [f"{part}-{kind}.gz" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    if missing := [n for n in names if not (folder / n).is_file()]:
        raise MissingDataError(
            f"There is no {folder / missing[0]}; install Debian's dataset-fashion-mnist, or set data.arguments.folder "
            "and model.arguments.folder to a folder with the four files."
        )
    arrays = [_idx(folder / name) for name in names]
    return tuple(
        Images(torch.from_numpy(images).float()[:, None] / 255, torch.from_numpy(classes).long())
        for images, classes in zip(arrays[::2], arrays[1::2], strict=True)
    )


def _idx(path: Path) -> np.ndarray:
    """An idx file of bytes: two zeros, the type, the number of dimensions, their sizes, the bytes."""
    content = gzip.decompress(path.read_bytes())
    sizes = np.frombuffer(content, ">u4", count=content[3], offset=4).astype(int)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(sizes).copy()


def _cifar10(folder: Path) -> tuple[Images, Images]:
    """The binary version, or train.npz and test.npz (arrays x and y), or the folders train/ and test/ of classes."""
    files = [folder / f"data_batch_{i}.bin" for i in range(1, 6)], [folder / "test_batch.bin"]
    if all(file.is_file() for part in files for file in part):
        return tuple(_binary(part) for part in files)
    if all((folder / f"{part}.npz").is_file() for part in ("train", "test")):
        return tuple(_arrays(folder / f"{part}.npz") for part in ("train", "test"))
    if all((folder / part).is_dir() for part in ("train", "test")):
        return tuple(_folder(folder / part) for part in ("train", "test"))
    if (folder / "data_batch_1").is_file():
        raise MissingDataError(
            f"{folder} holds the Python version of CIFAR-10, pickles that are never opened; use the binary one."
        )
    raise MissingDataError(
        f"There is no CIFAR-10 in {folder}; set data.arguments.folder and model.arguments.folder to a folder with "
        "data_batch_1.bin to data_batch_5.bin and test_batch.bin, or train.npz and test.npz, or train/ and test/."
    )


def _binary(files: list[Path]) -> Images:
    """Records of one byte for the class and 3 x 32 x 32 for the pixels."""
    rows = np.concatenate([np.frombuffer(file.read_bytes(), np.uint8).reshape(-1, 3073) for file in files])
    pixels = torch.from_numpy(rows[:, 1:].reshape(-1, 3, 32, 32).copy()).float() / 255
    return Images(pixels, torch.from_numpy(rows[:, 0].astype(np.int64)))


def _arrays(path: Path) -> Images:
    with np.load(path, allow_pickle=False) as file:
        x, y = file["x"], file["y"]
    x = x.transpose(0, 3, 1, 2) if x.shape[-1] == 3 else x
    return Images(torch.from_numpy(x.astype(np.float32)) / 255, torch.from_numpy(y.reshape(-1).astype(np.int64)))


def _folder(folder: Path) -> Images:
    opened: Any = read_file(folder)
    return Images(opened.inputs.float() / 255, opened.targets)


class MLP(nn.Module):
    """An MLP of two hidden layers with ReLU on flattened images: sites ``fc1:in``, ``fc2:in``, ``fc3:in``."""

    def __init__(self, pixels: int, hidden: int = 100, classes: int = 10) -> None:
        super().__init__()
        self.fc1 = nn.Linear(pixels, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[batch, classes]`` of pixels ``[batch, pixels]``."""
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


class Block(nn.Module):
    """x + conv(relu(norm(conv(x)))): the stream keeps its shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, width, height, width]`` to the same shape."""
        return x + self.conv2(torch.relu(self.norm(self.conv1(x))))


class ResidualCNN(nn.Module):
    """A small residual CNN with batch norm: a stem that makes the image smaller, two blocks, the mean, a linear map.

    Sites worth cutting at: ``block1:in`` and ``block2:in`` (features are the channels, at each pixel of the map),
    ``head:in`` (channels, averaged over the map), ``output``.
    """

    def __init__(self, channels: int, shrink: int, width: int = 16, classes: int = 10, *, deep: bool = False) -> None:
        super().__init__()
        self.stem: nn.Module = nn.Conv2d(channels, width, 3, padding=1, stride=2 if shrink > 2 else 1, bias=False)
        if deep:  # before the first site
            again = nn.Conv2d(width, width, 3, padding=1, bias=False)
            self.stem = nn.Sequential(self.stem, nn.BatchNorm2d(width), nn.ReLU(), again)
        self.norm = nn.BatchNorm2d(width)
        self.pool = nn.AvgPool2d(shrink // 2 if shrink > 2 else shrink)
        self.block1 = Block(width)
        self.block2 = Block(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[batch, classes]`` of images ``[batch, channels, height, width]``."""
        x = self.pool(torch.relu(self.norm(self.stem(images))))
        return self.head(self.block2(self.block1(x)).mean((2, 3)))


SETTINGS = {
    ("digits", "cnn"): Settings(steps=1500),
    ("fashion", "mlp"): Settings(steps=3000),
    ("fashion", "cnn"): Settings(steps=3000),
    ("cifar10", "mlp"): Settings(lr=1e-3, steps=20_000),
    ("cifar10", "cnn"): Settings(steps=4000),
}


def model(name: str, kind: str, seed: int = 0, folder: str | None = None) -> nn.Module:
    """The model of a data set and a seed, ``kind`` being ``"mlp"`` or ``"cnn"``."""
    train, test = read(name, folder, seed)
    channels, height, width = train.pixels.shape[1:]

    def build() -> nn.Module:
        if kind == "mlp":
            return MLP(channels * height * width)
        if name == "cifar10":
            return ResidualCNN(channels, 4, 32, deep=True)
        return ResidualCNN(channels, {8: 2}.get(height, 4))

    flat = [Images(_shaped(part.pixels, kind), part.classes) for part in (train, test)]
    return trained(f"{name}-{kind}-{seed}", build, flat[0], flat[1], seed, SETTINGS[name, kind])


def data(name: str, kind: str, seed: int = 0, folder: str | None = None) -> tuple[Any, Any]:
    """Training and test batches."""
    return tuple(
        list(zip(_shaped(part.pixels, kind).split(BATCH), part.classes.split(BATCH), strict=True))
        for part in read(name, folder, seed)
    )


def _shaped(pixels: Tensor, kind: str) -> Tensor:
    return pixels.flatten(1) if kind == "mlp" else pixels
