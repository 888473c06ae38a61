"""`find_sites` and `trace`: a torch model, exported once per input shape and cut at sites."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ..errors import ActivationError, BatchError, LibasisError, SiteError
from ..types import Activations, Plain
from .batches import Batch, structure_of_example, to_device
from .check import SiteSpec, SiteTable, resolve, section_context, site_name, site_table
from .export import batch_size, export_program, named_tensors
from .functions import Functions
from .layout import Layout, layout_of_node
from .program import Program
from .state import check_eval, rng_kept
from .traced import Context, Mask, Record, Site, Traced, moved_targets, parse_dtype


def find_sites(model: nn.Module, example: Any) -> SiteTable:
    """Every place at which a model can be cut.

    Args:
        model: any torch model, in eval mode; it is not changed.
        example: inputs as for `trace`.

    Returns:
        A table with one row per site: name, shape of one sample, module class, whether the site alone cuts the model
        in two, and if not, why not (two sites that fail alone may hold together, as a list inside the list of sites).

    Raises:
        ModelStateError: the model is in training mode.
        ExportError: the model cannot be exported.
    """
    check_eval(model)
    args, kwargs = structure_of_example(example).split(example)
    return site_table(export_program(model, args, kwargs))


def trace(
    model: nn.Module,
    example: Any,
    sites: Sequence[SiteSpec],
    *,
    mask: Mask | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
) -> Traced:
    r"""Cut a model at sites into sections :math:`f_{l+1} = F_l(f_l)`.

    The model is exported once per input shape with a dynamic batch dimension; the sections are pure functions cut out
    of the graph. They share the model's weights; after changing weights, trace again.

    Args:
        model: any torch model, in eval mode; it is never changed (weights, hooks, gradients, modes, random state).
        example: the model's inputs: a tensor, a tuple of positional inputs or a dict of keyword inputs. Its structure
            decides how batches are read later.
        sites: at least two, in the model's order: ``"module.path:in"``, ``"module.path:out"`` (the default),
            ``"input"``, ``"output"``; ``"name#2"`` is the second call of a module; a list inside the list concatenates
            tensors on the feature axis.
        mask: which positions count: the name of a keyword input (nonzero counts, like an attention mask) or a function
            of the inputs that returns ``[batch, position]``.
        dtype: compute in this dtype instead of the model's own.
        device: compute on this device instead of the model's own.

    Raises:
        ModelStateError: the model is in training mode.
        SiteError: a site is unknown, cannot be a cut, or is out of order.
        BypassError: a value that depends on the inputs goes around a site.
        ExportError: the model cannot be exported; `Chain` is the way out.
        BatchError: the example has no usable structure.
        ActivationError: the graph does not reproduce the model (a random model, say).
    """
    check_eval(model)
    if isinstance(sites, str) or len(sites) < 2:
        raise SiteError(f"sites is {sites!r}; give a list of at least two sites, in the model's order.")
    names = [site_name(spec) for spec in sites]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise SiteError(f"Site {twice[0]!r} is listed twice; name each site once.")
    traced = GraphTrace(model, example, tuple(sites), mask)
    target = None if device is None else torch.device(device)
    return traced.to(dtype=parse_dtype(dtype), device=target) if dtype is not None or device is not None else traced


@dataclass(frozen=True)
class _CutSite:
    nodes: list[fx.Node]
    layouts: list[Layout]


class _Cut:
    """The sections of one program, in one dtype and on one device."""

    def __init__(
        self, program: Program, sites: Sequence[SiteSpec], dtype: torch.dtype | None, device: torch.device | None
    ) -> None:
        self.program = program
        self.names = [site_name(spec) for spec in sites]
        self.sites = [_cut_site(program, spec) for spec in sites]
        self.output = self._output_node(sites[-1])
        pairs = [(name, site.nodes) for name, site in zip(self.names, self.sites, strict=True)]
        self.context_nodes = [section_context(program, a, b) for a, b in zip(pairs[:-1], pairs[1:], strict=True)]
        self.tail_error: LibasisError | None = None
        self.context_nodes.append(self._tail_context(pairs[-1]))
        build = Functions(program, dtype, device).build
        wanted = [n for site in self.sites for n in site.nodes] + [n for c in self.context_nodes for n in c]
        self.recorder = build([leaf.node for leaf in program.inputs], [*wanted, self.output])
        self.functions = [
            build([*a.nodes, *context], b.nodes)
            for a, b, context in zip(self.sites[:-1], self.sites[1:], self.context_nodes, strict=False)
        ]
        last = [*self.sites[-1].nodes, *self.context_nodes[-1]]
        self.tail = None if self.tail_error else build(last, [self.output])
        self.workspaces = [self._workspace(a, b) for a, b in zip(self.sites[:-1], self.sites[1:], strict=True)]

    def _output_node(self, last: SiteSpec) -> fx.Node:
        if isinstance(last, str) and last in self.program.outputs:
            return self.program.outputs[last]
        return self.program.outputs.get("output") or next(iter(self.program.outputs.values()))

    def _tail_context(self, last: tuple[str, list[fx.Node]]) -> list[fx.Node]:
        if self.output in last[1]:
            return []
        try:
            return section_context(self.program, last, ("output", [self.output]))
        except LibasisError as error:  # only ablation needs the tail: say it there
            self.tail_error = error
            return []

    def _workspace(self, a: _CutSite, b: _CutSite) -> int:
        """Numbers held per sample by one pass through a section."""
        inside = self.program.descendants(a.nodes)
        order = self.program.order
        last = max(order[n] for n in b.nodes)
        return sum(_numel(n) for n in inside if order[n] <= last)

    def record(self, values: list[Tensor]) -> tuple[list[Activations], list[Context], Context, Tensor]:
        found = list(self.recorder(*values))
        activations = []
        for site in self.sites:
            raw, found = found[: len(site.nodes)], found[len(site.nodes) :]
            activations.append(_join(site, raw))
        contexts = []
        for l, nodes in enumerate(self.context_nodes):
            mine, found = tuple(found[: len(nodes)]), found[len(nodes) :]
            contexts.append(self._context(l, mine, nodes))
        return activations, contexts[:-1], contexts[-1], found[0]

    def _context(self, l: int, values: tuple[Tensor, ...], nodes: list[fx.Node]) -> Context:
        dims = tuple(self.program.batch_dim(n) for n in nodes)
        fixed = None
        if self.program.batch_symbol is None:
            fixed = int(self.sites[0].nodes[0].meta["val"].shape[self.sites[0].layouts[0].batch])
            dims = tuple(0 if v.ndim and v.shape[0] == fixed else None for v in values)
        run = self._run_tail if l == len(self.functions) else self._run_section(l)
        return Context(run, values, dims, fixed, self.workspaces[min(l, len(self.workspaces) - 1)])

    def _run_section(self, l: int) -> Any:
        function, source, target = self.functions[l], self.sites[l], self.sites[l + 1]

        def run(x: Activations, values: tuple[Tensor, ...]) -> Activations:
            return _join(target, function(*_split(source, x), *values))

        return run

    def _run_tail(self, x: Activations, values: tuple[Tensor, ...]) -> Tensor:
        if self.tail is None:
            raise self.tail_error or SiteError("The last site does not lead to the output.")
        return self.tail(*_split(self.sites[-1], x), *values)[0]


def _cut_site(program: Program, spec: SiteSpec) -> _CutSite:
    nodes = resolve(program, spec)
    layouts = [layout for n in nodes if (layout := layout_of_node(n)) is not None]
    positions = [layout.positions for layout in layouts]
    if len(set(positions)) > 1:
        raise SiteError(f"Site {site_name(spec)!r} joins tensors with different numbers of positions, {positions}.")
    return _CutSite(nodes, layouts)


def _join(site: _CutSite, raw: Sequence[Tensor]) -> Activations:
    parts = [layout.canonical(x) for layout, x in zip(site.layouts, raw, strict=True)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def _split(site: _CutSite, x: Activations) -> list[Tensor]:
    if len(site.layouts) == 1:
        return [site.layouts[0].original(x)]
    parts = x.split([layout.features for layout in site.layouts], -1)
    return [layout.original(part) for layout, part in zip(site.layouts, parts, strict=True)]


def _numel(node: fx.Node) -> int:
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return 0
    sizes = [s for s in value.shape if isinstance(s, int)]
    return int(torch.Size(sizes).numel())


class GraphTrace(Traced):
    """A traced torch model; made by `trace`."""

    def __init__(self, model: nn.Module, example: Any, specs: tuple[SiteSpec, ...], mask: Mask | None) -> None:
        self.model = model
        self.specs = specs
        self.mask = mask
        self.structure = structure_of_example(example)
        self.dtype: torch.dtype | None = None
        self.device: torch.device | None = None
        self._programs: dict[Any, Program] = {}
        self._cuts: dict[Any, _Cut] = {}
        args, kwargs = self.structure.split(example)
        cut = self._cut(args, kwargs)
        self.sites = tuple(
            Site(name, (spec,) if isinstance(spec, str) else tuple(spec), sum(x.features for x in site.layouts))
            for spec, name, site in zip(specs, cut.names, cut.sites, strict=True)
        )
        self._check_against_model(args, kwargs)

    def __repr__(self) -> str:
        rows = "\n".join(f"  {site.name}: {site.features} features" for site in self.sites)
        return f"Traced({type(self.model).__name__}, {len(self.sites)} sites)\n{rows}"

    def _derived(self, **changes: Any) -> GraphTrace:
        new = object.__new__(GraphTrace)
        new.__dict__.update(self.__dict__)
        new.__dict__.update(changes)
        return new

    def to(self, *, dtype: torch.dtype | None = None, device: torch.device | None = None) -> GraphTrace:
        """The same cut computing in another dtype or on another device."""
        dtype, device = dtype or self.dtype, device or self.device
        if (dtype, device) == (self.dtype, self.device):
            return self
        return self._derived(dtype=dtype, device=device, _cuts={})

    def with_mask(self, mask: Mask | None) -> GraphTrace:
        """The same cut with another mask."""
        return self._derived(mask=mask)

    def run_batch(self, batch: Batch) -> Record:
        """Run one batch through the graph and record it."""
        cut = self._cut(batch.args, batch.kwargs, batch.index)
        values = []
        for leaf, value in zip(cut.program.inputs, _tensors(batch.args, batch.kwargs), strict=True):
            native = leaf.node.meta["val"].dtype
            floating = self.dtype or native
            values.append(to_device(value.detach(), self.device, floating))
        activations, contexts, tail, output = cut.record(values)
        counted = self.counted(batch, activations)
        targets = moved_targets(batch, output.device)
        return Record(tuple(activations), tuple(contexts), tail, output, counted, targets, batch.index)

    def _cut(self, args: tuple[Any, ...], kwargs: dict[str, Any], index: int | None = None) -> _Cut:
        key = _shape_key(args, kwargs)
        program_key = key if key in self._programs else (key, batch_size(args, kwargs))
        if program_key not in self._programs:
            try:
                program = export_program(self.model, args, kwargs)
            except BatchError as error:
                raise BatchError(str(error) if index is None else f"Batch {index}: {error}") from error
            program_key = key if program.batch_symbol is not None else program_key
            self._programs[program_key] = program
        if program_key not in self._cuts:
            self._cuts[program_key] = _Cut(self._programs[program_key], self.specs, self.dtype, self.device)
        return self._cuts[program_key]

    def _check_against_model(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The graph must say what the model says, twice."""
        cut = self._cut(args, kwargs)
        path = next(name for name, node in cut.program.outputs.items() if node is cut.output)
        with torch.no_grad(), rng_kept():
            named = [(n, t) for n, t in named_tensors(self.model(*args, **kwargs)) if t.is_floating_point()]
            expected = dict(named).get(path.removeprefix("output"), named[0][1])
            output = self.run_batch(Batch(args, kwargs, None, 0)).output
        tolerance = 1e3 * torch.finfo(expected.dtype).eps
        scale = float(expected.abs().amax()) if expected.numel() else 0.0
        if torch.isfinite(expected).all() and not torch.allclose(output, expected, tolerance, tolerance * scale):
            worst = float((output - expected).abs().amax())
            raise ActivationError(
                f"The traced graph does not reproduce the model on the example (outputs differ by {worst:.2g}); the "
                "model is random or keeps a state between calls; make it deterministic or use libasis.Chain."
            )

    def facts(self) -> Plain:
        """Model class, fingerprint, sites and dtype, for the record."""
        dtype = self.dtype or next((p.dtype for p in self.model.parameters()), torch.float32)
        return {
            "model": type(self.model).__name__,
            "fingerprint": fingerprint(self.model),
            "sites": [site.name for site in self.sites],
            "dtype": str(dtype).removeprefix("torch."),
        }


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]


def _shape_key(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What an export depends on: structure, shapes without the batch, dtypes, and inputs that are no tensors."""
    leaves, spec = pytree.tree_flatten((args, kwargs))
    batch = batch_size(args, kwargs)
    parts = []
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            shape = tuple(leaf.shape)
            batched = bool(shape) and shape[0] == batch
            parts.append((shape[1:] if batched else shape, batched, leaf.dtype))
        else:
            parts.append(repr(leaf))
    return (str(spec), tuple(parts))


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over the names, shapes, dtypes and bytes of a model's state."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if not isinstance(tensor, Tensor):
            continue
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        raw = tensor.detach().cpu().contiguous().view(-1)
        digest.update(raw.view(torch.uint8).numpy().data if raw.numel() else b"")
    return digest.hexdigest()
