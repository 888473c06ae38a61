"""More data for a graph that is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ..arguments import typed
from ..basis import Basis
from ..cut import digest_of_tensors
from ..errors import OptionError
from ..types import Matrix
from .graph import InteractionGraph

SAME = ("interactions", "quadrature", "top_k")


@typed
def merge(one: InteractionGraph | Basis, other: InteractionGraph | Basis) -> InteractionGraph:
    """The graph of two sets of data, from the graph of each, measured with the same basis; exact, without the data.

    Edges are means over positions, so those of both are :math:`(n_1 E_1 + n_2 E_2) / (n_1 + n_2)`; standard errors are
    added in quadrature. Labels and modules are those of the first. A basis takes no more data: fit it again on all of
    them. Give samples once: those that are in both sets count twice.

    Args:
        one: from `interactions`.
        other: the same for other data.

    Raises:
        OptionError: they are bases, or graphs of different bases, options or of the same data, or of ``top_k``.
    """
    if isinstance(one, Basis) or isinstance(other, Basis):
        raise OptionError(
            "A basis takes no more data, since the importances at a site depend on the next site's features, which new "
            "data change too: fit on all data together, in libasis.checkpoints where that takes long."
        )
    if why := _apart(one, other):
        raise OptionError(f"These graphs cannot be merged: {why}; measure one graph on all data.")
    counts = list(zip(one.info["counts"], other.info["counts"], strict=True))

    def mean(a: Matrix, b: Matrix, n: tuple[int, int]) -> Matrix:
        return (n[0] * a + n[1] * b) / max(sum(n), 1)

    edges = tuple(mean(a, b, n) for a, b, n in zip(one.edges, other.edges, counts, strict=True))
    signed = tuple(mean(a, b, n) for a, b, n in zip(one.signed, other.signed, counts, strict=True))
    stderr: dict[str, Any] = {}
    for l, name in enumerate(one.sites[:-1]):
        both = zip(counts[l], (one, other), strict=True)
        known = [(n * graph.stderr[name]).square() for n, graph in both if name in graph.stderr]
        if known:
            stderr[name] = torch.stack(known).sum(0).sqrt() / max(sum(counts[l]), 1)
    data = [graph.info["data"] for graph in (one, other)]
    both = {
        "source": " and ".join(dict.fromkeys(part["source"] for part in data)),
        "samples": sum(part["samples"] for part in data),
        "digest": digest_of_tensors([(part["digest"], torch.empty(0)) for part in data]),
        "parts": data,
    }
    rules = [a if a == b else f"{a}; {b}" for a, b in zip(one.info["rules"], other.info["rules"], strict=True)]
    info = {**one.info, "rules": rules, "counts": [sum(n) for n in counts], "data": both, "estimate": None}
    info.pop("made_of", None)
    return replace(one, edges=edges, signed=signed, stderr=stderr, info=info)


def _apart(one: InteractionGraph, other: InteractionGraph) -> str | None:
    """Why two graphs are not of one kind; None if they are."""
    if one.basis.digest() != other.basis.digest():
        return "they stand on different bases"
    if any(graph.info.get("top_k") for graph in (one, other)):
        return "edges beyond top_k are not known"
    if not all(graph.info.get("counts") for graph in (one, other)):
        return "one of them does not say over how many positions it is a mean"
    for key in SAME:
        if one.info.get(key) != other.info.get(key):
            return f"their {key} differ, {one.info.get(key)!r} and {other.info.get(key)!r}"
    if one.info["data"]["digest"] == other.info["data"]["digest"]:
        return "they are of the same data"
    return None
