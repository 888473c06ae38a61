"""`edge_effects`: what edges say held against what happens when the feature they start from is replaced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from ..ambient import neutral
from ..arguments import typed
from ..basis import check_fits
from ..cut import Traced
from ..errors import OptionError, short
from ..graphs import InteractionGraph
from ..intervene import (
    OUTPUT_CHANGE,
    Intervention,
    MetricSpec,
    Preparation,
    parse_metric,
)
from ..measure import Records, measure_all, shares
from ..numerics import Bootstrap
from ..provenance import versions
from .calibration import EdgeEffects, calibrate
from .edge_runs import Edge, SectionRuns

KINDS = ("mean", "resample")
MOST = 10_000
"""Sources, edges to test and random directions of a section."""


@typed
@neutral
def edge_effects(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    graph: InteractionGraph,
    batches: Iterable[Any],
    *,
    edges: Sequence[Sequence[str]] | None = None,
    strongest: int = 8,
    sources: int = 16,
    controls: int = 20,
    to: Sequence[str] = KINDS,
    metric: MetricSpec = OUTPUT_CHANGE,
    units: Sequence[Any] | None = None,
    seed: int = 0,
    progress: bool | None = None,
    memory: int | str = "auto",
) -> EdgeEffects:
    r"""What edges say, held against interventions: feature i of a site is replaced, all else there is kept.

    Measured is how much each feature j of the next site changes, as edges are: the sum over the target's counted
    positions of the squared change of :math:`\hat f_j`, over the number of the source's counted vectors. Replaced by
    its mean, a feature that acts linearly changes j by exactly :math:`E_{ji}`, and replaced by its value in another
    sample by twice that in the mean. For the edges tested there are, beside it and with 95% intervals over samples
    (or units),

    - the same of random directions of the source site, uniform among its standardised features, and the rank of the
      edge among these, :math:`p = (b + 1) / (m + 1)`;
    - the mean change of :math:`\hat f_j` with its sign;
    - the edge by path: only :math:`\hat f_j` takes the value that it has under the intervention, all other features of
      its site (and what the basis leaves out) keep theirs, and the rest of the model runs on: the change of the score,
      beside the same by :math:`\hat f_j` of the random directions of the source, and its rank in size among these;
    - the change of the score when everything takes the values under the intervention, for comparison.

    The calibration holds all edges from ``sources`` features of each site against what was measured, see
    `EdgeEffects`. An edge says what acts in the model, not what acts in the world that the data come from.

    Args:
        traced: from `trace` or `Chain`.
        graph: whose edges.
        batches: a re-iterable of inputs or of pairs (inputs, targets), best not those that the edges were measured on.
        edges: those to test, pairs of ids such as ``("fc1:in:3", "fc2:in:0")``; None for the strongest.
        strongest: so many of each section, where ``edges`` is None.
        sources: features of each site that are replaced for the calibration, drawn evenly over the order of their
            summed edges; all where there are no more.
        controls: random directions of each site.
        to: what features are replaced by, some of ``"mean"``, ``"resample"``, ``"zero"``.
        metric: of the paths, as in `intervene`; by default the mean squared change of the output, which needs no
            targets.
        units: one id for each sample, of what it belongs to; None takes samples as independent.
        seed: of donors, controls and sources.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for what goes through the model together, and for activations kept between passes;
            ``"auto"`` as in `fit`.

    Raises:
        OptionError: an option is not allowed, an edge does not exist, or the graph belongs to other sites.
        BatchError: the batches are empty or one-shot, or have no targets where the metric needs them.
    """
    measured = parse_metric(metric)
    kept, memory = shares(memory, traced)
    to = tuple(to)
    _check(strongest, sources, controls, to)
    model = check_fits(traced, graph.basis)
    tested = _tested(graph, edges, strongest)
    chosen = [_sources(graph, l, sources, tested[l]) for l in range(len(graph.edges))]
    records = Records.of(traced, batches, kept, progress=progress)
    known = Preparation(records, graph.basis)
    asked = [
        Intervention(graph.sites[l], [i], kind, seed=seed) for l, own in enumerate(chosen) for i in own for kind in to
    ]
    known.learn(asked)
    jobs = [
        SectionRuns(graph, l, chosen[l], tested[l], known, to, controls, measured, seed, memory)
        for l in range(len(graph.edges))
    ]
    measure_all(records, jobs, "edges by intervention")
    ids = None if units is None else list(units)
    if ids is not None and len(ids) != records.samples:
        raise OptionError(f"units has {len(ids)} ids, but the data have {records.samples} samples; give one for each.")
    info = {
        "basis": graph.basis.method,
        "data": records.facts(),
        **known.facts(),
        "controls": controls,
        "seed": seed,
        "units": "samples taken as independent" if ids is None else len(set(ids)),
        "stands_on": {"basis": graph.basis.digest(), "graph": graph.digest()},
        "traced": model,
        "versions": versions(),
    }
    rows = [row for job in jobs for row in job.rows(ids)]
    strengths = [job.strengths for job in jobs]
    squares = [job.measured() for job in jobs]
    calibration = [
        row
        for l, pair in enumerate(zip(strengths, squares, strict=True))
        for row in calibrate(f"{graph.sites[l]} → {graph.sites[l + 1]}", *pair, to, Bootstrap(500, seed=seed))
    ]
    return EdgeEffects(rows, calibration, chosen, strengths, squares, to, graph.sites, measured.name, info)


def _check(strongest: int, sources: int, controls: int, to: Sequence[str]) -> None:
    for name, value, least in (("strongest", strongest, 0), ("sources", sources, 1), ("controls", controls, 1)):
        if not least <= value <= MOST:
            raise OptionError(f"{name} is {value}; give a whole number from {least} to {MOST:,}.")
    if not to or len(set(to)) < len(to) or not set(to) <= {*KINDS, "zero"}:
        raise OptionError(f'to is {list(to)}; give some of "mean", "resample" and "zero", none twice.')


def _tested(graph: InteractionGraph, asked: Sequence[Sequence[str]] | None, strongest: int) -> list[list[Edge]]:
    """The edges to test in each section.

    Raises:
        OptionError: one does not exist.
    """
    found: list[list[Edge]] = [[] for _ in graph.edges]
    if asked is None:
        for l, own in enumerate(found):
            places, strengths, _ = graph.entries(l)
            for at in strengths.argsort(descending=True, stable=True)[:strongest].tolist():
                own.append((int(places[1, at]), int(places[0, at])))
        return found
    ids = {f"{site.name}:{i}": (l, i) for l, site in enumerate(graph.basis) for i in range(site.k)}
    for edge in asked:
        source, target = (ids.get(name, (-9, 0)) for name in edge) if len(edge) == 2 else ((-9, 0), (-9, 0))
        if target[0] != source[0] + 1 or source[0] < 0:
            raise OptionError(
                f"edges has {short(tuple(edge))}; give pairs of ids of features of two neighbouring sites, such as "
                f"('{graph.sites[0]}:0', '{graph.sites[1]}:0')."
            )
        found[source[0]].append((source[1], target[1]))
    return found


def _sources(graph: InteractionGraph, l: int, count: int, tested: Sequence[Edge]) -> list[int]:
    """Features of a site evenly over the order of their summed edges, and those that tested edges start from."""
    edges = graph.edges[l]
    total = (edges.to_dense() if edges.is_sparse else edges).sum(0)
    order = total.argsort(descending=True, stable=True).tolist()
    places = torch.linspace(0, len(order) - 1, min(count, len(order))).round().long().tolist()
    return sorted({*(order[place] for place in places), *(i for i, _ in tested)})
