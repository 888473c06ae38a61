"""Node ablation: keep the most important features of one site, replace the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..basis import Basis, SiteBasis, check_same_sites
from ..cut import Traced
from ..errors import ON_TRACE, BatchError, OptionError, renamed
from ..graphs import InteractionGraph
from ..intervene.metrics import Metric, MetricSpec, Tally, check_max_drop, parse_metric
from ..measure import DEFAULT_MEMORY, Records
from ..provenance import versions
from ..types import Vector
from .results import Curve, NodeAblation, SampleScores
from .schedules import Schedule, bisect_kept, node_counts

REPLACEMENTS = ("mean", "zero", "resample")


@renamed(**ON_TRACE)
def ablate_nodes(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    graph_or_basis: InteractionGraph | Basis,
    batches: Iterable[Any],
    metric: MetricSpec = "accuracy",
    *,
    sites: Sequence[str] | None = None,
    schedule: Schedule = "auto",
    replacement: str = "mean",
    max_drop: float = 0.001,
    seed: int = 0,
    progress: bool | None = None,
    memory: int = DEFAULT_MEMORY,
    per_sample: bool = False,
) -> NodeAblation:
    """The score as a function of the number of features kept, site by site.

    At one site the k most important features keep their values and the others are replaced; the rest of the model
    runs on. Directions that the basis dropped stand at their mean.

    Args:
        traced: from `trace` or `Chain`.
        graph_or_basis: whose features to ablate.
        batches: pairs (inputs, targets), best not those of the fit.
        metric: ``"accuracy"``, ``"cross_entropy"``, ``"mse"`` or a function ``(outputs, targets) -> scores [batch]``.
        sites: names of the sites to ablate; all but the last by default.
        schedule: ``"auto"``, ``"linear"``, ``"exponential"``, ``"bisect"`` (only what is needed to find the smallest
            count within ``max_drop``) or a list of counts; the constant is not counted.
        replacement: ``"mean"``, ``"zero"`` (the feature's value at a zero activation) or ``"resample"`` (the
            feature's value in another sample of the batch).
        max_drop: the worsening of the score that ``"bisect"`` allows.
        seed: for ``"resample"``.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for the activations kept between passes.
        per_sample: also give each sample's scores, to resample them; they need 8 bytes per sample and count.

    Raises:
        OptionError: an option is unknown.
        BatchError: the batches are empty or have no targets where the metric needs them.
    """
    basis = graph_or_basis.basis if isinstance(graph_or_basis, InteractionGraph) else graph_or_basis
    if replacement not in REPLACEMENTS:
        raise OptionError(f"replacement is {replacement!r}; use one of {list(REPLACEMENTS)}.")
    measure = parse_metric(metric)
    check_max_drop(max_drop)
    chosen = _chosen(basis, sites)
    for i in chosen:
        node_counts(schedule, basis.sites[i].k)
    check_same_sites(traced, basis)
    job = _Nodes(
        Records.of(traced, batches, memory, progress=progress),
        measure,
        replacement,
        seed,
        progress,
        per_sample=per_sample,
    )
    base = job.base()
    curves = {}
    for i in chosen:
        site = basis.sites[i]
        curves[site.name] = Curve(job.curve(i, site, schedule, base.score, max_drop))
    info = {
        "basis": basis.method,
        "schedule": schedule if isinstance(schedule, str) else list(schedule),
        "replacement": replacement,
        "max_drop": max_drop,
        "data": job.records.facts(),
        "seed": seed,
        "traced": traced.facts(),
        "versions": versions(),
    }
    return NodeAblation(
        curves=curves,
        without_constant=job.without_constant,
        base_score=base.score,
        metric=measure.name,
        higher_is_better=measure.higher_is_better,
        samples=base.count,
        info=info,
        per_sample=sample_scores(base, job.sums) if per_sample else None,
    )


def _chosen(basis: Basis, sites: Sequence[str] | None) -> list[int]:
    names = [site.name for site in basis][:-1]
    if sites is None:
        return list(range(len(names)))
    unknown = [s for s in sites if s not in names]
    if unknown:
        raise OptionError(f"sites names {unknown}, but the sites that can be ablated are {names}.")
    return [names.index(s) for s in sites]


class _Nodes:
    """Measures counts of one run."""

    def __init__(
        self,
        records: Records,
        metric: Metric,
        replacement: str,
        seed: int,
        progress: bool | None,
        *,
        per_sample: bool,
    ) -> None:
        self.records = records
        self.metric = metric
        self.replacement = replacement
        self.seed = seed
        self.progress = progress
        self.per_sample = per_sample
        self.sums: dict[str, dict[int, Vector]] = {}

    def base(self) -> Tally:
        """The unablated model's score; the score of an all-zero output is measured beside it."""
        nothing = Tally(self.metric)
        whole = base_score(self.records, self.metric, self.progress, nothing, per_sample=self.per_sample)
        self.without_constant = nothing.score
        return whole

    def curve(self, i: int, site: SiteBasis, schedule: Schedule, base: float, max_drop: float) -> dict[int, float]:
        scores: dict[int, float] = {}
        if schedule != "bisect":
            return self.measure(i, site, node_counts(schedule, site.k))

        def passes(count: int) -> bool:
            scores.update(self.measure(i, site, [count]))
            return self.metric.passes(base, scores[count], max_drop)

        bisect_kept(passes, site.k)
        return scores

    def measure(self, i: int, site: SiteBasis, counts: list[int]) -> dict[int, float]:
        order = torch.argsort(site.importances, descending=True, stable=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(site.k)
        tallies = {count: Tally(self.metric, per_sample=self.per_sample) for count in counts}
        generator = torch.Generator().manual_seed(self.seed)
        for record in self.records.stream(label=f"nodes at {site.name}"):
            x = record.activations[i]
            features = site.encode(x)
            other = self._replacement(site, features, generator)
            for count, tally in tallies.items():
                kept = (rank < count).to(x.device)
                with torch.no_grad():
                    ablated = site.decode(torch.where(kept, features, other))
                    tally.add(record.rest(i, ablated), record.targets)
        if self.per_sample:
            self.sums.setdefault(site.name, {}).update({c: tally.per_sample()[0] for c, tally in tallies.items()})
        return {count: tally.score for count, tally in tallies.items()}

    def _replacement(self, site: SiteBasis, features: Tensor, generator: torch.Generator) -> Tensor:
        if self.replacement == "mean":
            return torch.zeros_like(features)
        if self.replacement == "zero":
            return site.encode(torch.zeros(site.d, dtype=features.dtype, device=features.device)).expand_as(features)
        if len(features) == 1:
            raise BatchError(
                'replacement is "resample", but a batch holds one sample, which has no other to take a value from; '
                "give batches of at least two samples."
            )
        shift = int(torch.randint(1, len(features), (), generator=generator))
        return features.roll(shift, 0)


def base_score(
    records: Records, metric: Metric, progress: bool | None, nothing: Tally | None = None, *, per_sample: bool = False
) -> Tally:
    """The unablated model's score; that of an all-zero output is added to ``nothing`` beside it."""
    tally = Tally(metric, per_sample=per_sample)
    for record in records.stream(label="base score"):
        output = record.output
        tally.add(output, record.targets)
        if nothing is not None:
            nothing.add(torch.zeros_like(output), record.targets)
    _ = tally.score
    return tally


def sample_scores(base: Tally, sums: dict[str, dict[int, Vector]]) -> SampleScores:
    """Each sample's scores, of a base score that kept them."""
    whole, counts = base.per_sample()
    return SampleScores(counts, whole, sums)
