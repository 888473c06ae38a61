"""`find_sites`: every place at which a model can be cut, and how importances would be computed from there."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from torch import nn

from ..ambient import neutral
from ..arguments import typed
from ..cut import Record, SiteTable, Traced, survey
from ..errors import LibasisError
from ..importance import Cost, Rule, Span, choose, parse


@typed
@neutral
def find_sites(model: nn.Module, example: Any) -> SiteTable:
    """Every place at which a model can be cut: a row for each tensor.

    Args:
        model: any torch model, in eval mode; it is not changed.
        example: inputs as for `trace`.

    Returns:
        A table with one row per tensor, in the model's order: name, further names, shape of one sample, module class,
        whether the site alone cuts the model in two, and if not, why not (two sites that fail alone may hold together,
        as a list inside the list of sites). Sites that cut have the rule of ``moments="auto"`` for the section from
        there to the next of them, and its cost for inputs like the example. Printed, rows of like layers are one, with
        a name that `trace` takes.

    Raises:
        ModelStateError: the model is in training mode.
        ExportError: the model cannot be exported.
    """
    table, traced = survey(model, example)
    return table if traced is None else with_rules(table, traced, traced.record(example))


def with_rules(table: SiteTable, traced: Traced, record: Record) -> SiteTable:
    """The table with rule and cost of the sections of the model cut at all sites that cut it."""
    found: dict[str, dict[str, str]] = {}
    alike: dict[Any, dict[str, str]] = {}
    for l, site in enumerate(traced.sites[:-1]):
        made_of = operations(record, l)
        with suppress(LibasisError):
            if made_of not in alike:
                alike[made_of] = rule_of(Span.of(record, traced, l, l + 1))
            found[site.name] = alike[made_of]
    return SiteTable(replace(row, **found.get(row.name, {})) for row in table)


def operations(record: Record, l: int) -> Any:
    """What tells sections apart: like layers, which have the same operations on the same shapes, have the same rule."""
    graph = record.contexts[l].subgraph
    if graph is None:
        return l
    first, last = (max(graph.program.order[node] for node in site.nodes) for site in (graph.source, graph.target))
    nodes = [node for node, place in graph.program.order.items() if first < place <= last and node.op != "placeholder"]
    return tuple((str(node.target), str(getattr(node.meta.get("val"), "shape", ""))) for node in nodes)


def rule_of(span: Span) -> dict[str, str]:
    """The rule for a section, and its cost in words."""
    columns = span.traced.sites[span.target].features
    rule, _ = choose(parse("auto", 0), span, columns)
    return {"rule": rule.name, "cost": in_words(rule, rule.cost(span, columns))}


def in_words(rule: Rule, cost: Cost) -> str:
    """What a rule takes beyond a few forward passes."""
    if rule.name == "sketch":
        return "as its error asks"
    parts = [f"{cost.passes:,} passes a batch"] if cost.passes else []
    if cost.products:
        parts.append(f"{cost.products:,.0f} products a position")
    return ", ".join(parts) or "a few passes"
