"""What a model says of classes: logits, logarithms of probabilities, or the probabilities themselves."""

from __future__ import annotations

import torch
from torch import Tensor

SUM = 1e-4
"""How far the sum of probabilities in float32 is from one, at most."""


def are_probabilities(x: Tensor) -> bool:
    """Whether all rows ``[..., class]`` are probabilities: none below 0, and a sum of 1 up to rounding."""
    if x.shape[-1] < 2 or not x.numel() or not x.is_floating_point():
        return False
    allowed = max(SUM, 2 * torch.finfo(x.dtype).eps)

    def are(rows: Tensor) -> bool:
        return bool(((rows >= 0).all(-1) & ((rows.sum(-1, dtype=torch.float64) - 1).abs() <= allowed)).all())

    return are(x.reshape(-1, x.shape[-1])[:1]) and are(x)


def log_probabilities(x: Tensor, *, probabilities: bool | None = None) -> Tensor:
    """Their logarithms, ``[..., class]``, in float32 or wider: of probabilities themselves, and of others the softmax.

    Args:
        x: what the model returns.
        probabilities: which of the two it is; None looks.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    if are_probabilities(x.detach()) if probabilities is None else probabilities:
        return x.clamp_min(torch.finfo(x.dtype).tiny).log()
    return x.log_softmax(-1)
