"""LayerNorm and RMSNorm in a graph: as one operation, or written out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from ..cut.program import aten
from .roles import sizes

if TYPE_CHECKING:
    from .reader import Reader

CASTS = {aten._to_copy.default, aten.to.dtype, aten.to.dtype_layout, aten.to.device}


@dataclass(frozen=True)
class NormNodes:
    """A norm of the source.

    Attributes:
        centred: LayerNorm (True) or RMSNorm.
        eps: added to the mean square.
        gain: node of the gain [d], None for ones.
        shift: node of the shift [d], None for zeros.
    """

    centred: bool
    eps: float
    gain: fx.Node | None = None
    shift: fx.Node | None = None


def match_norm(reader: Reader, node: fx.Node) -> NormNodes | None:
    """The norm whose output a node is, if it is one of the whole source."""
    roles = reader.values[reader.source].roles
    if roles[-1] != "f" or roles.count("f") != 1:
        return None
    if node.target in (aten.layer_norm.default, aten.rms_norm.default, aten.native_layer_norm.default):
        return _operation(reader, node)
    return _written_out(reader, node)


def uncast(node: Any) -> Any:
    """The value before any change of dtype or device."""
    while isinstance(node, fx.Node) and node.target in CASTS:
        node = node.args[0]
    return node


def _is_source(reader: Reader, node: Any) -> bool:
    return uncast(node) is reader.source


def _constant(reader: Reader, node: Any) -> bool:
    return node is None or (isinstance(node, fx.Node) and reader.program.taint[node] == "")


def _operation(reader: Reader, node: fx.Node) -> NormNodes | None:
    args = [*node.args, *[None] * 4]
    source, dims, gain = args[0], args[1], args[2]
    if not _is_source(reader, source) or list(dims) != sizes(reader.source)[-1:]:  # pyright: ignore
        return None
    if node.target is aten.rms_norm.default:
        eps: Any = args[3]
        eps = torch.finfo(node.meta["val"].dtype).eps if eps is None else eps
        return NormNodes(False, float(eps), gain) if _constant(reader, gain) else None  # pyright: ignore
    if not (_constant(reader, gain) and _constant(reader, args[3])):
        return None
    return NormNodes(True, 1e-5 if args[4] is None else float(args[4]), gain, args[3])  # pyright: ignore


def _written_out(reader: Reader, node: fx.Node) -> NormNodes | None:
    """``c * rsqrt(mean(c^2) + eps)`` and its like, where c is the source or the source less its mean."""
    if node.target not in (aten.mul.Tensor, aten.div.Tensor) or len(node.args) < 2:
        return None
    pairs = [node.args[:2]] if node.target is aten.div.Tensor else [node.args[:2], node.args[1::-1]]
    for value, scale in pairs:
        mean_square = _inverse_root(uncast(scale), divided=node.target is aten.div.Tensor)
        if mean_square is None:
            continue
        centred = _centred(reader, value)
        eps = _mean_square_of(reader, mean_square, uncast(value))
        if centred is not None and eps is not None:
            return NormNodes(centred, eps)
    return None


def _inverse_root(node: Any, *, divided: bool) -> Any:
    """What stands under the root of ``1 / sqrt(.)`` (or of ``sqrt(.)`` where one divides by it)."""
    if not isinstance(node, fx.Node):
        return None
    if divided:
        power = node.target is aten.pow.Tensor_Scalar and node.args[1] == 0.5
        return node.args[0] if node.target is aten.sqrt.default or power else None
    if node.target is aten.rsqrt.default or (node.target is aten.pow.Tensor_Scalar and node.args[1] == -0.5):
        return node.args[0]
    if node.target is aten.reciprocal.default:
        return _inverse_root(node.args[0], divided=True)
    return None


def _centred(reader: Reader, value: Any) -> bool | None:
    value = uncast(value)
    if value is reader.source:
        return False
    if not isinstance(value, fx.Node) or value.target is not aten.sub.Tensor or not _is_source(reader, value.args[0]):
        return None
    mean = uncast(value.args[1])
    return True if _is_mean_over_features(mean) and _is_source(reader, mean.args[0]) else None


def _is_mean_over_features(node: Any) -> bool:
    if not isinstance(node, fx.Node) or node.target is not aten.mean.dim:
        return False
    dims = list(node.args[1])  # pyright: ignore
    last = len(sizes(node)) - 1
    return dims in ([-1], [last]) and len(node.args) > 2 and bool(node.args[2])


def _mean_square_of(reader: Reader, node: Any, value: Any) -> float | None:
    """Epsilon, if a node is ``mean(value^2) + eps`` over the features (or the variance of the source, plus eps)."""
    node, eps = uncast(node), 0.0
    if isinstance(node, fx.Node) and node.target in (aten.add.Tensor, aten.add.Scalar):
        numbers = [a for a in node.args[:2] if isinstance(a, (int, float))]
        rest = [a for a in node.args[:2] if isinstance(a, fx.Node)]
        if len(numbers) != 1 or len(rest) != 1:
            return None
        node, eps = uncast(rest[0]), float(numbers[0])
    if _is_mean_over_features(node):
        return eps if _is_square(uncast(node.all_input_nodes[0]), value) else None
    plain = _is_variance(node) and value is not reader.source
    return eps if plain and _is_source(reader, node.all_input_nodes[0]) else None


def _is_variance(node: Any) -> bool:
    """Whether a node is the mean squared deviation over the features, kept as a dimension."""
    if not isinstance(node, fx.Node) or node.target not in (aten.var.correction, aten.var.dim):
        return False
    by_dim = node.target is aten.var.dim
    names = ("", "dim", "unbiased", "keepdim") if by_dim else ("", "dim")
    given = dict(zip(names, node.args, strict=False)) | node.kwargs
    biased = given.get("unbiased", True) is False if by_dim else given.get("correction", 1) == 0
    return bool(biased and given.get("keepdim")) and given.get("dim") in ([-1], [len(sizes(node)) - 1])


def _is_square(node: Any, value: Any) -> bool:
    if not isinstance(node, fx.Node):
        return False
    if node.target is aten.pow.Tensor_Scalar:
        return bool(node.args[1] == 2) and uncast(node.args[0]) is value
    if node.target is aten.square.default:
        return uncast(node.args[0]) is value
    return node.target is aten.mul.Tensor and all(uncast(a) is value for a in node.args[:2])
