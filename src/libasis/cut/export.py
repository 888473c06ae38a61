"""The user's model to a functional graph, once per input shape, by ``torch.export``."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from ..ambient import ALONE, as_outside
from ..data import size_of
from ..data.batches import own
from ..errors import BatchError, ExportError
from .hooks import Heard, global_hooks_elsewhere
from .program import InputLeaf, Program
from .state import AsComputed, rng_kept, run_model
from .twin import Twin, without_compile


@torch.library.custom_op("libasis::mark", mutates_args=())
def _mark(x: Tensor) -> Tensor:
    """A copy whose node in the graph remembers which value stood at a site; it feeds nothing but an extra output."""
    return x.clone()


@_mark.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class _Marks:
    """Marks the first floating input and output of every named module."""

    def __init__(self, model: nn.Module) -> None:
        self.names: dict[str, int] = {}
        self.outputs: list[str] = []
        self.returned = ""
        self.classes: dict[str, str] = {}
        self.aliases = _aliases(model)
        self.tensors: list[Tensor] = []
        self._calls: dict[str, int] = {}
        self._seen: dict[tuple[int, int], tuple[Tensor, int]] = {}

    def reset(self) -> None:
        self.names, self.tensors, self._calls, self._seen = {}, [], {}, {}

    def add(self, name: str, module: nn.Module, value: Any) -> None:
        """See `Twin`."""
        if torch._C._functorch.peek_interpreter_stack() is not None:  # pyright: ignore - in a transform of the model
            return
        tensor = next((t for _, t in named_tensors(value) if t.is_floating_point()), None)
        self._calls[name] = count = self._calls.get(name, 0) + 1
        if tensor is None:
            return
        if count > 1:
            path, _, end = name.rpartition(":")
            name = f"{path}#{count}:{end}"
        self.classes[name] = type(module).__name__
        self.names[name] = self._index(tensor)

    def _index(self, tensor: Tensor) -> int:
        """Where its mark is; what one module returns and the next takes is marked once, unless it was overwritten."""
        version = -len(self.tensors) if tensor.is_inference() else tensor._version
        key = (id(tensor), version)
        if key not in self._seen:
            self._seen[key] = tensor, len(self.tensors)  # held, so that its id stays its own
            self.tensors.append(_mark(tensor))
        return self._seen[key][1]


def _aliases(model: nn.Module) -> dict[str, str]:
    first = {id(module): without_compile(name) for name, module in model.named_modules()}
    every = {without_compile(name): first[id(module)] for name, module in model.named_modules(remove_duplicate=False)}
    return {name: known for name, known in every.items() if name != known}


class _Entry(nn.Module):
    """The model's twin behind a flat list of tensors, which is all that the export sees."""

    def __init__(self, model: nn.Module, heard: Heard, marks: _Marks, spec: Any, leaves: list[Any]) -> None:
        super().__init__()
        self.model = Twin(model, heard, copies=False, watch=marks.add).model
        self.original = (model,)  # no child
        self.heard = heard
        self.marks = marks
        self.spec = spec
        self.leaves = leaves
        self.training = False  # not eval(), which would reach into the model

    def forward(self, tensors: list[Tensor]) -> list[Tensor]:
        self.marks.reset()
        args, kwargs = self.inputs(tensors)
        with AsComputed():
            output = self.model(*args, **kwargs)
        named = [(n, t) for n, t in named_tensors(output) if t.is_floating_point()]
        self.marks.outputs = [name for name, _ in named]  # export takes back what is set on a module
        self.marks.returned = type(output).__name__
        return [_mark(t) for _, t in named] + self.marks.tensors

    def inputs(self, tensors: list[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the model made of these tensors."""
        given = iter(tensors)
        leaves = [next(given) if isinstance(leaf, Tensor) else leaf for leaf in self.leaves]
        return pytree.tree_unflatten(leaves, self.spec)


def named_tensors(value: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in an output with its path: ``""``, ``"[1]"``, ``".logits"``, ``".hidden_states[0]"``."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key in value:
            yield from named_tensors(value[key], f"{path}.{key}")
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for key in value._fields:  # pyright: ignore
            yield from named_tensors(getattr(value, key), f"{path}.{key}")
    elif isinstance(value, (tuple, list)):
        for i, item in enumerate(value):
            yield from named_tensors(item, f"{path}[{i}]")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for f in dataclasses.fields(value):
            yield from named_tensors(getattr(value, f.name), f"{path}.{f.name}")


def default_output(names: list[str], is_scalar: list[bool]) -> int | None:
    """Index of the first output that is no loss."""
    for i, (name, scalar) in enumerate(zip(names, is_scalar, strict=True)):
        if not scalar and not name.endswith(".loss"):
            return i
    return None


def export_program(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], heard: Heard) -> Program:
    """Export with a dynamic batch dimension; where the model fixes its batch size, with that size.

    Raises:
        ExportError: the model cannot be exported.
    """
    batch = size_of((args, kwargs))
    if batch > 1:
        return _export(model, args, kwargs, heard, dynamic=True)
    with contextlib.suppress(BatchError, ExportError):  # of one sample two are shown, which a model may refuse
        program = _export(model, args, kwargs, heard, dynamic=True)
        if program.batch_symbol is not None:
            return program
    return _export(model, args, kwargs, heard, dynamic=False)


def _export(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], heard: Heard, *, dynamic: bool) -> Program:
    batch = size_of((args, kwargs))
    paths, spec = pytree.tree_flatten_with_path((args, kwargs))
    leaves = [leaf for _, leaf in paths]
    names = [_leaf_name(model, path) for path, leaf in paths if isinstance(leaf, Tensor)]
    tensors = [own(leaf.detach()) for leaf in leaves if isinstance(leaf, Tensor)]
    batched = [t.ndim > 0 and t.shape[0] == batch for t in tensors]
    if dynamic and batch == 1:  # sizes 0 and 1 are always specialised: show the export two samples
        tensors = [torch.cat([t, t]) if b else t for t, b in zip(tensors, batched, strict=True)]
    shapes = [{0: Dim.AUTO} if dynamic and b else None for b in batched]
    marks = _Marks(model)
    entry = _Entry(model, heard, marks, spec, leaves)
    exported = _run_export(entry, tensors, shapes)
    return _to_program(exported, entry, marks, names)


def _run_export(entry: _Entry, tensors: list[Tensor], shapes: list[Any]) -> Any:
    try:
        with ALONE, _quiet(), rng_kept(), torch.no_grad(), as_outside(), global_hooks_elsewhere():
            exported = torch.export.export(entry, (tensors,), dynamic_shapes=(shapes,), strict=False)
            return exported if _is_functional(exported.graph) else exported.run_decompositions({})
    except Exception as error:
        _explain(entry, tensors, error)
        name = type(entry.original[0]).__name__
        why, remedy = next(said for words, said in _CAUSES.items() if words in str(error))
        raise ExportError(
            f"torch.export cannot turn the model ({name}) into a graph{_place(error)}: {why or _first_line(error)} - "
            f"{remedy}give its sections as plain callables instead: libasis.Chain([f0, f1, ...], names)."
        ) from error


_CAUSES = {
    "data-dependent": (
        "a value of the inputs decides what is computed",
        "compute both and choose for each sample by itself with torch.where, or, if all samples decide alike, ",
    ),
    "fake tensor": (
        "something in it is not seen by the exporter, as a gradient that is taken inside",
        "write what it gives in plain operations, or ",
    ),
    "functorch": ("it uses torch.func inside", "write what that gives in plain operations, or "),
    ".numpy()": ("it leaves torch for NumPy, which has no derivative", "write this in torch, or leave it out and "),
    "": ("", ""),
}
"""By words in an error of the exporter: what it comes from, and what else to do."""


def _place(error: Exception) -> str:
    """Where the user's code, or a library's, was last when it failed."""
    own = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]), "<")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(own):
            return f" at {Path(frame.filename).name}:{frame.lineno} ({frame.name})"
    return ""


def _is_functional(graph: fx.Graph) -> bool:
    """Whether no operation works in place and none holds a nested program; making it so costs as much as the export."""
    for node in graph.nodes:
        if node.op == "get_attr":
            return False
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            if node.target._schema.is_mutable:
                return False
        elif node.op == "call_function" and getattr(node.target, "__module__", "") not in ("_operator", "math"):
            return False
    return True


def _explain(entry: _Entry, tensors: list[Tensor], error: Exception) -> None:
    """If the model does not even run on these inputs, say that instead.

    Raises:
        BatchError: the model itself refuses the inputs.
    """
    try:
        run_model(entry.original[0], *entry.inputs(tensors), entry.heard)
    except Exception as own:
        raise refusal(entry.original[0], *entry.inputs(tensors), own) from error


def refusal(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> BatchError:
    """The error that says that the model itself does not run on its inputs."""
    tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    given = ", ".join(f"{list(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in tensors)
    rows = len(tensors) == 1 and tensors[0].ndim == 2 and tensors[0].is_floating_point()
    table = " (of a table: name the inputs by columns, or leave out what is none by exclude)" if rows else ""
    return BatchError(
        f"The model ({type(model).__name__}) does not run on inputs of shape {given}: {_first_line(error)} - give "
        f"batches of the shape and dtype that the model expects{table}."
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    ends = next((i for i, line in enumerate(lines, 1) if not line.endswith(":")), len(lines))
    return " ".join(lines[:ends]) or type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings and log lines of the exporter: they speak of its inside, not of the user's model."""
    names = ("torch.export", "torch.fx", "torch._dynamo", "torch._export", "torch._subclasses")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _leaf_name(model: nn.Module, path: tuple[Any, ...]) -> str:
    """``"input_ids"``, ``"x"`` or ``"x[0]"``: the name by which the user knows this input."""
    which, first, *rest = path
    if which.idx == 1:
        name = first.key
    else:
        try:
            parameters = list(inspect.signature(model.forward).parameters.values())
        except (TypeError, ValueError):
            parameters = []
        named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        name = named[first.idx] if first.idx < len(named) else f"inputs[{first.idx}]"
    return name + "".join(str(key) for key in rest)


def _settle(node: fx.Node) -> None:
    """Write dtype and device into an operation that makes a tensor by defaults: those of the export, not of later."""
    if not isinstance(node.target, torch._ops.OpOverload) or not isinstance(node.meta.get("val"), Tensor):
        return
    makes = not any(isinstance(n.meta.get("val"), Tensor) for n in node.all_input_nodes)
    if makes and {"dtype", "device"} <= {argument.name for argument in node.target._schema.arguments}:
        made = node.meta["val"]
        node.kwargs = {**node.kwargs, "dtype": made.dtype, "device": made.device}


def _to_program(exported: Any, entry: _Entry, marks: _Marks, names: list[str]) -> Program:
    graph: fx.Graph = exported.graph
    for node in graph.nodes:
        _settle(node)
    constants: dict[str, Tensor] = {}
    learned: set[str] = set()
    inputs: list[InputLeaf] = []
    by_name = {node.name: node for node in graph.nodes if node.op == "placeholder"}
    stored = {**exported.state_dict, **exported.constants}
    for spec in exported.graph_signature.input_specs:
        node = by_name[spec.arg.name]
        if spec.kind == InputKind.USER_INPUT:
            inputs.append(InputLeaf(names[len(inputs)], node))
        else:
            constants[node.name] = stored[spec.target]
            if spec.kind == InputKind.PARAMETER:
                learned.add(node.name)
    returned = next(node for node in graph.nodes if node.op == "output").args[0]
    marked = list(returned)[-(len(marks.outputs) + len(marks.tensors)) :]
    values = [node.args[0] for node in marked]
    outputs = {f"output{path}": v for path, v in zip(marks.outputs, values, strict=False)}
    sites = {name: values[len(marks.outputs) + index] for name, index in marks.names.items()}
    if not outputs:
        raise ExportError(
            f"The model ({type(entry.original[0]).__name__}) returns no floating-point tensor to explain, but "
            f"{marks.returned}; have it return a tensor, or a tuple, list, dict or dataclass with one in it."
        )
    main = default_output(marks.outputs, [v.meta["val"].ndim == 0 for v in outputs.values()])
    if main is not None:
        outputs.setdefault("output", list(outputs.values())[main])
    return Program(graph, inputs, constants, learned, outputs, sites, dict(marks.classes), marks.aliases)
