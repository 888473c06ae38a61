"""The linear layer that makes a section's output, as an unembedding makes logits."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import fx

from ..cut import Context
from ..cut.functions import Functions
from ..cut.program import Program, aten
from ..cut.subgraph import Subgraph
from ..types import Matrix
from .contractions import contraction
from .normal_form import normalised
from .roles import COPIES

_FOUND: WeakKeyDictionary[Subgraph, Matrix | None] = WeakKeyDictionary()
_KEEPS = COPIES | {aten.add.Tensor, aten.mul.Tensor, aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar}


def last_map(context: Context) -> Matrix | None:
    """W ``[d_out, d_in]``, float64: the output is W x up to a factor, and a constant. None if no layer makes it."""
    subgraph = context.subgraph
    if subgraph is None or len(subgraph.target.nodes) != 1:
        return None
    if subgraph not in _FOUND:
        W = _weight(subgraph)
        _FOUND[subgraph] = W if W is not None and len(W) == subgraph.target.layouts[0].features else None
    return _FOUND[subgraph]


def _weight(subgraph: Subgraph) -> Matrix | None:
    program, where = normalised(subgraph.program)
    node: fx.Node | None = where[subgraph.target.nodes[0]]
    while node is not None and (product := contraction(node)) is None:
        node = _inner(node, program)
    if node is None or product is None or (product.bias is not None and program.taint[product.bias] != ""):
        return None
    product = product if program.taint[product.b] == "" else product.swapped()
    letters = product.of_b
    if program.taint[product.b] != "" or len(letters) != 2 or product.out[-1] not in letters:
        return None
    W = Functions(program, torch.float64, subgraph.functions.device).constant(product.b)
    return W if letters[0] == product.out[-1] else W.T


def _inner(node: fx.Node, program: Program) -> fx.Node | None:
    """What a node copies, multiplies by a number or moves by a constant vector; None if it does something else."""
    dependent = [n for n in node.all_input_nodes if program.taint[n] != ""]
    others = [n for n in node.all_input_nodes if program.taint[n] == ""]
    fits = node.target in _KEEPS and len(dependent) == 1
    fits = fits and all(n.meta["val"].ndim <= (node.target is aten.add.Tensor) for n in others)
    return dependent[0] if fits and (node.target is not aten.div.Tensor or node.args[0] is dependent[0]) else None
