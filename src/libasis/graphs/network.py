"""The interaction graph as an undirected network for Leiden: log-normalised weights, its null model, partitions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import optional
from .graph import InteractionGraph

Ints = NDArray[Any]
Floats = NDArray[Any]

ROUNDS, BALANCE = 30, 50
"""Rounds of swaps, and of rescaling rows and columns, that make a random network with the same strengths."""


@dataclass(frozen=True, eq=False)
class Bipartite:
    """The edges of one section as a bipartite network; nodes are numbered through the whole graph.

    Attributes:
        sources: node at the input of each edge, ``[m]``.
        targets: node at its output, ``[m]``.
        weights: above 0, ``[m]``; they sum to the number of features at both ends together.
    """

    sources: Ints
    targets: Ints
    weights: Floats


@dataclass(frozen=True, eq=False)
class Network:
    """The sections together.

    Attributes:
        ids: ``"site:index"`` of each node that has an edge.
        alone: ids of the features without one.
        sections: their edges, in the model's order.
    """

    ids: list[str]
    alone: list[str]
    sections: list[Bipartite]

    @cached_property
    def adjacency(self) -> tuple[Ints, Ints, Floats]:
        """The symmetric matrix of weights in CSR form: row starts, columns, values."""
        one, two, weights = (
            np.concatenate(parts)
            for parts in zip(*((s.sources, s.targets, s.weights) for s in self.sections), strict=True)
        )
        rows, columns, values = np.concatenate([one, two]), np.concatenate([two, one]), np.concatenate([weights] * 2)
        order = np.lexsort((columns, rows))
        starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(self.ids)))])
        return starts.astype(np.int64), columns[order].astype(np.int32), values[order]


def network_of(graph: InteractionGraph, floor: float) -> Network:
    r"""Log-normalised weights.

    Per section with strengths E: :math:`p_{ji} = E_{ji} / \sum_i E_{ji}`, the share of feature j's input, which has no
    unit; :math:`s_{ji} = p_{ji} / \sqrt{\max_i p_{ji} \max_j p_{ji}} \in [0, 1]`, how strong the edge is beside the
    strongest of both its ends; :math:`w_{ji} = \max(0, 1 - \ln s_{ji} / \ln \text{floor})`. The weights of a section
    are then divided by one number, so that each section counts by its number of features. The constant is no feature.
    """
    starts = np.cumsum([0, *(site.k for site in graph.basis)])
    found = []
    for l in range(len(graph.edges)):
        places, strengths, _ = graph.entries(l)
        j, i = places.numpy()
        weights = _relative(strengths.numpy(), j, i, (graph.basis[l + 1].k, graph.basis[l].k))
        weights = 1 - np.log(weights) / np.log(floor)
        kept = weights > 0
        i, j, weights = i[kept], j[kept], weights[kept]
        features = len(np.unique(i)) + len(np.unique(j))
        found.append(Bipartite(starts[l] + i, starts[l + 1] + j, weights * (features / max(weights.sum(), 1e-300))))
    return _without_alone([f"{site.name}:{i}" for site in graph.basis for i in range(site.k)], found)


def _relative(strengths: Floats, j: Ints, i: Ints, shape: tuple[int, int]) -> Floats:
    """Strength beside the strongest edges of both ends, the input of each feature summing to one."""
    share = strengths / np.bincount(j, strengths, shape[0])[j]
    rows, columns = np.zeros(shape[0]), np.zeros(shape[1])
    np.maximum.at(rows, j, share)
    np.maximum.at(columns, i, share)
    return np.maximum(share / np.sqrt(rows[j] * columns[i]), 1e-300)


def _without_alone(ids: list[str], sections: list[Bipartite]) -> Network:
    used = np.zeros(len(ids), dtype=bool)
    for section in sections:
        used[section.sources] = used[section.targets] = True
    new = np.cumsum(used) - 1
    renamed = [Bipartite(new[s.sources], new[s.targets], s.weights) for s in sections]
    return Network(
        [name for name, there in zip(ids, used, strict=True) if there],
        [name for name, there in zip(ids, used, strict=True) if not there],
        renamed,
    )


def leiden(network: Network, resolution: float, seed: int) -> tuple[float, Ints]:
    """One run of Leiden: modularity at that resolution, and the community of each node.

    Raises:
        OptionError: the package is missing.
    """
    native = engine()
    starts, columns, values = network.adjacency
    quality, found = native.leiden_csr(
        starts, columns, values, len(network.ids), resolution=resolution, seed=seed, iterations=5
    )
    return quality, np.array([found[node] for node in range(len(network.ids))], dtype=np.int64)


def engine() -> Any:
    """The package that has Leiden.

    Raises:
        OptionError: it is missing.
    """
    return optional("graspologic_native", "graph", "Finding communities")


def shuffled(network: Network, generator: np.random.Generator) -> Network:
    """A random network in which each feature has as many edges and the same strength as before, section by section."""
    return replace(network, sections=[_shuffle(section, generator) for section in network.sections])


def _shuffle(section: Bipartite, generator: np.random.Generator) -> Bipartite:
    """Ends swapped between pairs of edges; weights, beside what both ends' strengths make likely, dealt out anew."""
    sources, targets, weights = section.sources, section.targets.copy(), section.weights
    size = 1 + max(sources.max(initial=0), targets.max(initial=0))
    before = (np.bincount(sources, weights, size), np.bincount(targets, weights, size))
    ratio = weights / (before[0][sources] * before[1][targets])
    for _ in range(ROUNDS):
        _swap(sources, targets, size, generator)
    weights = generator.permutation(ratio) * before[0][sources] * before[1][targets]
    for _ in range(BALANCE):
        for ends, strength in ((sources, before[0]), (targets, before[1])):
            weights = weights * (strength[ends] / np.bincount(ends, weights, size)[ends])
    return Bipartite(sources, targets, weights)


def _swap(sources: Ints, targets: Ints, size: int, generator: np.random.Generator) -> None:
    """Exchange the targets of random pairs of edges, in place, wherever that makes no edge twice."""
    order = generator.permutation(len(sources))
    half = len(order) // 2
    a, b = order[:half], order[half : 2 * half]
    now = sources * size + targets
    one, two = sources[a] * size + targets[b], sources[b] * size + targets[a]
    both = np.concatenate([one, two])
    _, first, times = np.unique(both, return_inverse=True, return_counts=True)
    free = (times[first] == 1) & ~np.isin(both, now)
    good = free[:half] & free[half:]
    a, b = a[good], b[good]
    targets[a], targets[b] = targets[b].copy(), targets[a].copy()


def rand_index(one: Ints, two: Ints) -> float:
    """Adjusted Rand index of two partitions (Hubert and Arabie 1985): 1 for the same, 0 on average by chance."""
    both = _pairs(np.unique(np.stack([one, two]), axis=1, return_counts=True)[1])
    in_one, in_two = (_pairs(np.unique(part, return_counts=True)[1]) for part in (one, two))
    expected = in_one * in_two / max(len(one) * (len(one) - 1) / 2, 1.0)
    most = (in_one + in_two) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


def _pairs(sizes: Ints) -> float:
    return float((sizes * (sizes - 1.0) / 2).sum())
