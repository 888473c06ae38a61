"""Communities: groups of features that act on each other more than on the rest, and how far to trust them."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arguments import typed
from ..errors import OptionError
from ..provenance import versions
from ..store import Stored
from ..types import Plain
from .graph import InteractionGraph
from .network import Ints, Network, engine, leiden, network_of, rand_index, shuffled

RESOLUTIONS = np.geomspace(0.1, 8.0, 23)
AGREED, SAME = 0.9, 0.95
"""Adjusted Rand index of seeds that is called agreement, and of neighbouring resolutions that find the same groups."""
SPREADS, LEAST = 4.0, 0.01
"""Standard deviations above the random networks' modularity, and modularity, from which a graph is called modular."""
CURVE = 5
"""Random networks run at every resolution; all are run at the chosen one."""

_log = logging.getLogger("libasis")


@dataclass(frozen=True, eq=False)
class Communities(Stored, kind="communities"):
    """Groups of features, across sites.

    Attributes:
        modules: the group of each feature by its id ``"site:index"``, numbered from 0 by falling size. A feature
            without an edge to speak of is in none. Of a graph that is not modular every feature is in the one group 0.
        stability: of each group, the chance that two of its features are together in another run.
        agreement: mean adjusted Rand index between runs with other seeds, 1 for the same groups each time.
        modular: whether there are groups to speak of: the runs agree, and the modularity is far above that of random
            networks in which every feature has as many edges and the same strength.
        info: every choice: ``resolution``, ``resolutions`` tried with count and agreement, ``modularity``, ``null``
            (mean and spread for random networks), ``floor``, ``seeds``, ``alone``, ``finding`` (in words).
    """

    modules: dict[str, int]
    stability: list[float]
    agreement: float
    modular: bool
    info: Plain = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of groups."""
        return len(self.stability)

    def members(self) -> list[list[str]]:
        """The ids of each group, in the graph's order."""
        out: list[list[str]] = [[] for _ in range(self.count)]
        for key, module in self.modules.items():
            out[module].append(key)
        return out

    def __repr__(self) -> str:
        return f"Communities({self.count}): {self.info.get('finding', '')}"

    def rows(self) -> list[Plain]:
        """One plain row per feature that is in a group: id, group, the group's stability."""
        return [{"id": key, "group": m, "stability": self.stability[m]} for key, m in self.modules.items()]

    def flaw(self) -> str | None:
        """What makes them no communities; None if they are."""
        unknown = set(self.modules.values()) - set(range(self.count))
        return f"a feature is in the group {min(unknown)}, but there are {self.count}" if unknown else None


@dataclass(frozen=True, eq=False)
class _Runs:
    """Leiden at one resolution with several seeds."""

    resolution: float
    qualities: list[float]
    partitions: list[Ints]
    agreement: float
    best: int

    @property
    def partition(self) -> Ints:
        """That of the run that agrees best with the others."""
        return self.partitions[self.best]

    @property
    def quality(self) -> float:
        """Its modularity."""
        return self.qualities[self.best]

    @property
    def count(self) -> int:
        return len(np.unique(self.partition))

    def row(self) -> Plain:
        return {"resolution": self.resolution, "count": self.count, "agreement": self.agreement}


@typed
def communities(
    graph: InteractionGraph,
    *,
    resolution: float | str = "auto",
    seeds: int = 10,
    nulls: int = 20,
    floor: float = 0.01,
    seed: int = 0,
) -> Communities:
    """Groups of features that act on each other more than chance would have it.

    Leiden (Traag et al. 2019) finds them in the undirected network whose weights are the log-normalised edges, see
    `network_of`; needs the extra ``libasis[graph]``. Their number is chosen by stability: of 23 resolutions from 0.1 to
    8 those count at which runs with other seeds agree (adjusted Rand index 0.9 on average). A stretch of neighbours
    that find the same groups (0.95) weighs by its modularity above that of random networks, summed; the heaviest
    stretch gives the groups, by the run in its middle that agrees best with the others.

    A graph without structure has communities too, by chance. So the modularity found is compared with that of random
    networks in which each feature has as many edges and the same strength. Where it is less than four standard
    deviations (or 0.01) above their mean, or the runs do not agree, everything is one group and ``modular`` is false.

    Args:
        graph: all its edges count, also sparse ones of ``top_k``; the constant is no part of it.
        resolution: ``"auto"``, or a number above 0 to use instead: a higher one makes more and smaller groups.
        seeds: number of runs at each resolution.
        nulls: number of random networks.
        floor: an edge this many times weaker than the strongest of its ends has no weight.
        seed: of the runs and the random networks; the same seed gives the same result.

    Raises:
        OptionError: an option is unknown, or graspologic-native is missing.
    """
    _check(resolution, seeds, nulls, floor)
    engine()
    network = network_of(graph, floor)
    grid = [float(r) for r in RESOLUTIONS] if resolution == "auto" else [float(resolution)]
    facts: Plain = {"floor": floor, "seeds": seeds, "seed": seed, "alone": network.alone, "versions": versions()}
    facts["stands_on"] = {"graph": graph.digest()}
    if not network.ids:
        return Communities({}, [], 1.0, False, {**facts, "finding": "The graph has no edges."})
    generator = np.random.default_rng(seed)
    random = [shuffled(network, generator) for _ in range(nulls)]
    tried = [_run(network, r, seeds, seed) for r in grid]
    chosen = _choose(tried, random[:CURVE], seed)
    null = _null(random, chosen, seed)
    modular = chosen.count > 1 and chosen.agreement >= AGREED and null["above"] >= max(SPREADS * null["spread"], LEAST)
    facts |= {
        "resolution": chosen.resolution,
        "resolutions": [runs.row() for runs in tried],
        "chosen": "by stability" if resolution == "auto" else "given",
        "count_found": chosen.count,
        "modularity": chosen.quality,
        "null": null,
        "finding": _finding(chosen, null, modular),
    }
    if not modular:
        _log.warning("communities: %s", facts["finding"])
        return Communities(dict.fromkeys(network.ids, 0), [1.0], chosen.agreement, False, facts)
    return _result(network, chosen, facts)


def _check(resolution: Any, seeds: Any, nulls: Any, floor: Any) -> None:
    if resolution != "auto" and not (_is_number(resolution) and 0 < resolution < math.inf):
        raise OptionError(f'resolution is {resolution!r}; give a number above 0, or "auto".')
    for name, value in (("seeds", seeds), ("nulls", nulls)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 2:
            raise OptionError(f"{name} is {value!r}; give a whole number from 2.")
    if not (_is_number(floor) and 0 < floor < 1):
        raise OptionError(f"floor is {floor!r}; give a number between 0 and 1, for instance 0.01.")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _run(network: Network, resolution: float, seeds: int, seed: int) -> _Runs:
    found = [leiden(network, resolution, seed + i) for i in range(seeds)]
    partitions = [partition for _, partition in found]
    alike = np.ones((seeds, seeds))
    for a in range(seeds):
        for b in range(a):
            alike[a, b] = alike[b, a] = rand_index(partitions[a], partitions[b])
    return _Runs(
        resolution,
        [quality for quality, _ in found],
        partitions,
        float(alike[np.triu_indices(seeds, 1)].mean()),
        int(np.lexsort(([-quality for quality, _ in found], -alike.mean(1).round(12)))[0]),
    )


def _choose(tried: list[_Runs], random: list[Network], seed: int) -> _Runs:
    """The middle of the best stretch of neighbouring resolutions that find the same groups; else the best agreement.

    The best stretch is the one with the largest sum of modularity above that of random networks: long and far above.
    """
    stretches: list[list[_Runs]] = []
    for before, runs in zip([None, *tried[:-1]], tried, strict=True):
        if runs.agreement < AGREED or not 1 < runs.count <= len(runs.partition) / 2:
            continue
        if stretches and stretches[-1][-1] is before and _same(stretches[-1][-1], runs):
            stretches[-1].append(runs)
        else:
            stretches.append([runs])
    if stretches:
        best = max(stretches, key=lambda stretch: sum(_null(random, runs, seed)["above"] for runs in stretch))
        return best[len(best) // 2]
    return max(tried, key=lambda runs: (runs.count > 1, runs.agreement))


def _null(random: list[Network], runs: _Runs, seed: int) -> Plain:
    """Modularity of random networks at a resolution, and how far that found is above it."""
    found = [leiden(network, runs.resolution, seed + i)[0] for i, network in enumerate(random)]
    mean = float(np.mean(found))
    return {"networks": len(found), "mean": mean, "spread": float(np.std(found, ddof=1)), "above": runs.quality - mean}


def _same(one: _Runs, two: _Runs) -> bool:
    return rand_index(one.partition, two.partition) >= SAME


def _finding(chosen: _Runs, null: Plain, modular: bool) -> str:
    beside = (
        f"modularity {chosen.quality:.3f}, in random networks {null['mean']:.3f} ± {null['spread']:.3f}, "
        f"agreement of seeds {chosen.agreement:.2f}"
    )
    if modular:
        return f"{chosen.count} groups ({beside})."
    return f"No groups to speak of: the best found, {chosen.count}, are what chance gives ({beside})."


def _result(network: Network, chosen: _Runs, facts: Plain) -> Communities:
    """Groups numbered by size; of equal size, by their first feature."""
    labels, first, sizes = np.unique(chosen.partition, return_index=True, return_counts=True)
    order = labels[np.lexsort((first, -sizes))]
    rank = np.empty(len(labels), dtype=np.int64)
    rank[order] = np.arange(len(labels))
    partition = rank[chosen.partition]
    modules = {key: int(module) for key, module in zip(network.ids, partition, strict=True)}
    stability = [_stability(partition == module, chosen.partitions) for module in range(len(labels))]
    return Communities(modules, stability, chosen.agreement, True, facts)


def _stability(inside: np.ndarray, partitions: list[Ints]) -> float:
    """The chance that two of the features are together in a run; of a single one, that it is alone."""
    size = int(inside.sum())
    if size == 1:
        return float(np.mean([(p == p[inside][0]).sum() == 1 for p in partitions]))
    together = []
    for partition in partitions:
        sizes = np.unique(partition[inside], return_counts=True)[1]
        together.append((sizes * (sizes - 1)).sum() / (size * (size - 1)))
    return float(np.mean(together))
