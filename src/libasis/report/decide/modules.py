"""At most twelve modules of the graph, the links between them, and the path through one feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...graphs import Communities, InteractionGraph

MOST, COLUMNS = 12, 12
"""Modules and sites drawn."""
LEAST = 0.02
"""Share of a section's strength from which a link is drawn."""


@dataclass(frozen=True)
class Spot:
    """A module at one site: its row and column, its features there, their share of the site's importance."""

    row: int
    column: int
    members: tuple[int, ...]
    share: float


@dataclass(frozen=True)
class Link:
    """The interactions between two spots of neighbouring sites, as a share of the section's strength."""

    source: int
    target: int
    share: float
    on_path: bool


@dataclass(frozen=True)
class Modules:
    """What is drawn.

    Attributes:
        source: ``"user"``, ``"communities"`` or ``"features"`` (each module one feature, rows are ranks).
        names: of the rows, as the user or the numbering gives them; empty strings for ``"features"``.
        leaders: id of the most important feature of each row; of each spot for ``"features"``.
        sites: of the columns.
        spots: where something is drawn.
        links: lines between them, those on the path last.
        path: ids of the features on the path.
        total: modules or features there are, drawn or not.
        total_sites: sites there are.
    """

    source: str
    names: tuple[str, ...]
    leaders: tuple[str, ...]
    sites: tuple[str, ...]
    spots: tuple[Spot, ...]
    links: tuple[Link, ...]
    path: tuple[str, ...]
    total: int
    total_sites: int

    @property
    def count(self) -> int:
        """Modules drawn."""
        return len(self.spots) if self.source == "features" else len(self.names)


def modules_of(graph: InteractionGraph, communities: Communities | None = None, through: str | None = None) -> Modules:
    """The user's modules, else the communities, else the most important features grouped by site.

    Args:
        graph: the graph.
        communities: suggested groups, by feature id in ``communities.modules``; not taken where it says that there are
            none to speak of.
        through: id of the feature whose path is drawn; None takes the most important feature of the first site.
    """
    path = path_through(graph, through or f"{graph.sites[0]}:{int(graph.basis.sites[0].importances.argmax())}")
    first = max(0, len(graph.sites) - COLUMNS)
    suggested = communities.modules if communities is not None and communities.modular else {}
    assigned = graph.modules or suggested
    names, leaders, spots = _lanes(graph, assigned, path, first) if assigned else _ranks(graph, path, first)
    return Modules(
        source="user" if graph.modules else "communities" if suggested else "features",
        names=names,
        leaders=leaders,
        sites=graph.sites[first:],
        spots=spots,
        links=tuple(_links(graph, spots, path, first)),
        path=path,
        total=len(set(assigned.values())) if assigned else sum(site.k for site in graph.basis),
        total_sites=len(graph.sites),
    )


def path_through(graph: InteractionGraph, key: str) -> tuple[str, ...]:
    """Ids along the strongest interaction at every step, forwards and backwards from one feature.

    It ends early where a feature has no interaction.
    """
    site, _, index = key.rpartition(":")
    start = graph.sites.index(site)
    places = {start: int(index)}
    for column in range(start, len(graph.edges)):
        if column in places and (j := _strongest(graph.edges[column].select(1, places[column]))) is not None:
            places[column + 1] = j
    for column in range(start, 0, -1):
        if column in places and (i := _strongest(graph.edges[column - 1].select(0, places[column]))) is not None:
            places[column - 1] = i
    return tuple(f"{graph.sites[column]}:{places[column]}" for column in sorted(places))


def _strongest(strengths: torch.Tensor) -> int | None:
    dense = strengths.to_dense()
    return int(dense.argmax()) if dense.numel() and float(dense.max()) > 0 else None


def _shares(graph: InteractionGraph, column: int) -> list[float]:
    importances = graph.basis.sites[column].importances
    total = float(importances.sum())
    return (importances / total).tolist() if total > 0 else [0.0] * len(importances)


Drawn = tuple[tuple[str, ...], tuple[str, ...], tuple[Spot, ...]]


def _lanes(graph: InteractionGraph, assigned: Mapping[str, Any], path: Sequence[str], first: int) -> Drawn:
    """One row per module, the most important ones and those on the path; names, leaders, spots."""
    members: dict[str, dict[int, list[tuple[float, int]]]] = {}
    for column in range(first, len(graph.sites)):
        for index, share in enumerate(_shares(graph, column)):
            module = assigned.get(f"{graph.sites[column]}:{index}")
            if module is not None:
                members.setdefault(str(module), {}).setdefault(column, []).append((share, index))
    weight = {name: sum(s for spot in spots.values() for s, _ in spot) for name, spots in members.items()}
    on_path = {str(assigned[key]) for key in path if key in assigned}
    kept = sorted(members, key=lambda name: (name not in on_path, -weight[name]))[:MOST]
    kept.sort(key=lambda name: -weight[name])
    spots, leaders = [], []
    for row, name in enumerate(kept):
        best = max((share, -column, -index) for column, spot in members[name].items() for share, index in spot)
        leaders.append(f"{graph.sites[-best[1]]}:{-best[2]}")
        for column, spot in members[name].items():
            spots.append(Spot(row, column - first, tuple(i for _, i in spot), sum(share for share, _ in spot)))
    return tuple(kept), tuple(leaders), tuple(spots)


def _ranks(graph: InteractionGraph, path: Sequence[str], first: int) -> Drawn:
    """The same few features of every site, the most important first, the one on the path always among them."""
    per = max(1, MOST // (len(graph.sites) - first))
    spots, leaders = [], []
    for column in range(first, len(graph.sites)):
        shares, site = _shares(graph, column), graph.sites[column]
        best = sorted(range(len(shares)), key=lambda i: -shares[i])[:per]
        passing = [int(key.rpartition(":")[2]) for key in path if key.rpartition(":")[0] == site]
        if passing and passing[0] not in best:
            best[-1] = passing[0]
        for row, index in enumerate(best):
            spots.append(Spot(row, column - first, (index,), shares[index]))
            leaders.append(f"{site}:{index}")
    return (), tuple(leaders), tuple(spots)


def _links(graph: InteractionGraph, spots: Sequence[Spot], path: Sequence[str], first: int) -> list[Link]:
    ends = {site: int(index) for site, _, index in (key.rpartition(":") for key in path)}
    links = []
    for l in range(first, len(graph.edges)):
        left, right = (_numbers(graph, spots, column, first) for column in (l, l + 1))
        (j, i), strengths, _ = graph.entries(l)
        sums = torch.zeros(len(spots) + 1, len(spots) + 1, dtype=torch.float64)
        sums.index_put_((right[j], left[i]), strengths.double(), accumulate=True)
        total = graph.strength(l)
        here, there = (ends.get(graph.sites[column]) for column in (l, l + 1))
        passing = (int(right[there]), int(left[here])) if here is not None and there is not None else None
        for target, source in sums[:-1, :-1].nonzero().tolist():
            share = float(sums[target, source]) / total if total > 0 else 0.0
            on_path = (target, source) == passing
            if share >= LEAST or on_path:
                links.append(Link(source, target, share, on_path))
    return sorted(links, key=lambda link: (link.on_path, link.share))


def _numbers(graph: InteractionGraph, spots: Sequence[Spot], column: int, first: int) -> torch.Tensor:
    """Number of the spot that each feature of a site belongs to, ``[k]``; one past the last where it is in none."""
    numbers = torch.full((graph.basis.sites[column].k,), len(spots))
    for number, spot in enumerate(spots):
        if spot.column == column - first:
            numbers[list(spot.members)] = number
    return numbers
