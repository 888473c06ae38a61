"""A folder of images: classes as sub-folders, or flat without targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import SourceError, first_line, optional
from ..files import open_regular
from .file_batches import FileBatches

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
MODES = {"L": "L", "RGB": "RGB", "1": "L", "P": "RGB"}


def read_images(folder: Path) -> FileBatches:
    """Images as float32 ``[batch, channel, height, width]`` in 0..1; grey ones have one channel, others three.

    Each sub-folder is a class, numbered in alphabetical order of the names; without sub-folders there are no targets.

    Raises:
        SourceError: no images, images beside class folders, an image that cannot be read, or different sizes.
    """
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    flat = _images(folder)
    if classes and flat:
        raise SourceError(f"{folder} holds both class folders and images ({flat[0].name}); keep one or the other.")
    groups = [_images(c) for c in classes] if classes else [flat]
    for group, place in zip(groups, classes or [folder], strict=True):
        if not group:
            raise SourceError(f"{place} holds no images ({', '.join(SUFFIXES)}).")
    pillow: Any = optional("PIL.Image", "data", f"Reading the images of {folder}")
    paths = [path for group in groups for path in group]
    first = _read(paths[0], pillow)
    pixels = np.empty((len(paths), *first.shape), np.uint8)
    for i, path in enumerate(paths):
        image = _read(path, pillow)
        if image.shape != first.shape:
            raise SourceError(
                f"All images must have the same size, but {paths[0]} has {_size(first)} and {path} has {_size(image)}."
            )
        pixels[i] = image
    targets = torch.tensor([c for c, group in enumerate(groups) for _ in group]) if classes else None
    names = [path.name for path in classes] or None
    files = [str(path) for path in paths]
    return FileBatches(torch.from_numpy(pixels), targets, scale=255.0, classes=names, files=files)


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def _read(path: Path, pillow: Any) -> np.ndarray:
    """Pixels ``[channel, height, width]``, bytes."""
    try:
        with open_regular(path, refusal=SourceError) as file, pillow.open(file, formats=FORMATS) as image:
            if (frames := getattr(image, "n_frames", 1)) > 1:
                raise SourceError(f"{path} holds {frames} images; save each in a file of its own.")
            mode = MODES.get(image.mode)
            if mode is not None:
                pixels = np.asarray(image.convert(mode), np.uint8)
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(f"{path} cannot be read as an image: {first_line(error).partition(' <')[0]}.") from error
    if mode is None:
        raise SourceError(f"{path} has the colour mode {image.mode!r}; save it as grey (8 bits) or RGB.")
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _size(pixels: np.ndarray) -> str:
    channels, height, width = pixels.shape
    return f"{width} x {height} pixels in {channels} channel{'s' if channels > 1 else ''}"
