"""What torch computes in ways that an export cannot express, in operations that it can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _bag(input: Tensor, weight: Tensor, offsets: Any = None, *rest: Any, **more: Any) -> Any:
    """Rows of a table, summed or averaged; None where bags differ in size, or rows are left out or rescaled."""
    named = ("max_norm", "norm_type", "scale_grad_by_freq", "mode", "sparse", "per_sample_weights")
    more = dict(zip(named, rest, strict=False)) | more
    if input.ndim != 2 or offsets is not None or more.get("max_norm") or more.get("padding_idx") is not None:
        return None
    rows, each = F.embedding(input, weight), more.get("per_sample_weights")
    if each is not None:
        rows = rows * each[..., None]
    kind = more.get("mode", "mean")
    return rows.amax(1) if kind == "max" else rows.sum(1) if kind == "sum" else rows.mean(1)


def _quantized(
    x: Tensor, scale: Any, zero_point: Any, quant_min: int, quant_max: int, axis: int | None = None
) -> Tensor:
    """Rounded to steps, as in a model that is trained for whole numbers; the steps are of float32 in any dtype."""
    step = torch.as_tensor(scale, dtype=torch.float32, device=x.device)
    zero = torch.as_tensor(zero_point, device=x.device)
    if axis is not None:
        shape = [-1 if i == axis % x.ndim else 1 for i in range(x.ndim)]
        step, zero = step.reshape(shape), zero.reshape(shape)
    whole = (x * step.reciprocal().to(x.dtype)).round() + zero.to(x.dtype)
    return (whole.clamp(quant_min, quant_max) - zero.to(x.dtype)) * step.to(x.dtype)


def _per_channel(x: Tensor, scale: Tensor, zero_point: Tensor, axis: int, low: int, high: int) -> Tensor:
    return _quantized(x, scale, zero_point, low, high, axis)


SPELLED: dict[Any, Callable[..., Any]] = {
    F.embedding_bag: _bag,
    torch.fake_quantize_per_tensor_affine: _quantized,
    torch.fake_quantize_per_channel_affine: _per_channel,
}


def mask_as_given(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A hook of torch's encoders and decoders: they look at the values of a mask only to choose a faster kernel."""
    name, place = ("is_causal", 3) if isinstance(module, nn.TransformerEncoder) else ("tgt_is_causal", 6)
    if len(args) > place or kwargs.get(name) is not None:
        return None
    return args, {**kwargs, name: False}
