"""Experts of which each takes the tokens that are routed to it: the same, without sorting the tokens.

Libraries sort pairs of token and expert by expert, multiply each group by its expert's matrix, and put the rows back in
their places. Between the two, rows are worked on one by one, so the order makes no difference.
"""

from __future__ import annotations

import operator
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx

from ..cut.program import aten, known_size, walk

_CASTS = {aten.to.dtype, aten._to_copy.default}
_COUNTS = {aten.histc.default, aten.bincount.default}
SORTS = {aten.sort.default, aten.sort.stable, aten.argsort.default, aten.argsort.stable}
_SMALL = 2**24


def of_expert(x: Tensor, weights: Tensor, expert: Tensor) -> Tensor:
    """Each row ``[n, in]`` times the matrix of its expert, of ``[experts, in, out]``."""
    if x.shape[0] * weights[0].numel() <= _SMALL:
        return (x[:, None] @ weights[expert])[:, 0]
    y = x.new_zeros(x.shape[0], weights.shape[-1])
    for i, matrix in enumerate(weights):
        y = torch.where((expert == i)[:, None], x @ matrix, y)
    return y


def unsort(graph: fx.Graph, node: fx.Node, left: Collection[fx.Node]) -> dict[fx.Node, fx.Node]:
    """What stands for what, once nothing is sorted any more by what a node sorts; empty where that cannot be told.

    Args:
        graph: of all.
        node: a sort.
        left: nodes that have been replaced, and may still be there.
    """
    expert: Any = node.args[0]
    ordered, order = _parts(node)
    if order is None or expert.meta["val"].ndim != 1 or expert.meta["val"].is_floating_point():
        return {}
    if ordered is None:
        ordered = next((n for n in order.users if _picks(n, expert, order)), None)
    counts = [] if ordered is None else [n for n in _forward(ordered) if n.target in _COUNTS]
    ends = {n for count in counts for n in _forward(count)}
    back = {n for n in order.users if _is_inverse(n, order)}
    found, rows = _in_place(graph, node, order, back, ordered)
    if ordered is not None:
        found[ordered] = expert
    lookups = [] if ordered is None else [n for n in ordered.users if n.target not in _CASTS | _COUNTS]
    products = list(walk(rows + lookups, lambda n: () if n in found and n not in rows else n.users))
    multiplied = [n for n in products if _is_grouped(n, ends)]
    known = {*found, *multiplied, *(n for n in lookups if n.target is aten.index.Tensor and n.args[1] == [ordered])}
    apart = all(n in known or _idle(n, left) or _keeps_rows(n, rows[0]) for n in products) if rows else False
    if not (apart and multiplied and back):
        return {}
    for product in multiplied:
        with graph.inserting_before(product):
            new = graph.call_function(of_expert, (product.args[0], product.args[1], expert))
        new.meta["val"] = product.meta["val"]
        found[product] = new
    return found


def _in_place(
    graph: fx.Graph, node: fx.Node, order: fx.Node, back: set[fx.Node], ordered: fx.Node | None
) -> tuple[dict[fx.Node, fx.Node], list[fx.Node]]:
    """What stands for rows picked in an order or put back, and the rows picked; nothing where others use it."""
    found: dict[fx.Node, fx.Node] = {}
    rows: list[fx.Node] = []
    for user in [*order.users, *(u for n in back for u in n.users)]:
        if user is ordered or user in back or _is_length(user):
            continue
        x: Any = user.args[0]
        by: Any = list(user.args[1]) if user.target is aten.index.Tensor else [None]  # pyright: ignore
        if by == [order] or (len(by) == 1 and by[0] in back):
            found[user] = x
            rows += [user] if by == [order] else []
        elif user.target is aten.floor_divide.default and isinstance(user.args[1], int):
            for pick in user.users:
                if pick.target is not aten.index.Tensor or list(pick.args[1]) != [user]:  # pyright: ignore
                    return {}, []
                with graph.inserting_before(node):
                    found[pick] = _repeated(graph, pick, user.args[1])
                rows.append(pick)
        else:
            return {}, []
    return found, rows


def _parts(node: fx.Node) -> tuple[fx.Node | None, fx.Node | None]:
    """What is sorted, and by which order."""
    if isinstance(node.meta["val"], Tensor):
        return None, node
    parts: dict[Any, fx.Node] = {n.args[1]: n for n in node.users if n.target is operator.getitem}
    return parts.get(0), parts.get(1)


def _picks(node: fx.Node, x: fx.Node, order: fx.Node) -> bool:
    return node.target is aten.index.Tensor and node.args[0] is x and list(node.args[1]) == [order]  # pyright: ignore


def _forward(node: fx.Node) -> list[fx.Node]:
    """What is made of a value by casts, counts and running sums."""
    onward = _CASTS | _COUNTS | {aten.cumsum.default}
    return list(walk([node], lambda n: [u for u in n.users if u.target in onward]))


def _is_inverse(node: fx.Node, order: fx.Node) -> bool:
    """Whether a node is the order back: the order of the order, or numbers written where it says."""
    if node.target in SORTS:
        return isinstance(node.meta["val"], Tensor)
    if node.target is not aten.index_put.default or list(node.args[1]) != [order]:  # pyright: ignore
        return False
    return node.args[2].target is aten.arange.default  # pyright: ignore


def _is_length(node: fx.Node) -> bool:
    return node.target in (aten.sym_size.int, aten.empty_like.default, aten.new_empty.default)


def _is_grouped(node: fx.Node, ends: set[fx.Node]) -> bool:
    named = str(node.target)
    return "grouped_mm" in named and len(node.args) >= 3 and node.args[2] in ends


def _idle(node: fx.Node, left: Collection[fx.Node]) -> bool:
    return node in left or (bool(node.users) and all(_idle(user, left) for user in node.users))


def _repeated(graph: fx.Graph, pick: fx.Node, times: int) -> fx.Node:
    new = graph.call_function(aten.repeat_interleave.self_int, (pick.args[0], times, 0))
    new.meta["val"] = pick.meta["val"]
    return new


def _keeps_rows(node: fx.Node, like: fx.Node) -> bool:
    """Whether an operation works on each row alone."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or not value.ndim or value.shape[0] != like.meta["val"].shape[0]:
        return False
    if torch.Tag.pointwise in getattr(node.target, "tags", ()) or node.target in _CASTS:
        return True
    moves = (aten.slice.Tensor, aten.unsqueeze.default, aten.squeeze.dim, aten.select.int)
    dim = node.args[1] if node.target in moves and len(node.args) > 1 else 0
    return bool(known_size(value.shape[0]) is None and dim != 0 and dim != -value.ndim)
