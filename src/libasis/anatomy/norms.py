"""Norms in a graph, recognised by what they compute: a gain times the input over its root mean square."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from ..cut.program import aten
from .components import Norm

NORMS = {aten.layer_norm.default, aten.rms_norm.default, aten.group_norm.default}
QUOTIENTS = {aten.mul.Tensor, aten.div.Tensor}
_SMALL = 2.0**-10


@dataclass(frozen=True)
class NormNode:
    r"""A norm of a value: :math:`g \circ \Pi x / \sigma + \beta`.

    Attributes:
        norm: without gain and shift.
        gain: ``[d]``.
        shift: ``[d]``.
    """

    norm: Norm
    gain: Tensor
    shift: Tensor


def may_be_norm(node: fx.Node, inside: Callable[[fx.Node], bool]) -> bool:
    """Whether it is worth running: an operation that normalises, or a product of values that depend on the input."""
    return node.target in NORMS or (node.target in QUOTIENTS and sum(inside(n) for n in node.all_input_nodes) == 2)


def norm_of(run: Callable[[Tensor], Tensor], d: int, device: torch.device | None) -> NormNode | None:
    """The norm that a function of vectors is, or None.

    Args:
        run: from vectors ``[n, d]`` in float64 to the same shape.
        d: width.
        device: on which it runs.
    """
    x = torch.randn(6, d, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(device) + 0.25
    x = x * x.new_tensor([1.0, 0.5, 3.0, 1.0, 2.0, 1.0])[:, None]
    x[3] = _SMALL * x[0]
    y, back = run(x), run(-x)
    if y.shape != x.shape or not bool(torch.isfinite(y).all() and torch.isfinite(back).all()):
        return None
    shift, odd = (y + back)[0] / 2, (y - back) / 2
    if not _close(y + back, 2 * shift.expand_as(y)):
        return None
    for centred in (False, True):
        c = x - x.mean(-1, keepdim=True) if centred else x
        if (found := _fitted(c, odd, shift, centred=centred)) is not None:
            return found
    return None


def _fitted(c: Tensor, odd: Tensor, shift: Tensor, *, centred: bool) -> NormNode | None:
    r"""The norm with odd = g c / sigma, from the first vector and a small multiple of it."""
    r = c.square().mean(-1).sqrt()
    ratio = odd[0] / c[0]
    largest = int((odd[0].abs()).argmax())
    if not bool(torch.isfinite(ratio).all()) or not ratio[largest]:
        return None
    scale = ratio[largest] / (odd[3, largest] / c[3, largest])  # sigma_3 / sigma_0
    if not bool(torch.isfinite(scale)) or abs(1 - float(scale)) < 1e-4:
        return None
    inside = _written(float(((scale * r[0]) ** 2 - r[3] ** 2) / (1 - scale**2)))
    beside = _written(float((scale * r[0] - r[3]) / (1 - scale)))
    for norm in (*(Norm(centred, eps) for eps in inside), *(Norm(centred, 0.0, eps) for eps in beside)):
        if not 0.0 <= norm.eps + norm.beside < 1.0:
            continue
        inverse = norm(c)[1]
        gain = ratio / inverse[0]
        if _close(gain * c * inverse, odd):
            return NormNode(norm, gain, shift)
    return None


def _written(eps: float) -> list[float]:
    """What an eps may be: rounded as people write it, and as it is (1e-5 in float32); one of no effect is none."""
    if abs(eps) < 1e-14:
        return [0.0]
    near = float(f"{eps:.4g}")
    return [near, eps] if abs(near - eps) < 1e-6 * abs(eps) + 1e-14 else [eps]


def _close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-9 * (1e-3 + b.abs().max()))
