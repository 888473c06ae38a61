"""A program cut at sites: the functions of its sections, and what each needs from the rest of the graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from ..errors import LibasisError, SiteError
from ..types import Activations
from .check import SiteSpec, held_names, resolve, section_context, site_name
from .functions import Functions
from .layout import by_position, layout_of_node
from .program import Program, known_size
from .record import Context
from .subgraph import CutSite, Subgraph


class Cut:
    """The sections of one program, in one dtype and on one device; ``hold`` what goes around a site, or refuse it.

    Attributes:
        each: whether the output is ``[batch, position]`` with a number for each position.
        flat: whether the last site is so too, but its positions are read as features, so that no mask fits it.
    """

    def __init__(
        self,
        program: Program,
        sites: Sequence[SiteSpec],
        dtype: torch.dtype | None,
        device: torch.device | None,
        *,
        hold: bool = False,
        masked: bool = False,
    ) -> None:
        self.program, self.hold = program, hold
        self.names = [site_name(spec) for spec in sites]
        self.sites = [_cut_site(program, spec) for spec in sites]
        self.output = self._output_node(sites[-1])
        self.each, self.flat = by_position(self.output) is not None, False
        if masked:
            self._unsqueeze(self.sites[-1])
        pairs = [(name, site.nodes) for name, site in zip(self.names, self.sites, strict=True)]
        self.context_nodes = [
            section_context(program, pairs[l], pairs[l + 1], pairs[:l] if hold else None) for l in range(len(pairs) - 1)
        ]
        self.tail_error: LibasisError | None = None
        self.context_nodes.append(self._tail_context(pairs))
        functions = Functions(program, dtype, device)
        build = functions.build
        wanted = [n for site in self.sites for n in site.nodes] + [n for c in self.context_nodes for n in c]
        inputs = [leaf.node for leaf in program.inputs]
        self.recorder, self.whole = build(inputs, wanted), build(inputs, [self.output])
        self.functions = [
            build([*a.nodes, *context], b.nodes)
            for a, b, context in zip(self.sites[:-1], self.sites[1:], self.context_nodes, strict=False)
        ]
        last = [*self.sites[-1].nodes, *self.context_nodes[-1]]
        self.tail = None if self.tail_error else build(last, [self.output])
        self.subgraphs = [
            Subgraph(program, a, b, context, functions)
            for a, b, context in zip(self.sites[:-1], self.sites[1:], self.context_nodes, strict=False)
        ]
        self.workspaces = [self._workspace(a, b) for a, b in zip(self.sites[:-1], self.sites[1:], strict=True)]

    def _output_node(self, last: SiteSpec) -> fx.Node:
        if isinstance(last, str) and last in self.program.outputs:
            return self.program.outputs[last]
        return self.program.outputs.get("output") or next(iter(self.program.outputs.values()))

    def _unsqueeze(self, last: CutSite) -> None:
        """Take the last site before its positions lost their dimension of size 1, where that is so: a mask fits it."""
        found = by_position(last.nodes[0]) if len(last.nodes) == 1 else None
        if found is None or last.layouts[0].features not in {site.layouts[0].positions for site in self.sites[:-1]}:
            return
        layout = layout_of_node(found[0]) if found[1] and self.program.batch_dim(found[0]) is not None else None
        self.flat = layout is None
        if layout is not None:
            self.sites[-1] = CutSite([found[0]], [layout])

    @property
    def held(self) -> dict[str, list[str]]:
        """What is held at its value beside a site, by its name; the sites where nothing is are left out."""
        found = {name: held_names(self.program, c) for name, c in zip(self.names, self.context_nodes, strict=True)}
        return {name: held for name, held in found.items() if held}

    def _tail_context(self, sites: list[tuple[str, list[fx.Node]]]) -> list[fx.Node]:
        *earlier, last = sites
        if self.output in last[1]:
            return []
        try:
            return section_context(self.program, last, ("output", [self.output]), earlier if self.hold else None)
        except LibasisError as error:  # only ablation needs the tail: say it there
            self.tail_error = error
            return []

    def _workspace(self, a: CutSite, b: CutSite) -> int:
        """Numbers held per sample by one pass through a section."""
        inside = self.program.descendants(a.nodes)
        order = self.program.order
        last = max(order[n] for n in b.nodes)
        return sum(self._numel(n) for n in inside if order[n] <= last)

    def _numel(self, node: fx.Node) -> int:
        value = node.meta.get("val")
        if not isinstance(value, Tensor):
            return 0
        sizes = [known_size(size) for i, size in enumerate(value.shape) if i != self.program.batch_dim(node)]
        return math.prod(size for size in sizes if size is not None)

    def answer(self, values: list[Tensor]) -> Tensor:
        """The model's output for these inputs."""
        return self.whole(*values)[0]

    def record(self, values: list[Tensor]) -> tuple[list[Activations], list[Context], Context]:
        """Activations of the sites, contexts of the sections and of the tail, for these inputs."""
        found = list(self.recorder(*values))
        activations = []
        for site in self.sites:
            raw, found = found[: len(site.nodes)], found[len(site.nodes) :]
            activations.append(_join(site, raw))
        contexts = []
        for index, nodes in enumerate(self.context_nodes):
            mine, found = tuple(found[: len(nodes)]), found[len(nodes) :]
            contexts.append(self._context(index, mine, nodes))
        return activations, contexts[:-1], contexts[-1]

    def _context(self, index: int, values: tuple[Tensor, ...], nodes: list[fx.Node]) -> Context:
        dims = tuple(self.program.batch_dim(n) for n in nodes)
        fixed = self.program.fixed_batch
        run = self._run_tail if index == len(self.functions) else self._run_section(index)
        subgraph = self.subgraphs[index] if index < len(self.subgraphs) else None
        return Context(run, values, dims, fixed, self.workspaces[min(index, len(self.workspaces) - 1)], subgraph)

    def _run_section(self, index: int) -> Any:
        function, source, target = self.functions[index], self.sites[index], self.sites[index + 1]

        def run(x: Activations, values: tuple[Tensor, ...]) -> Activations:
            return _join(target, function(*_split(source, x), *values))

        return run

    def _run_tail(self, x: Activations, values: tuple[Tensor, ...]) -> Tensor:
        if self.tail is None:
            raise self.tail_error or SiteError("The last site does not lead to the output.")
        return self.tail(*_split(self.sites[-1], x), *values)[0]


def _cut_site(program: Program, spec: SiteSpec) -> CutSite:
    nodes = resolve(program, spec)
    layouts = [layout for n in nodes if (layout := layout_of_node(n)) is not None]
    positions = [layout.positions for layout in layouts]
    if len(set(positions)) > 1:
        raise SiteError(f"Site {site_name(spec)!r} joins tensors with different numbers of positions, {positions}.")
    return CutSite(nodes, layouts)


def _join(site: CutSite, raw: Sequence[Tensor]) -> Activations:
    parts = [layout.canonical(x) for layout, x in zip(site.layouts, raw, strict=True)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def _split(site: CutSite, x: Activations) -> list[Tensor]:
    if len(site.layouts) == 1:
        return [site.layouts[0].original(x)]
    parts = x.split([layout.features for layout in site.layouts], -1)
    return [layout.original(part) for layout, part in zip(site.layouts, parts, strict=True)]
