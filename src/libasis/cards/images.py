"""Images of samples: their shape in the inputs, small copies of them, and PNG files in base64."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import OptionError
from ..types import Plain

SIDE = 64
"""Larger images are shown smaller, with this longer side."""

COLOURS = {1: ("",), 3: (" red", " green", " blue")}


@dataclass(frozen=True)
class Format:
    """How one image lies in the numbers of a sample.

    Attributes:
        channels: 1 (grey) or 3 (red, green, blue).
        height: in pixels.
        width: in pixels.
        channels_last: whether the channels of a pixel are neighbours.
    """

    channels: int
    height: int
    width: int
    channels_last: bool = False

    @classmethod
    def of(cls, x: Tensor, given: Sequence[int] | None) -> Format:
        """That of inputs ``[batch, ...]``: what is given, else read off their shape; flat ones may be squares.

        Raises:
            OptionError: what is given does not fit, or the shape is no image's.
        """
        numbers, shape = x[0].numel(), tuple(x.shape[1:])
        if given is not None:
            whole = (1, *given) if len(given) == 2 else tuple(given)
            if len(whole) == 3 and math.prod(whole) == numbers and whole[0] in COLOURS:
                return cls(*whole)
            raise OptionError(
                f"image_shape is {list(given)}, but a sample has the shape {list(shape)}; give [height, width] or "
                "[channels, height, width] with one or three channels and as many numbers."
            )
        if len(shape) == 3 and shape[0] in COLOURS:
            return cls(*shape)
        if len(shape) == 3 and shape[2] in COLOURS:
            return cls(shape[2], shape[0], shape[1], channels_last=True)
        if len(shape) == 2:
            return cls(1, *shape)
        side = math.isqrt(numbers)
        if len(shape) == 1 and side * side == numbers:
            return cls(1, side, side)
        raise OptionError(
            f'kind is "image", but a sample has the shape {list(shape)}; give image_shape=[height, width].'
        )

    def small(self, x: Tensor) -> Tensor:
        """A copy of one sample as ``[channel, height, width]``, not larger than `SIDE`."""
        x = x.detach().to("cpu", torch.float32)
        if self.channels_last:
            x = x.reshape(self.height, self.width, self.channels).movedim(-1, 0)
        x = x.reshape(self.channels, self.height, self.width)
        scale = SIDE / max(self.height, self.width)
        if scale >= 1:
            return x.clone()
        size = (max(1, round(self.height * scale)), max(1, round(self.width * scale)))
        return F.interpolate(x[None], size=size, mode="area")[0]

    def pixels(self) -> list[str]:
        """Names of the numbers of a sample in their order."""
        places = [(r, c) for r in range(self.height) for c in range(self.width)]
        colours = COLOURS[self.channels]
        if self.channels_last:
            return [f"pixel ({r}, {c}){colour}" for r, c in places for colour in colours]
        return [f"pixel ({r}, {c}){colour}" for colour in colours for r, c in places]


def grey_range(low: float, high: float) -> tuple[float, float]:
    """What black and white stand for: the data's range, or 0 and 1 (0 and 255) where these are the data's limits."""
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    if low >= 0 and 64 < high <= 255:
        return 0.0, 255.0
    return low, high


def png(image: Tensor, low: float, high: float) -> Plain:
    """An image ``[channel, height, width]`` as plain data, black at ``low`` and white at ``high``."""
    scaled = (image - low) / (high - low if high > low else 1.0)
    pixels = (scaled.clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).numpy()
    picture = pillow().fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"kind": "image", "png": text, "width": picture.width, "height": picture.height}


def pillow() -> Any:
    """The library that writes images.

    Raises:
        OptionError: it is not installed.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise OptionError(
            "Showing images needs pillow: pip install 'libasis[data]', or say kind=\"number\"."
        ) from error
    return Image
