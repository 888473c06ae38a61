"""What images of both groups look like, for the page: which pixels an input is."""

from __future__ import annotations

import torch

from ..cards.images import Format, grey_range, pillow, png
from ..errors import OptionError
from ..types import Plain
from .effects import Effects


def picture_of(effects: Effects, image_shape: tuple[int, ...] | None) -> Plain | None:
    """An anomalous image of median score, the normal one most like it, and the box of each input.

    None of rows that are no images, of images without one or three channels, and where the library that writes images
    is not installed.
    """
    change = effects.exchange
    groups = change.groups
    if not groups.image:
        return None
    at = int(effects.base.argsort()[len(change.rows) // 2])
    like = int(change.nearest(0, 1)[at, 0])
    shown = torch.stack([change.normal[like], change.rows[at]]).reshape(2, *groups.shape)
    try:
        pillow()
        form = Format.of(shown, image_shape)
    except OptionError:
        return None
    low, high = grey_range(float(groups.normal.min()), float(groups.normal.max()))
    normal, anomalous = (png(form.small(image), low, high) for image in shown)
    size = [form.height, form.width]
    return {
        "normal": normal,
        "anomalous": anomalous,
        "size": size,
        "boxes": dict(zip(groups.names, groups.boxes, strict=True)),
    }
