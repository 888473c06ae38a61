"""What attention weights are of queries and keys, checked by running: a softmax of their products, times a number."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, fx

from ..cut.program import aten, attention_weights
from .components import Values
from .roles import COPIES, NoMatch

_REASON = "has attention scores that are not a plain product of queries and keys"
_LINEAR = {
    aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.neg.default, aten.add.Scalar,
    aten.sub.Scalar, aten.mul.Scalar, aten.div.Scalar, aten.rsub.Scalar, aten.masked_fill.Scalar,
    aten.masked_fill.Tensor, aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf, aten.reshape.default,
    aten.permute.default, aten.unflatten.int, aten.flatten.using_ints, aten.unsqueeze.default, aten.squeeze.dim,
    aten.squeeze.dims, aten.expand.default, aten.softmax.int, attention_weights, *COPIES,
}  # fmt: skip
"""What may stand on the way: with one operand that depends on the input these only scale and shift it."""

Pattern = Callable[[Tensor, Tensor, Values], Tensor]


def check_way(path: list[fx.Node], inside: set[fx.Node]) -> None:
    """Refuse what bends scores or weights, however little.

    Raises:
        NoMatch: an operation between product and weights is not linear.
    """
    for node in path[:-1]:
        uses: list[fx.Node] = []
        fx.map_arg((node.args, node.kwargs), uses.append)
        if node.target not in _LINEAR or sum(n in inside for n in uses) > 1:
            raise NoMatch(f"{_REASON} ({node.target.__name__.split('.')[0]})")  # pyright: ignore


def scale_of_heads(pattern: Pattern, like: Tensor, values: Values, own_queries: Tensor, own_keys: Tensor) -> Tensor:
    r"""By what each head's products are multiplied before the softmax, ``[H]``.

    With weights A and any cotangent G, :math:`\partial q_t = c \sum_s A_{ts} (G_{ts} - \sum_u A_{tu} G_{tu}) k_s`.

    Args:
        pattern: in float64.
        like: queries ``[b, t, H e]``.
        values: context values.
        own_queries: which queries each head has ``[H]``.
        own_keys: likewise; some heads may have the same.

    Raises:
        NoMatch: the derivative of the weights is not that, in random queries and keys.
    """
    if len(own_queries.unique()) < len(own_queries):
        raise NoMatch("has heads that share their queries")
    random = torch.Generator().manual_seed(7)
    heads = len(own_keys)
    q, k = (torch.randn(like.shape, generator=random, dtype=torch.float64).to(like.device) for _ in range(2))
    k = k.unflatten(-1, (heads, -1))[:, :, own_keys.to(k.device)].flatten(2)
    A, pull = torch.func.vjp(lambda q: pattern(q, k, values), q)[:2]
    G = torch.randn(A.shape, generator=random, dtype=torch.float64).to(A)
    moved = A * (G - (A * G).sum(-1, keepdim=True))
    keys, found = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (k, *pull(G)))
    plain = moved @ keys
    size = plain.square().sum((0, 2, 3))
    scale = (plain * found).sum((0, 2, 3)) / size
    scale = torch.where(size > 0, scale, 1.0)
    scale = torch.tensor([float(f"{c:.13g}") for c in scale.tolist()], dtype=torch.float64, device=scale.device)
    off = (plain * scale[:, None, None] - found).abs().max()
    if not bool(off <= 1e-9 * (found.abs().max() + 1e-3)):
        raise NoMatch(_REASON)
    return scale
