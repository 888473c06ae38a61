"""The exported graph, simplified, with what each value depends on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import SymInt, Tensor, fx

from ..errors import ExportError

aten = torch.ops.aten
_NO_OPS = {
    aten.clone.default, aten.alias.default, aten.lift_fresh_copy.default, aten.contiguous.default,
    aten.detach.default, aten.detach_.default,  # what counts is the function that is computed, not its training
}  # fmt: skip
_ASSERTS = ("_assert_tensor_metadata", "_assert_scalar", "_assert_async", "sym_constrain_range")
_DROPOUTS = {
    aten.dropout.default, aten.alpha_dropout.default, aten.feature_dropout.default, aten.feature_alpha_dropout.default,
}  # fmt: skip
_DEVICE = re.compile(r"device\(type='\w+'(, index=\d+)?\)")
_VIEWS = {aten.view.default, aten._unsafe_view.default}


@dataclass(frozen=True)
class InputLeaf:
    """One tensor that the user feeds, by the name the user knows."""

    name: str
    node: fx.Node


def attention_weights(
    query: Tensor, key: Tensor, attn_mask: Tensor | None = None, *, is_causal: bool = False, scale: float | None = None
) -> Tensor:
    """Weights of scaled dot-product attention in plain operations: fused kernels have no forward-mode derivative."""
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-1, -2)
    if is_causal:
        visible = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~visible, float("-inf"))
    if attn_mask is None:
        return scores.softmax(-1)
    hidden = ~attn_mask if attn_mask.dtype == torch.bool else attn_mask == float("-inf")
    blind = hidden.all(-1, keepdim=True)  # a row that sees nothing reads zero, as in the fused kernels
    if attn_mask.dtype != torch.bool:
        scores = scores + attn_mask.masked_fill(hidden, 0.0)
    weights = scores.masked_fill(hidden & ~blind, float("-inf")).softmax(-1)
    return weights.masked_fill(blind, 0.0)


def _spell_out_attention(graph: fx.Graph, node: fx.Node) -> None:
    """Replace a fused attention by its weights and their product with the values, as separate nodes."""
    query, key, value, *rest = node.args
    given = dict(zip(("attn_mask", "dropout_p", "is_causal"), rest, strict=False)) | node.kwargs
    with graph.inserting_before(node):
        if given.get("enable_gqa"):
            key, value = (_repeated(graph, query, part) for part in (key, value))  # pyright: ignore
        options = {"is_causal": bool(given.get("is_causal")), "scale": given.get("scale")}
        weights = graph.call_function(attention_weights, (query, key, given.get("attn_mask")), options)  # pyright: ignore
        q, k = query.meta["val"], key.meta["val"]  # pyright: ignore
        weights.meta["val"] = q.new_empty((*q.shape[:-1], k.shape[-2]))
        weights.meta["nn_module_stack"] = node.meta.get("nn_module_stack")
    node.target, node.args, node.kwargs = aten.matmul.default, (weights, value), {}


def _write_eps(graph: fx.Graph, node: fx.Node) -> None:
    """The eps of a norm that names none is its dtype's (float32's in half precision), in whatever it is computed."""
    x, shape, weight, eps = (*node.args, None, None)[:4]
    eps = node.kwargs.get("eps", eps)
    if eps is None:
        dtype = x.meta["val"].dtype  # pyright: ignore
        known = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32)
        node.args, node.kwargs = (x, shape, node.kwargs.get("weight", weight), known.eps), {}


_SPELLED_OUT = {aten.scaled_dot_product_attention.default: _spell_out_attention, aten.rms_norm.default: _write_eps}


def _repeated(graph: fx.Graph, query: fx.Node, part: fx.Node) -> fx.Node:
    """Keys or values, each repeated for the query heads that share it."""
    shape = part.meta["val"].shape
    heads, groups = query.meta["val"].shape[-3], shape[-3]
    if heads == groups:
        return part
    node = graph.call_function(aten.repeat_interleave.self_int, (part, heads // groups, -3))
    node.meta["val"] = part.meta["val"].new_empty((*shape[:-3], heads, *shape[-2:]))
    return node


def digest_of_tensors(named: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 over names, shapes, dtypes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in named:
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode("utf-8", "surrogatepass"))
        raw = tensor.detach().cpu().contiguous().view(-1)
        digest.update(raw.view(torch.uint8).numpy().data if raw.numel() else b"")
    return digest.hexdigest()


@dataclass
class Program:
    """A functional graph of the user's model.

    Attributes:
        graph: the nodes; every value is computed once and never mutated.
        inputs: the user's tensors.
        constants: parameters, buffers and constants by placeholder name (shared with the model, never written).
        learned: names of those constants that are parameters.
        outputs: ``"output"``, ``"output.logits"`` ... to nodes.
        marks: ``"module.path:in"``, ``"module.path:out"``, ``"module.path#2:out"`` to nodes.
        classes: class name of the module of each mark.
        aliases: further names of a module that is registered under several, to the name of its marks.
    """

    graph: fx.Graph
    inputs: list[InputLeaf]
    constants: dict[str, Tensor]
    learned: set[str]
    outputs: dict[str, fx.Node]
    marks: dict[str, fx.Node]
    classes: dict[str, str]
    aliases: dict[str, str] = field(default_factory=dict)
    order: dict[fx.Node, int] = field(init=False)

    def __post_init__(self) -> None:
        renamed = self._simplify()
        self.outputs = {name: renamed.get(node, node) for name, node in self.outputs.items()}
        self.marks = {name: renamed.get(node, node) for name, node in self.marks.items()}
        self.order = {node: i for i, node in enumerate(self.graph.nodes)}

    def _simplify(self) -> dict[fx.Node, fx.Node]:
        """Erase marks, assertions and copies (nothing mutates here), make views reshapes and attention explicit."""
        renamed: dict[fx.Node, fx.Node] = {}
        for node in list(self.graph.nodes):
            if node.op == "output":
                self.graph.erase_node(node)
            elif node.op != "call_function":
                continue
            elif node.target in _NO_OPS or _is_identity_slice(node) or _is_idle_dropout(node):
                source: fx.Node = node.args[0]  # pyright: ignore
                renamed[node] = renamed.get(source, source)
                node.replace_all_uses_with(source)
            elif node.target in _VIEWS:
                node.target = aten.reshape.default
            elif node.target in _SPELLED_OUT and not draws(node):
                _SPELLED_OUT[node.target](self.graph, node)
            elif "higher_order" in str(type(node.target)).lower() or "HigherOrder" in type(node.target).__name__:
                raise ExportError(
                    f"The model's graph holds a nested program ({node.target}), which cannot be cut; write it in "
                    "plain operations (torch.where in place of torch.cond, a loop in place of scan), or give the "
                    "sections beside it as plain callables: libasis.Chain([f0, f1, ...], names)."
                )
        for node in reversed(list(self.graph.nodes)):
            name = str(node.target)
            if not node.users and node.op == "call_function" and self._disposable(node, name, renamed):
                self.graph.erase_node(node)
        return renamed

    def _disposable(self, node: fx.Node, name: str, renamed: dict[fx.Node, fx.Node]) -> bool:
        return "libasis.mark" in name or any(word in name for word in _ASSERTS) or node in renamed

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all operations with their arguments, wherever they run, and constants that are no weights."""
        text = "\n".join(
            f"{node.name} {getattr(node.target, '__name__', node.target)} {node.args} {node.kwargs}"
            for node in self.graph.nodes
        )
        constants = (
            (name, x) for name, x in self.constants.items() if name not in self.learned and isinstance(x, Tensor)
        )
        return digest_of_tensors([(_DEVICE.sub("", text), torch.empty(0)), *constants])

    @cached_property
    def batch_symbol(self) -> Any:
        """The symbolic batch size (a sympy symbol), or None where the graph holds for one batch size only."""
        for leaf in self.inputs:
            shape = leaf.node.meta["val"].shape
            if len(shape) and known_size(shape[0]) is None:
                return shape[0].node.expr
        return None

    @cached_property
    def fixed_batch(self) -> int | None:
        """The only batch size for which the graph holds, or None where it holds for any."""
        if self.batch_symbol is not None:
            return None
        shapes = [leaf.node.meta["val"].shape for leaf in self.inputs]
        return next((known_size(shape[0]) for shape in shapes if len(shape)), None)

    def batch_dim(self, node: fx.Node) -> int | None:
        """Which dimension of a tensor is the batch, or None; in a graph of fixed batch size only the first can be."""
        value = node.meta.get("val")
        if not isinstance(value, Tensor):
            return None
        if self.batch_symbol is None:
            return 0 if value.ndim and known_size(value.shape[0]) == self.fixed_batch else None
        sizes = [i for i, s in enumerate(value.shape) if isinstance(s, SymInt) and s.node.expr == self.batch_symbol]
        return sizes[0] if sizes else None

    @cached_property
    def taint(self) -> dict[fx.Node, str]:
        """What each value owes to the user's inputs: ``""`` nothing, ``"shape"``, ``"context"`` or ``"value"``.

        An integer or boolean is context, and so is what is computed from such without learned weights (an attention
        mask, rotary angles). A real or complex number that comes from such an input, or in which integers meet learned
        weights (an embedding), is a value. Where both meet, it is a value.
        """
        users_own = {leaf.node for leaf in self.inputs}
        taint: dict[fx.Node, str] = {}
        weights: set[fx.Node] = set()
        for node in self.graph.nodes:
            if node in users_own:
                taint[node] = "value" if is_float(node) or is_complex(node) else "context"
                continue
            if node.op == "placeholder":
                taint[node] = ""
                if node.name in self.learned:
                    weights.add(node)
                continue
            taint[node] = self._taint_of(node, taint, weights)
            if taint[node] in ("", "shape") and any(n in weights for n in node.all_input_nodes):
                weights.add(node)
        return taint

    @staticmethod
    def _taint_of(node: fx.Node, taint: dict[fx.Node, str], weights: set[fx.Node]) -> str:
        kinds = {taint[n] for n in node.all_input_nodes}
        if is_size(node):
            return "shape"
        if not kinds & {"value", "context"}:
            return "shape" if "shape" in kinds else ""
        if not (is_float(node) or is_complex(node)):
            return "context"
        meets_weights = "context" in kinds and any(n in weights for n in node.all_input_nodes)
        return "value" if "value" in kinds or meets_weights else "context"

    def descendants(self, sources: Iterable[fx.Node]) -> set[fx.Node]:
        """All nodes computed from the sources, sources included."""
        found = set(sources)
        for node in self.graph.nodes:
            if node not in found and any(n in found for n in node.all_input_nodes):
                found.add(node)
        return found

    def site_nodes(self) -> dict[str, fx.Node]:
        """Every name that a site may have, with its node."""
        inputs = {f"input.{leaf.name}": leaf.node for leaf in self.inputs if is_float(leaf.node)}
        if inputs:
            inputs = {"input": next(iter(inputs.values())), **inputs}
        return {**inputs, **self.marks, **self.outputs}


def walk(starts: Iterable[fx.Node], onward: Callable[[fx.Node], Iterable[fx.Node]]) -> Iterator[fx.Node]:
    """Each node that is reached from the starts, once; ``onward`` gives those that follow a node."""
    seen: set[fx.Node] = set()
    stack = list(starts)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            yield node
            stack.extend(onward(node))


def is_float(node: fx.Node) -> bool:
    """Whether a node's value is, or holds, a tensor of real numbers."""
    return any(v.is_floating_point() for v in _tensors(node))


def is_complex(node: fx.Node) -> bool:
    """Whether a node's value is, or holds, a tensor of complex numbers."""
    return any(v.is_complex() for v in _tensors(node))


def _tensors(node: fx.Node) -> list[Tensor]:
    value = node.meta.get("val")
    return [v for v in (value if isinstance(value, (tuple, list)) else [value]) if isinstance(v, Tensor)]


def is_size(node: fx.Node) -> bool:
    """Whether a node's value is a size, not a tensor."""
    return isinstance(node.meta.get("val"), (SymInt, int, torch.SymFloat, torch.SymBool, bool, float))


def known_size(size: Any) -> int | None:
    """A size as a plain number, or None where it is symbolic; some symbols stand for a number."""
    if isinstance(size, SymInt):
        return int(size.node.expr) if size.node.expr.is_number else None
    return size if isinstance(size, int) else None


def draws(node: fx.Node) -> bool:
    """Whether a node draws random numbers; dropout and its like do not in eval mode or with probability zero."""
    operation = node.target
    if not isinstance(operation, torch._ops.OpOverload) or torch.Tag.nondeterministic_seeded not in operation.tags:
        return False
    given = {a.name: a.default_value for a in operation._schema.arguments if a.has_default_value()}
    given |= dict(zip((a.name for a in operation._schema.arguments), node.args, strict=False)) | node.kwargs
    training = given.get("train", given.get("training", True)) is not False
    chance = given.get("dropout_p", given.get("dropout", given.get("p", 1.0)))
    return bool(training and not (isinstance(chance, (int, float)) and chance == 0))


def _is_idle_dropout(node: fx.Node) -> bool:
    return node.target in _DROPOUTS and not draws(node)


def _is_identity_slice(node: fx.Node) -> bool:
    if node.target is not aten.slice.Tensor or len(node.args) < 4:
        return False
    _, _, start, end, *step = node.args
    whole = (start is None or (isinstance(start, int) and start == 0)) and isinstance(end, int) and end >= 2**62
    return whole and step in ([], [1])


def module_of(node: fx.Node) -> str:
    """Dotted path of the module that computed a node, or an empty string."""
    stack: dict[str, Any] = node.meta.get("nn_module_stack") or {}
    paths = [str(entry[0]) for entry in stack.values()]
    path = paths[-1] if paths else ""
    for prefix in ("L['self'].", "L__self__."):
        path = path.removeprefix(prefix)
    path = ".".join(part for part in path.split(".") if part != "_orig_mod")
    return path.removeprefix("model.") if path != "model" else ""
