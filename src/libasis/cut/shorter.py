"""The shorter sections from the same site: up to the sites inside a section that alone cut it in two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..errors import LibasisError
from .check import frontier, section_context
from .layout import layout_of_node
from .record import Context
from .site_table import best_name
from .subgraph import CutSite, Subgraph


def shorter(context: Context) -> Iterator[tuple[str, Context]]:
    """Of a section each site inside it that everything passes, the nearest first, and the section that ends there.

    Those sections are there to be read: what runs is the whole one still.
    """
    whole = context.subgraph
    if whole is None or len(whole.source.nodes) != 1:
        return
    program, (source,) = whole.program, whole.source.nodes
    last = max(program.order[node] for node in whole.target.nodes)
    names: dict[int, list[str]] = {}
    for name, node in program.site_nodes().items():
        if node not in (source, *whole.target.nodes) and program.order[source] < program.order.get(node, 0) < last:
            names.setdefault(program.order[node], []).append(name)
    known = dict(zip(whole.context, zip(context.values, context.batch_dims, strict=True), strict=True))
    for place in sorted(names):
        node, layout = program.site_nodes()[names[place][0]], None
        if program.taint[node] != "value" or program.batch_dim(node) is None or not (layout := layout_of_node(node)):
            continue
        if any(taint == "value" for _, taint in frontier(program, [node], whole.target.nodes)):
            continue
        name = best_name(program, names[place])
        try:
            needed = section_context(program, ("", [source]), (name, [node]))
        except LibasisError:
            continue
        values, dims = zip(*(known[one] for one in needed), strict=True) if needed else ((), ())
        ending = Subgraph(program, whole.source, CutSite([node], [layout]), needed, whole.functions)
        yield name, replace(context, values=values, batch_dims=dims, subgraph=ending)
