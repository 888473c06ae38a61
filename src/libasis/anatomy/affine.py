"""Whether a section is affine, positions mixed or not: convolutions, pools by the mean, flattening, linear layers."""

from __future__ import annotations

import operator
from weakref import WeakKeyDictionary

from torch import fx

from ..cut import Context
from ..cut.program import aten, is_float, is_size, walk
from ..cut.subgraph import Subgraph
from .contractions import contraction
from .normal_form import normalised
from .roles import COPIES, at, not_read, not_real

_MOVES = {
    aten.reshape.default, aten.flatten.using_ints, aten.unflatten.int, aten.squeeze.dim, aten.squeeze.dims,
    aten.squeeze.default, aten.unsqueeze.default, aten.permute.default, aten.transpose.int, aten.t.default,
    aten.expand.default, aten.slice.Tensor, aten.select.int, aten.split.Tensor, aten.split_with_sizes.default,
    aten.chunk.default, aten.cat.default, aten.stack.default, aten.roll.default, aten.flip.default,
    aten.constant_pad_nd.default, aten.pad.default, aten.repeat.default, operator.getitem, aten.index_select.default,
    aten.repeat_interleave.self_int, aten.pixel_shuffle.default, aten.pixel_unshuffle.default, aten.unbind.int,
    aten.unfold.default, aten.im2col.default, aten.tril.default, aten.triu.default, aten.cumsum.default,
    aten.upsample_nearest1d.vec, aten.upsample_nearest2d.vec, aten.upsample_nearest3d.vec,
    aten.upsample_linear1d.vec, aten.upsample_bilinear2d.vec, aten.upsample_bicubic2d.vec,
    aten.upsample_trilinear3d.vec, aten._upsample_bilinear2d_aa.vec, aten._upsample_bicubic2d_aa.vec,
    aten.col2im.default, aten.channel_shuffle.default, aten.narrow.default,
}  # fmt: skip
_SUMS = {
    aten.add.Tensor, aten.sub.Tensor, aten.neg.default, aten.rsub.Scalar, aten.add.Scalar, aten.sub.Scalar,
    aten.mean.dim, aten.mean.default, aten.sum.dim_IntList, aten.sum.default, aten.avg_pool1d.default,
    aten.avg_pool2d.default, aten.avg_pool3d.default, aten.adaptive_avg_pool1d.default,
    aten.adaptive_avg_pool2d.default, aten.adaptive_avg_pool3d.default, aten.mul.Scalar, aten.div.Scalar,
}  # fmt: skip
LINEAR = _MOVES | _SUMS
_PRODUCTS = {  # affine in any one of their tensors
    aten.mul.Tensor, aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.conv1d.padding,
    aten.conv2d.padding, aten.conv3d.padding, aten.conv_transpose1d.default, aten.conv_transpose2d.input,
    aten.conv_transpose3d.input,
}  # fmt: skip
_FIRST_ONLY = {aten.div.Tensor, aten.batch_norm.default, aten._native_batch_norm_legit_no_training.default}
"""Affine in their first tensor alone."""

_FOUND: WeakKeyDictionary[Subgraph, str] = WeakKeyDictionary()


def why_not_affine(context: Context) -> str:
    """Why a section is not the same affine map for every sample (completing "The section ..."); empty if it is."""
    subgraph = context.subgraph
    if subgraph is None:
        return "is a plain callable, whose inside cannot be read"
    if subgraph not in _FOUND:
        try:
            _FOUND[subgraph] = _why_not(subgraph)
        except Exception as error:  # noqa: BLE001 - a closed form is never worth a failure: the exact rule stays
            _FOUND[subgraph] = not_read(error)
    return _FOUND[subgraph]


def _why_not(subgraph: Subgraph) -> str:
    program, where = normalised(subgraph.program)
    sources, targets = ([where[n] for n in site.nodes] for site in (subgraph.source, subgraph.target))
    inside = {n for n in program.descendants(sources) if not is_size(n)}
    between = walk(targets, lambda n: () if n in sources else (m for m in n.all_input_nodes if m in inside))
    for node in sorted(inside.intersection(between).difference(sources), key=program.order.__getitem__):
        if not is_float(node):
            return not_real(node)
        if not _affine(node, [n for n in node.all_input_nodes if n in inside]):
            return f"has an operation that is not affine ({at(node)})"
        if any(program.taint[n] != "" for n in node.all_input_nodes if n not in inside and not is_size(n)):
            return f"combines its input with what differs from sample to sample ({at(node)})"
    return ""


def _affine(node: fx.Node, dependent: list[fx.Node]) -> bool:
    if node.target in COPIES or node.target in LINEAR:
        return True
    if len(dependent) != 1 or sum(a is dependent[0] for a in node.args) > 1:
        return False
    return (
        contraction(node) is not None
        or node.target in _PRODUCTS
        or (node.target in _FIRST_ONLY and node.args[0] is dependent[0])
    )
