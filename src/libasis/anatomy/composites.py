"""Operations that torch itself makes of others, as these others: ``hstack``, ``view_as``, ``inner`` and so on."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import SymInt, fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from ..cut.program import aten

_WORDS = re.compile(
    r"aten::(matmul|linear|einsum|tensordot|\w*softmax|(layer|rms|group|batch|instance)_norm|conv\w*|reshape|flatten|"
    r"unflatten|narrow|pad|where|to|one_hot|prelu|repeat_interleave|\w*upsample\w*|\w*pool\w*|log_sigmoid|special_\w+|"
    r"std|var|(quantized_)?lstm\w*|gru\w*|rnn\w+|scaled_dot_product_attention|(alpha_|feature_)*dropout|_\w+)$"
)
"""What is understood as it stands, or better not spelled out."""
_RESHAPES = {aten.view.default, aten._unsafe_view.default}
_MOST = 12


def is_composite(node: fx.Node) -> bool:
    """Whether torch makes an operation of others, and these are easier to understand."""
    operation = node.target
    return (
        isinstance(operation, torch._ops.OpOverload)
        and operation.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd)  # pyright: ignore
        and _WORDS.match(operation._schema.name) is None
    )


def inline(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """Put what an operation is made of in front of it; returns the last of that, or None where it cannot be told."""
    given, spec = pytree.tree_flatten((node.args, dict(node.kwargs)))
    tensors = [leaf for leaf in given if isinstance(leaf, fx.Node)]

    def call(*values: Any) -> Any:
        left = iter(values)
        leaves = [next(left) if isinstance(leaf, fx.Node) else leaf for leaf in given]
        args, kwargs = pytree.tree_unflatten(leaves, spec)
        return node.target(*args, **kwargs)  # pyright: ignore

    made = make_fx(call)(*(tensor.meta["val"] for tensor in tensors)).graph
    calls = [n for n in made.nodes if n.op == "call_function"]
    returned = next(n for n in made.nodes if n.op == "output").args[0]
    if not isinstance(returned, fx.Node) or not calls or len(calls) > _MOST or not all(map(_can_be_copied, calls)):
        return None
    where = dict(zip((n for n in made.nodes if n.op == "placeholder"), tensors, strict=True))
    for call_node in calls:
        where[call_node] = copy = graph.node_copy(call_node, where.__getitem__)
        if copy.target in _RESHAPES:
            sizes = [-1 if isinstance(size, SymInt) else size for size in copy.args[1]]  # pyright: ignore
            copy.target, copy.args = aten.reshape.default, (copy.args[0], sizes)
    return where[returned]


def _can_be_copied(node: fx.Node) -> bool:
    """Whether an operation neither writes into its operands nor knows the batch size of this graph alone."""
    if isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
        return False
    symbols = sum(isinstance(leaf, SymInt) for leaf in pytree.tree_leaves((node.args, node.kwargs)))
    return symbols == 0 or (symbols == 1 and node.target in _RESHAPES)
