"""Node ablation: keep the most important features of one site, replace the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..ambient import neutral
from ..arguments import typed
from ..basis import Basis, SiteBasis, check_fits
from ..cut import Record, Traced
from ..errors import ON_TRACE, OptionError, renamed
from ..graphs import InteractionGraph, basis_of
from ..intervene import (
    Allowance,
    Intervention,
    Metric,
    MetricSpec,
    Preparation,
    Scores,
    SiteRuns,
    most_important,
    parse_metric,
)
from ..intervene.registry import FILLERS
from ..measure import Records, measure, shares
from ..provenance import versions
from ..types import Vector
from .results import Curve, NodeAblation, SampleScores
from .schedules import Schedule, bisect_kept, check_counts, node_counts


@renamed(**ON_TRACE)
@typed
@neutral
def ablate_nodes(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    graph_or_basis: InteractionGraph | Basis,
    batches: Iterable[Any],
    metric: MetricSpec = "accuracy",
    *,
    sites: Sequence[str] | None = None,
    schedule: Schedule = "auto",
    replacement: str = "mean",
    where: str = "counted",
    max_drop: float = 0.001,
    seed: int = 0,
    progress: bool | None = None,
    memory: int | str = "auto",
    per_sample: bool = False,
) -> NodeAblation:
    """The score as a function of the number of features kept, site by site.

    At one site the k most important features keep their values and the others are replaced; the rest of the model
    runs on. Directions that the basis dropped stand at their mean. These are the runs of `intervene` with
    ``Intervention(site, most_important[:k], to="keep_only", value=replacement)``.

    Args:
        traced: from `trace` or `Chain`.
        graph_or_basis: whose features to ablate.
        batches: pairs (inputs, targets), best not those of the fit.
        metric: ``"accuracy"``, ``"cross_entropy"``, ``"mse"``, ``"kl"``, ``"output_mse"`` or a function
            ``(outputs, targets) -> scores [batch]``. Of the first five, positions that the mask leaves out never count.
        sites: names of the sites to ablate; all but the last by default.
        schedule: ``"auto"``, ``"linear"``, ``"exponential"``, ``"bisect"`` (only what is needed to find the smallest
            count within ``max_drop``) or a list of counts; the constant is not counted. Of a list, counts above what
            a site has are told in the log, and all its features are kept instead.
        replacement: ``"mean"``, ``"zero"`` (the feature's value at a zero activation) or ``"resample"`` (the
            feature's value in another sample, see `Intervention`).
        where: ``"counted"``: positions that don't count stay as they are; ``"all"``: they are replaced too.
        max_drop: the worsening of the score that is allowed, for the features required.
        seed: for ``"resample"``.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for what goes through the model together, and for the activations kept between passes;
            ``"auto"`` as in `fit`.
        per_sample: also give each sample's scores, to resample them; they need 8 bytes per sample and count.

    Raises:
        OptionError: an option is unknown, or the schedule has more features than any of the sites is wide.
        BatchError: the batches are empty or have no targets where the metric needs them.
    """
    basis = basis_of(graph_or_basis)
    if replacement not in FILLERS:
        raise OptionError(f"replacement is {replacement!r}; use one of {list(FILLERS)}.")
    scored = parse_metric(metric)
    allowance = Allowance(max_drop, scored.higher_is_better)
    chosen = _chosen(basis, sites)
    node_counts(schedule, 0)
    if not isinstance(schedule, str):
        check_counts(
            "schedule",
            schedule,
            {basis.sites[i].name: (basis.sites[i].k, basis.sites[i].d) for i in chosen},
            "features",
        )
    kinds = [Intervention(basis.sites[i].name, (), "keep_only", replacement, where=where, seed=seed) for i in chosen]
    model = check_fits(traced, basis)
    kept, memory = shares(memory, traced)
    records = Records.of(traced, batches, kept, progress=progress)
    base = measure(records, Scores(scored, _whole_and_nothing, 2, per_sample=per_sample), "base score")
    base_score, without_constant = base.means
    known = Preparation(records, basis)
    known.learn(kinds)
    found = [
        _Counts(known, i, kind, scored, memory, per_sample=per_sample) for i, kind in zip(chosen, kinds, strict=True)
    ]
    required = {one.site.name: one.search(schedule, base_score, allowance) for one in found}
    info = {
        "basis": basis.method,
        "schedule": schedule if isinstance(schedule, str) else list(schedule),
        "replacement": replacement,
        "where": where,
        "max_drop": max_drop,
        "data": records.facts(),
        **known.facts(),
        "seed": seed,
        "stands_on": {"basis": basis.digest()},
        "traced": model,
        "versions": versions(),
    }
    return NodeAblation(
        features_required=required,
        features_required_stable={one.site.name: allowance.stable(base_score, one.scores) for one in found},
        curves={one.site.name: Curve(one.scores) for one in found},
        without_constant=without_constant,
        base_score=base_score,
        metric=scored.name,
        higher_is_better=scored.higher_is_better,
        max_drop=max_drop,
        samples=base.count,
        info=info,
        per_sample=SampleScores.of(base, {one.site.name: one.sums for one in found}) if per_sample else None,
    )


def _chosen(basis: Basis, sites: Sequence[str] | None) -> list[int]:
    names = [site.name for site in basis][:-1]
    if sites is None:
        return list(range(len(names)))
    unknown = [s for s in sites if s not in names]
    if unknown:
        raise OptionError(f"sites names {unknown}, but the sites that can be ablated are {names}.")
    return [names.index(s) for s in sites]


def _whole_and_nothing(record: Record) -> Iterator[Tensor]:
    """The model's output, and zero."""
    output = record.output
    yield output
    yield torch.zeros_like(output)


class _Counts:
    """The scores of numbers of features kept at one site.

    Attributes:
        scores: by number, of all that were measured.
        sums: the same for each sample, if asked for.
    """

    def __init__(  # noqa: PLR0913 - one site of one ablation
        self, known: Preparation, index: int, kind: Intervention, metric: Metric, memory: int, *, per_sample: bool
    ) -> None:
        self.known, self.index, self.kind, self.metric, self.memory = known, index, kind, metric, memory
        self.site: SiteBasis = known.basis.sites[index]
        self.order = most_important(self.site)
        self.per_sample = per_sample
        self.scores: dict[int, float] = {}
        self.sums: dict[int, Vector] = {}

    def search(self, schedule: Schedule, base: float, allowance: Allowance) -> int | None:
        """Measure what the schedule asks for, and give the count that a bisection over what is measured ends at."""
        counts = list(range(self.site.k + 1)) if schedule == "bisect" else node_counts(schedule, self.site.k)
        if schedule != "bisect":
            self.measure(counts)

        def passes(place: int) -> bool:
            self.measure([counts[place]])
            return bool(allowance.passes(base, self.scores[counts[place]]))

        found = bisect_kept(passes, len(counts) - 1)
        return None if found is None else counts[found]

    def measure(self, counts: Iterable[int]) -> None:
        """Score some counts in one pass over the data, those already measured at no cost."""
        new = [count for count in counts if count not in self.scores]
        if not new:
            return
        kept = [replace(self.kind, features=self.order[:count]) for count in new]
        runs = SiteRuns(self.index, [self.known.of(one) for one in kept], self.memory)
        scores = Scores(self.metric, runs.outputs, len(new), per_sample=self.per_sample)
        self.scores.update(
            zip(new, measure(self.known.records, scores, f"nodes at {self.site.name}").means, strict=True)
        )
        if self.per_sample:
            self.sums.update(zip(new, scores.by_sample()[1], strict=True))
